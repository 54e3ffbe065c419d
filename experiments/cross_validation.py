"""The table over the folds of a cross-validation: each fold, their mean and spread, and one AUC out of fold."""

import csv
import dataclasses
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from experiments import files, results, score_table
from experiments.report import terminal
from experiments.run_directory import log
from experiments.score_table import ScoreRow

COLUMNS = ("AUC", "EER", "AP", "Accuracy", "F1", "ECE")


def write(workdir: pathlib.Path, runs: Sequence[pathlib.Path], target: str, *, samples: int) -> None:
    """Writes folds.csv, methods.csv, report.txt and results.csv from the finished `runs`, and prints the report.

    `results.csv` holds the folds' means; its AUC is that of all clips, each scored by the fold that did not see it,
    with an interval over identities. Scores of different folds are of different models, so they enter as ranks.
    """
    rows = [_read_row(run / "results.csv") for run in runs]
    out_of_fold = ranked([score_table.read(run / "scores" / "test.csv") for run in runs])
    judged = score_table.judged_by(out_of_fold, target)
    table = fold_table(rows)
    score_table.write_csv(workdir / "folds.csv", list(table[0]), table)
    score_table.write(workdir / "scores" / "test.csv", out_of_fold)
    methods = results.per_method(out_of_fold, math.nan, samples=samples)
    results.write_methods(workdir / "methods.csv", methods)
    summary = results.summarise([], judged, {}, samples=samples)
    mean = {name: table[-2][name] for name in COLUMNS if name != "AUC"}
    times = {name: _mean(rows, name) for name in results.RUN_COLUMNS.values() if name not in ("Model", "Modality")}
    row = {**summary, **{name: rows[0][name] for name in ("Model", "Modality")}, **mean, **times}
    row["Best validation accuracy"] = _mean(rows, "Best validation accuracy")
    for name in ("Precision", "Recall", "Threshold"):
        row[name] = _mean(rows, name)
    report = "\n".join(
        [
            *_render(table, len(runs)),
            "",
            terminal.render(
                row,
                methods,
                [os.path.relpath(workdir / name) for name in ("folds.csv", "results.csv", "methods.csv", "scores")],
                target=target,
                title=f"out of fold ({len(runs)} folds)",
            ),
        ]
    )
    files.write_text(workdir / "report.txt", report + "\n")
    results.write_results(workdir / "results.csv", row)
    log.info(report)


def ranked(tables: Sequence[Sequence[ScoreRow]]) -> list[ScoreRow]:
    """The rows of all tables, their scores (also the streams') replaced by ranks in (0, 1) within their table."""
    rows = []
    for table in tables:
        table = list(table)
        for name in ("score", *dict.fromkeys(key for row in table for key in row.extra if key.startswith("score_"))):
            values = np.array([row.score if name == "score" else row.extra.get(name, math.nan) for row in table])
            known = ~np.isnan(values)
            values[known] = rankdata(values[known]) / (known.sum() + 1)
            for i, value in enumerate(values.tolist()):
                change = {"score": value} if name == "score" else {"extra": {**table[i].extra, name: value}}
                table[i] = dataclasses.replace(table[i], **change)
        rows += table
    return rows


def fold_table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row per fold, then their mean and their standard deviation (n - 1)."""
    table = [
        {"Fold": str(fold), "Clips": int(row["Clips"]), "AUC low": row["AUC low"], "AUC high": row["AUC high"]}
        | {name: row[name] for name in COLUMNS}
        for fold, row in enumerate(rows, 1)
    ]
    spread = {name: float(np.std([row[name] for row in rows], ddof=1)) for name in COLUMNS}
    clips = sum(row["Clips"] for row in table)
    empty = {"AUC low": math.nan, "AUC high": math.nan}
    mean = {"Fold": "mean", "Clips": clips, **empty, **{name: _mean(rows, name) for name in COLUMNS}}
    order = ("Fold", "Clips", "AUC", "AUC low", "AUC high", *COLUMNS[1:])
    table += [mean, {"Fold": "standard deviation", "Clips": clips, **empty, **spread}]
    return [{name: row[name] for name in order} for row in table]


def _render(table: Sequence[Mapping[str, Any]], folds: int) -> list[str]:
    lines = ["─" * terminal.WIDTH, f"{folds} folds, grouped by identity", "─" * terminal.WIDTH]
    lines.append(f"{'fold':<20}{'clips':>6}  {'AUC [95 %]':<22}" + "".join(f"{name:>10}" for name in COLUMNS[1:]))
    for row in table:
        auc = terminal.with_interval(row["AUC"], row["AUC low"], row["AUC high"])
        others = "".join(f"{terminal.number(row[name]):>10}" for name in COLUMNS[1:])
        lines.append(f"{row['Fold']:<20}{row['Clips']:>6}  {auc:<22}{others}")
    return lines


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    return float(np.mean([row[name] for row in rows]))


def _read_row(path: pathlib.Path) -> dict[str, Any]:
    """results.csv as written: numbers where there are numbers, nan where there is nothing."""
    with open(path, newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    return {name: cell if name in ("Model", "Modality") else float(cell or "nan") for name, cell in row.items()}
