"""From score tables to numbers: the one row of results.csv, and a row per manipulation method."""

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.score_table import ScoreRow, write_csv
from mmdf_jax.metrics import calibration, classification
from mmdf_jax.stats.bootstrap import Interval, interval
from mmdf_jax.tasks.detection import STREAM_LABELS

# What a run says of itself (all optional), and the column where it stands.
RUN_COLUMNS = {
    "model": "Model",
    "modality": "Modality",
    "parameters_m": "Parameters (M)",
    "train_minutes": "Training time (min)",
    "inference_ms": "Inference (ms/sample)",
    "peak_memory_gb": "Peak memory (GB)",
}
METHOD_COLUMNS = (
    *("Method", "Score", "Fakes", "Reals", "Identities", "Abstained"),
    *("AUC", "AUC low", "AUC high", "Recall", "Threshold"),
)
ALL_FAKES, PARTIAL = "all fakes", "partial fakes"


@dataclasses.dataclass(frozen=True)
class Scored:
    """Labels [n], scores [n] and groups [n] of the clips that have a score, and the count of those that do not."""

    labels: np.ndarray
    scores: np.ndarray
    groups: list[tuple[str, str]]
    abstained: int

    @classmethod
    def of(cls, rows: Sequence[ScoreRow]) -> "Scored":
        scored = [row for row in rows if row.scored]
        return cls(
            np.array([row.label for row in scored], int),
            np.array([row.score for row in scored], float),
            [row.group for row in scored],
            len(rows) - len(scored),
        )


def is_real(row: ScoreRow) -> bool:
    return row.label == 0


def method_of(row: ScoreRow) -> str:
    """The row's manipulation method, or a stand-in where its table names none."""
    return row.method or ("real" if is_real(row) else "fake")


def threshold_of(val: Sequence[ScoreRow]) -> float:
    """The operating threshold, fitted on validation; nan where that lacks reals or fakes."""
    scored = Scored.of(val)
    return classification.threshold_for(scored.labels, scored.scores)


def summarise(
    val: Sequence[ScoreRow], test: Sequence[ScoreRow], run: Mapping[str, Any], *, samples: int = 2000
) -> dict[str, Any]:
    """The row of results.csv: quality on test at the threshold that validation fixed, and the run's costs.

    run: any of RUN_COLUMNS' keys (parameters in millions, time in minutes and ms, memory in GB); ValueError for
    others. What is unknown or undefined is nan. Abstained clips stand in no metric; they are counted in a column.
    """
    if unknown := set(run) - set(RUN_COLUMNS):
        raise ValueError(f"run may say {', '.join(RUN_COLUMNS)}; found {', '.join(sorted(unknown))}")
    threshold = threshold_of(val)
    seen, held_out = Scored.of(test), Scored.of(val)
    quality = _at_threshold(seen, threshold)
    auc = interval(classification.auc, seen.labels, seen.scores, seen.groups, samples=samples)
    costs = {column: run.get(key, math.nan) for key, column in RUN_COLUMNS.items()}
    return {
        "Model": run.get("model", ""),
        "Modality": run.get("modality", ""),
        **quality,
        "AUC": auc.value,
        "AUC low": auc.low,
        "AUC high": auc.high,
        "EER": classification.eer(seen.labels, seen.scores),
        "AP": classification.average_precision(seen.labels, seen.scores),
        "ECE": calibration.ece(seen.labels, seen.scores),
        "Best validation accuracy": _at_threshold(held_out, threshold)["Accuracy"],
        **{column: value for column, value in costs.items() if column not in ("Model", "Modality")},
        "Threshold": threshold,
        "Clips": len(seen.labels),
        "Abstained": seen.abstained,
        "Identities": auc.groups,
    }


