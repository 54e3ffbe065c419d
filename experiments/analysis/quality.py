"""Every metric of a detector, with its interval over identities."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.analysis.detectors import Detector
from experiments.score_table import ScoreRow
from mmdf_jax.metrics import calibration, classification, selective
from mmdf_jax.stats.bootstrap import Metric, interval
from mmdf_jax.tasks.detection import judged_label

COLUMNS = (
    *("Detector", "Run", "Part", "Modality", "Judged by", "Metric", "Value", "Low", "High"),
    *("Clips", "Identities", "Coverage", "Threshold"),
)
NAMES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
}


def rows(detector: Detector, training: int, clips: Sequence[ScoreRow], config: dict[str, Any]) -> list[dict[str, Any]]:
    """Every metric of one training with its interval over identities, by the label that the detector answers for.

    Where that is not the clip's label, the AUC by the clip's label follows.
    """
    values = detector.scores(clips, missing=config["missing"])[training]
    known = ~np.isnan(values)
    some = [clip for clip, has in zip(clips, known, strict=True) if has]
    groups, threshold = [clip.group for clip in some], detector.threshold(training, detector.judged_by)
    metrics = {"AUC": classification.auc, "EER": classification.eer, "AP": classification.average_precision}
    if not math.isnan(threshold):
        metrics |= {
            name: _at(threshold, name) for name in ("accuracy", "balanced_accuracy", "precision", "recall", "f1")
        }
        metrics["AURC"] = functools.partial(_aurc, threshold)
    metrics |= {"ECE": calibration.ece, "Brier": calibration.brier}
    wanted = [(detector.judged_by, name, metric) for name, metric in metrics.items()]
    if detector.judged_by != "label":
        wanted.append(("label", "AUC", classification.auc))
    found_rows = []
    for label, name, metric in wanted:
        labels = np.array([judged_label(clip, label) for clip in some])
        found = interval(metric, labels, values[known], groups, samples=config["bootstrap"], level=1 - config["alpha"])
        found_rows.append(
            {
                "Detector": detector.name,
                "Run": detector.runs[training],
                "Part": detector.part,
                "Modality": detector.modality,
                "Judged by": label,
                "Metric": NAMES.get(name, name),
                "Value": found.value,
                "Low": found.low,
                "High": found.high,
                "Clips": len(some),
                "Identities": found.groups,
                "Coverage": float(known.mean()),
                "Threshold": threshold,
            }
        )
    return found_rows


def _at(threshold: float, name: str) -> Metric:
    return lambda labels, values: getattr(classification.confusion(labels, values, threshold), name)


def _aurc(threshold: float, labels: np.ndarray, values: np.ndarray) -> float:
    return selective.aurc(*selective.of_verdicts(labels, values, threshold))
