"""The cross-attention experiment, shrunk until a run takes seconds: for tests of everything around the model."""

import sys

sys.path.insert(0, ".")  # the command is started from the repository's root

from configs import cross_attn


def get_config(arg=None):
    config = cross_attn.get_config(arg)
    config.data.options = {"train": 2, "val": 2, "test": 2, "train_clips": 8, "eval_clips": 6}
    config.data.crops = {"face_size": 32, "mouth": False}
    config.data.window = 0.8
    config.data.streams = {"image": {"frames": 1, "size": 32}, "audio": {}}
    config.data.batch_size = 8
    # Compiling is most of a run's time: one block each.
    config.model.encoders = {
        "image": {"name": "mmdf_jax.encoders.clip", "variant": "tiny", "image_size": 32, "width": 24, "depth": 1},
        "audio": {
            "name": "mmdf_jax.encoders.spectrogram_cnn",
            "variant": "tiny",
            "width": 8,
            "stage_sizes": (1,),
            "strides": ((4, 4), (2, 4)),
        },
    }
    config.model.compare = ()
    config.model.width = 24
    config.train.steps = 12
    config.train.log_steps = 2
    config.train.eval_steps = 6
    config.train.checkpoint_steps = 3
    config.train.ema = 0.9
    config.train.accumulate = 2
    config.optimizer.warmup_steps = 2
    config.optimizer.learning_rate = 1e-3
    config.evaluate.windows = 2
    config.evaluate.batch_size = 8
    config.evaluate.bootstrap = 50
    return config
