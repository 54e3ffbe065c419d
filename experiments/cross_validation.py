"""The table over the folds of a cross-validation: each fold, their mean and spread, and one figure out of fold."""

import csv
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments import files, score_table
from experiments.report import terminal
from experiments.report import write as write_report
from experiments.run_directory import log


def write(workdir: pathlib.Path, runs: Sequence[pathlib.Path], evaluator: Any, *, samples: int) -> None:
    """Writes folds.csv, the evaluator's tables, report.txt and results.csv from the finished `runs`; prints the report.

    `results.csv` holds the folds' means; its first column of quality is that of all clips, each scored by the fold that
    did not see it, with an interval over identities.
    """
    rows = [_read_row(run / "results.csv") for run in runs]
    out_of_fold = evaluator.pooled([score_table.read(run / "scores" / "test.csv") for run in runs])
    table = fold_table(rows, evaluator.headline)
    score_table.write_csv(workdir / "folds.csv", list(table[0]), table)
    score_table.write(workdir / "scores" / "test.csv", out_of_fold)
    described = {name: rows[0][name] for name in ("Model", "Modality")}
    costs = {name: _mean(rows, name) for name in write_report.RUN_COLUMNS.values() if name not in described}
    means = {name: _mean(rows, name) for name in (*evaluator.headline[1:], *evaluator.averaged)}
    quality = evaluator.results([], out_of_fold, samples=samples)
    tables = evaluator.tables([], out_of_fold, quality, samples=samples)
    row = {**described, **costs, **quality, **means}
    for name, of_name in tables.items():
        score_table.write_csv(workdir / f"{name}.csv", of_name.columns, of_name.rows)
    names = ["folds.csv", "results.csv", *(f"{name}.csv" for name in tables), "scores"]
    report = "\n".join(
        [
            *_render(table, len(runs), evaluator.headline),
            "",
            *evaluator.text(row, tables, f"out of fold ({len(runs)} folds)"),
            *terminal.files([os.path.relpath(workdir / name) for name in names]),
        ]
    )
    files.write_text(workdir / "report.txt", report + "\n")
    score_table.write_csv(workdir / "results.csv", list(row), [row])
    log.info(report)


def fold_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[dict[str, Any]]:
    """A row per fold, then their mean and their standard deviation (n - 1).

    columns: numbers of results.csv; of the first, its interval too.
    """
    first, *others = columns
    limits = (f"{first} low", f"{first} high")
    order = ("Fold", "Clips", first, *limits, *others)
    table = [{"Fold": str(fold), **row, "Clips": int(row["Clips"])} for fold, row in enumerate(rows, 1)]
    whole = {"Clips": sum(row["Clips"] for row in table), **dict.fromkeys(limits, math.nan)}
    spread = {name: float(np.std([row[name] for row in rows], ddof=1)) for name in columns}
    table.append({"Fold": "mean", **whole, **{name: _mean(rows, name) for name in columns}})
    table.append({"Fold": "standard deviation", **whole, **spread})
    return [{name: row[name] for name in order} for row in table]


def _render(table: Sequence[Mapping[str, Any]], folds: int, columns: Sequence[str]) -> list[str]:
    first, *others = columns
    lines = ["─" * terminal.WIDTH, f"{folds} folds, grouped by identity", "─" * terminal.WIDTH]
    heads = "".join(f"{name:>10}" for name in others)
    lines.append(f"{'fold':<20}{'clips':>6}  {f'{first} [95 %]':<22}{heads}")
    for row in table:
        value = terminal.with_interval(row[first], row[f"{first} low"], row[f"{first} high"])
        numbers = "".join(f"{terminal.number(row[name]):>10}" for name in others)
        lines.append(f"{row['Fold']:<20}{row['Clips']:>6}  {value:<22}{numbers}")
    return lines


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    return float(np.mean([row[name] for row in rows]))


def _read_row(path: pathlib.Path) -> dict[str, Any]:
    """results.csv as written: numbers where there are numbers, nan where there is nothing."""
    with open(path, newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    return {name: cell if name in ("Model", "Modality") else float(cell or "nan") for name, cell in row.items()}
