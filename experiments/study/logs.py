"""Logs/ of a study: one file for each part of the plan, of all its runs' logs."""

import pathlib
from collections.abc import Sequence

from experiments import files
from experiments.study.plan import Run


def gather(study: pathlib.Path, finished: Sequence[Run]) -> None:
    """Writes Logs/training_log_nb01.txt, …, of the finished runs' log.txt in the plan's order.

    Trainings without a manipulation are apart, in training_log_held_out.txt.
    """
    parts: dict[str, list[str]] = {}
    for run in finished:
        text = (run.folder / "log.txt").read_text(encoding="utf-8", errors="replace")
        part = "held_out" if run.experiment.without else f"nb{run.experiment.number:02d}"
        parts.setdefault(part, []).append(f"==== {run.name} ====\n{text}")
    for part, texts in parts.items():
        files.write_text(study / "Logs" / f"training_log_{part}.txt", "\n".join(texts))
