"""The toy task's report."""

import dataclasses

import numpy as np
from toys.frame_levels import error

from experiments.report import terminal
from experiments.score_table import Table
from mmdf_jax.stats.bootstrap import interval


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

    def tables(self, val, test, row, *, samples):
        return {"clips": Table(("clip", "error"), [{"clip": r.clip_id, "error": error(r)} for r in test if r.ok])}

    def figures(self, test, row, tables, *, title, samples):
        return {}

    def text(self, row, tables, scored):
        value = terminal.with_interval(row["MAE"], row["MAE low"], row["MAE high"])
        return [*terminal.heading(row, scored), f"mean absolute error {value}"]

    def pooled(self, tables):
        return [row for table in tables for row in table]
