"""A toy task: a regression per frame, to show that nothing but binary detection is built in."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
import numpy as np

from experiments.score_table import curve
from mmdf_jax import losses


@dataclasses.dataclass(frozen=True)
class Task:
    """The mean brightness of each video frame, in [0, 1]."""

    evaluator: ClassVar = {"name": "toys.frame_report"}
    directions: ClassVar = {"mae": "min"}

    def loss(self, outputs, batch):
        error = jnp.abs(outputs["encoders"]["video"]["levels"] - truth(batch)).mean(1)
        loss = losses.masked_mean(error, batch["mask"])
        return loss, {"mae": loss}

    def outputs(self, outputs, batch):
        return {"level": outputs["encoders"]["video"]["levels"], "truth": truth(batch)}

    def reduction(self, name):
        return "stitched"

    def columns(self, clip):
        return {"seen_as": "a film"}

    def validate(self, rows):
        return {"mae": float(np.mean([error(row) for row in rows]))}


def truth(batch):
    return batch["video"].astype(jnp.float32).mean((2, 3, 4)) / 255


def error(row):
    return float(np.nanmean(np.abs(curve(row, "level") - curve(row, "truth"))))
