"""Logs/ of a study: one file for each part of the plan, of all its runs' logs."""

import pathlib
from collections.abc import Sequence

from experiments import files
from experiments.study.plan import Run


def gather(study: pathlib.Path, finished: Sequence[Run]) -> None:
    """Writes Logs/training_log_nb01.txt, …, of the finished runs' log.txt in the plan's order."""
    parts: dict[int, list[str]] = {}
    for run in finished:
        text = (run.folder / "log.txt").read_text(encoding="utf-8", errors="replace")
        parts.setdefault(run.experiment.number, []).append(f"==== {run.name} ====\n{text}")
    for number, texts in parts.items():
        files.write_text(study / "Logs" / f"training_log_nb{number:02d}.txt", "\n".join(texts))
