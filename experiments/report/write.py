"""The second half of every run: score tables to results, tables, figures and a text. No model, no media."""

import math
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from experiments import files
from experiments.figures import style, training_curves
from experiments.report import terminal
from experiments.score_table import ScoreRow, Table, write_csv

# What a run may say of itself, and the column of results.csv that holds it.
RUN_COLUMNS = {
    "model": "Model",
    "modality": "Modality",
    "parameters_m": "Parameters (M)",
    "train_minutes": "Training time (min)",
    "inference_ms": "Inference (ms/sample)",
    "peak_memory_gb": "Peak memory (GB)",
}


def write(
    folder: pathlib.Path,
    evaluator: Any,
    val: Sequence[ScoreRow],
    test: Sequence[ScoreRow],
    run: Mapping[str, Any],
    *,
    samples: int,
    scored: str = "test split",
    title: str = "",
    log: Iterable[Mapping[str, Any]] = (),
    best_step: int | None = None,
    figures: Mapping[str, Figure] | None = None,
    others: Sequence[pathlib.Path] = (),
    compared: Mapping[str, tuple[Table, Sequence[str]]] | None = None,
) -> str:
    """Writes results.csv (last), the evaluator's tables, figures/ and report.txt into `folder`; returns the report.

    evaluator: an Evaluator of experiments/evaluators/<kind>.py. run: any of RUN_COLUMNS' keys (parameters in millions,
    time in minutes and ms, memory in GB). samples: bootstrap resamples. scored, title: what was scored, for the text
    and for the figures. log: the lines of metrics.jsonl, and best_step: of the checkpoint that was kept. figures:
    further ones. others: files written before, to be listed too. compared: further tables {name: (table, its lines of
    the report)}.

    Raises:
      ValueError: the tables lack what the evaluator needs, or `run` says something unknown.
    """
    row = {**described(run), **evaluator.results(val, test, samples=samples)}
    tables = evaluator.tables(val, test, row, samples=samples)
    further = dict(compared or {})
    listed = tables | {name: table for name, (table, _) in further.items()}
    for name, table in listed.items():
        write_csv(folder / f"{name}.csv", table.columns, table.rows)
    drawn = evaluator.figures(test, row, tables, title=f"{title}: " if title else "", samples=samples)
    if curves := training_curves.curves_of(log):
        drawn["training_curves"] = training_curves.draw(curves, best=best_step, title=f"{title}: training")
    for name, figure in (drawn | dict(figures or {})).items():
        style.save(figure, folder / "figures" / f"{name}.png")
    names = ["results.csv", *(f"{name}.csv" for name in listed), *(["figures"] if drawn or figures else [])]
    paths = [os.path.relpath(path) for path in [*(folder / name for name in names), *others]]
    lines = [line for _, own in further.values() for line in ("", *own)]
    report = "\n".join([*evaluator.text(row, tables, scored), *lines, *terminal.files(paths)])
    files.write_text(folder / "report.txt", report + "\n")
    write_csv(folder / "results.csv", list(row), [row])
    return report


def described(run: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that a run fills itself; numbers that are unknown are nan.

    Raises:
      ValueError: `run` has another key than RUN_COLUMNS.
    """
    if unknown := set(run) - set(RUN_COLUMNS):
        raise ValueError(f"run may say {', '.join(RUN_COLUMNS)}; found {', '.join(sorted(unknown))}")
    empty = {"model": "", "modality": ""}
    return {column: run.get(key, empty.get(key, math.nan)) for key, column in RUN_COLUMNS.items()}
