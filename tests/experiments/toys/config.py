"""A toy experiment over all that is new in its package."""

import sys

sys.path.insert(0, ".")  # the command is started from the repository's root

from tests.experiments import micro


def get_config(arg=None):
    config = micro.get_config(arg)
    config.data.name = "toys.heads"
    config.data.streams = {"video": {"fps": 5.0, "size": 32}, "audio": {}}
    audio = config.model.encoders["audio"]
    config.model.encoders = {"video": {"name": "toys.thumbnails", "cells": 2}, "audio": audio}
    config.model.fusion = {"name": "toys.means"}
    config.pretrained = {}
    config.finetune.mode, config.finetune.blocks = "blocks", 0  # only what the encoders' files say comes last
    config.task = {"name": "toys.frame_levels"}
    config.train.select = "mae"
    config.train.steps, config.train.eval_steps = 120, 60
    config.train.accumulate = 1
    config.optimizer.learning_rate = 0.05
    config.optimizer.weight_decay = 0.0
    return config