def _at_threshold(scored: Scored, threshold: float) -> dict[str, float]:
    names = ("Accuracy", "Precision", "Recall", "F1")
    if math.isnan(threshold):
        return dict.fromkeys(names, math.nan)
    counts = classification.confusion(scored.labels, scored.scores, threshold)
    return dict(zip(names, (counts.accuracy, counts.precision, counts.recall, counts.f1), strict=True))


def per_method(test: Sequence[ScoreRow], threshold: float, *, samples: int = 2000) -> list[dict[str, Any]]:
    """One row per method (its fakes against all reals) and per score column, with METHOD_COLUMNS as keys.

    `Score` is `score` or a stream's own column (`score_image`, …). A stream is judged by its own label: of a
    dubbed clip the picture is real, and in the row `all fakes` it counts as such; a method whose stream is real
    throughout has no row for it. Partial fakes, where a column `partial` marks them, have a row of their own and
    stand in their methods' rows too. A score of another name than a stream's answers to the clip's label. `Recall`
    is at `threshold` (of `score` only); nan elsewhere. `Abstained` counts the method's fakes without that score.
    """
    streams = [name for name in _columns(test) if name.startswith("score_")]
    rows = []
    for name, fakes in _families(test).items():
        rows.append(_method_row(name, "score", fakes, _reals(test, "label"), "label", threshold, samples))
        for column in streams:
            own = STREAM_LABELS.get(column.removeprefix("score_"), "label")
            positives = [row for row in fakes if getattr(row, own) == 1]
            negatives = _reals(test, own if name == ALL_FAKES else "label")
            if positives:
                rows.append(_method_row(name, column, positives, negatives, own, math.nan, samples))
    return rows


def _columns(rows: Sequence[ScoreRow]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.extra))


def _families(test: Sequence[ScoreRow]) -> dict[str, list[ScoreRow]]:
    fakes = [row for row in test if not is_real(row)]
    families = {ALL_FAKES: fakes} if fakes else {}
    for method in sorted({method_of(row) for row in fakes}):
        families[method] = [row for row in fakes if method_of(row) == method]
    if partial := [row for row in fakes if row.extra.get("partial") == 1]:
        families[PARTIAL] = partial
    return families


def _reals(test: Sequence[ScoreRow], own: str) -> list[ScoreRow]:
    # A real clip's streams are real, also in tables that have no column to say so.
    return [row for row in test if is_real(row) or getattr(row, own) == 0]


def _method_row(
    name: str,
    column: str,
    fakes: Sequence[ScoreRow],
    reals: Sequence[ScoreRow],
    own: str,
    threshold: float,
    samples: int,
) -> dict[str, Any]:
    def score(row: ScoreRow) -> float:
        return row.score if column == "score" else float(row.extra.get(column, math.nan))

    abstained = sum(math.isnan(score(row)) for row in fakes)
    fakes, reals = ([row for row in rows if not math.isnan(score(row))] for rows in (fakes, reals))
    both = [*fakes, *reals]
    labels = np.repeat([1, 0], [len(fakes), len(reals)])
    scores = np.array([score(row) for row in both])
    auc: Interval = interval(classification.auc, labels, scores, [row.group for row in both], samples=samples)
    recall = math.nan
    if fakes and not math.isnan(threshold):
        recall = classification.confusion(labels, scores, threshold).recall
    return {
        "Method": name,
        "Score": column,
        "Fakes": len(fakes),
        "Reals": len(reals),
        "Identities": auc.groups,
        "Abstained": abstained,
        "AUC": auc.value,
        "AUC low": auc.low,
        "AUC high": auc.high,
        "Recall": recall,
        "Threshold": threshold,
    }


def write_results(path: str | os.PathLike, row: Mapping[str, Any]) -> None:
    """Writes the one row of results.csv, atomically; nan becomes an empty cell."""
    write_csv(path, list(row), [row])


def write_methods(path: str | os.PathLike, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes per_method's rows as CSV, atomically."""
    write_csv(path, METHOD_COLUMNS, rows)
