"""A toy task and its report: a regression per frame, to show that nothing but binary detection is built in."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
import numpy as np

from experiments.report import terminal
from experiments.score_table import Table, curve
from mmdf_jax import losses
from mmdf_jax.stats.bootstrap import interval


@dataclasses.dataclass(frozen=True)
class Task:
    """The mean brightness of each video frame, in [0, 1]."""

    evaluator: ClassVar = {"name": "toys.frame_levels"}
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


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """The mean absolute error over clips, with its interval over identities."""

    headline = ("MAE",)
    averaged = ()

    def results(self, val, test, *, samples):
        errors = np.array([error(row) for row in test if row.ok])
        groups = [row.group for row in test if row.ok]
        mae = interval(lambda _, e: e.mean(), np.zeros(len(errors), int), errors, groups, samples=samples)
        return {"MAE": mae.value, "MAE low": mae.low, "MAE high": mae.high, "Clips": len(errors)}

    def tables(self, test, row, *, samples):
        return {"clips": Table(("clip", "error"), [{"clip": r.clip_id, "error": error(r)} for r in test if r.ok])}

    def figures(self, test, row, *, title, samples):
        return {}

    def text(self, row, tables, scored):
        value = terminal.with_interval(row["MAE"], row["MAE low"], row["MAE high"])
        return [*terminal.heading(row, scored), f"mean absolute error {value}"]

    def pooled(self, tables):
        return [row for table in tables for row in table]
