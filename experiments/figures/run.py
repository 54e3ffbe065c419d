"""All the figures that a run's score table and metrics log give: the one call that a command needs."""

import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.figures import confusion, roc, score_distributions, style, training_curves
from experiments.results import Scored, method_of
from experiments.score_table import ScoreRow


def write(
    folder: str | os.PathLike,
    test: Sequence[ScoreRow],
    threshold: float,
    *,
    log: Iterable[Mapping[str, Any]] = (),
    best_step: int | None = None,
    title: str = "",
    samples: int = 2000,
) -> list[pathlib.Path]:
    """Writes roc.png, confusion.png, score_distributions.png and, with a log, training_curves.png; returns the paths.

    threshold: fitted on validation (nan if it could not be). log: the lines of metrics.jsonl. best_step: of the
    checkpoint that was kept. samples: bootstrap resamples; as in the tables, for the figures to say the same numbers.
    """
    scored = Scored.of(test)
    methods = [method_of(row) for row in test if row.scored]
    labels, scores = scored.labels, scored.scores
    prefix = f"{title}: " if title else ""
    drawn = {
        "roc": roc.draw(labels, scores, scored.groups, threshold=threshold, title=f"{prefix}ROC", samples=samples),
        "confusion": confusion.draw(
            labels, scores, threshold=threshold, abstained=scored.abstained, title=f"{prefix}confusion"
        ),
        "score_distributions": score_distributions.draw(
            scores, methods, labels, threshold=threshold, title=f"{prefix}scores per method"
        ),
    }
    if curves := training_curves.curves_of(log):
        drawn["training_curves"] = training_curves.draw(curves, best=best_step, title=f"{prefix}training")
    paths = []
    for name, figure in drawn.items():
        paths.append(pathlib.Path(folder) / f"{name}.png")
        style.save(figure, paths[-1])
    return paths
