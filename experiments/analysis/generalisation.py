"""How far quality carries: AUC by method, on every other dataset that was scored, and on methods that were left out."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.analysis.detectors import SPLITS, Detector, clips_of
from experiments.evaluators.classification import method_of
from experiments.score_table import ScoreRow
from mmdf_jax.metrics import classification
from mmdf_jax.stats.bootstrap import interval
from mmdf_jax.stats.corrections import holm
from mmdf_jax.stats.paired_tests import friedman, wilcoxon

COLUMNS = (
    *("Kind", "Detector", "Trainings", "Of", "Held out", "Clip AUC", "Clip AUC low", "Clip AUC high"),
    *("Clips", "Fakes", "Identities", "Coverage"),
)
METHOD, DATASET, LEFT_OUT = "method", "dataset", "left-out method"
_WITHOUT = re.compile(r"(.+)-without-(.+)")


def compared(detectors: Sequence[Detector]) -> list[Detector]:
    """The detectors but for those that were trained without a method, which no claim is about."""
    return [one for one in detectors if not _WITHOUT.fullmatch(one.name)]


def rows(detectors: Sequence[Detector], config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row with COLUMNS for each detector and method, dataset or left-out method, by the clip's label.

    A method's fakes stand against all reals. Tables of other names than val and test are further datasets, which are
    held out as a whole. A detector `<name>-without-<method>` has not seen that method; a row for it follows, and
    one for `<name>`.
    """
    clips = clips_of(detectors)
    found = []
    for detector in compared(detectors):
        for method in methods(clips):
            found.append(_row(METHOD, detector, "test", method, _against_reals(clips, method), False, config))
    for table in ("test", *_further(detectors)):
        others = clips_of(detectors, table)
        for detector in compared(detectors):
            if table in detector.tables[0]:
                found.append(_row(DATASET, detector, table, table, others, table != "test", config))
    by_name = {one.name: one for one in detectors}
    for detector in detectors:
        if match := _WITHOUT.fullmatch(detector.name):
            some = _against_reals(clips, match[2])
            found.append(_row(LEFT_OUT, detector, "test", match[2], some, True, config))
            if match[1] in by_name:
                found.append(_row(LEFT_OUT, by_name[match[1]], "test", match[2], some, False, config))
    return found


def methods(clips: Sequence[ScoreRow]) -> list[str]:
    """The methods of the fakes, in order of name."""
    return sorted({method_of(clip) for clip in clips if clip.label == 1})


def _against_reals(clips: Sequence[ScoreRow], method: str) -> list[ScoreRow]:
    return [clip for clip in clips if clip.label == 0 or method_of(clip) == method]


def _further(detectors: Sequence[Detector]) -> list[str]:
    return sorted({table for one in detectors for table in one.tables[0]} - set(SPLITS))


def _row(
    kind: str,
    detector: Detector,
    table: str,
    of: str,
    clips: Sequence[ScoreRow],
    held_out: bool,
    config: Mapping[str, Any],
) -> dict[str, Any]:
    """AUC of the training that is best on validation, with its interval; of several trainings their mean AUC."""
    scores = detector.scores(clips, table, missing=config["missing"])
    labels = np.array([clip.label for clip in clips], int)
    values = scores[detector.best]
    known = ~np.isnan(values)
    groups = [clip.group for clip, has in zip(clips, known, strict=True) if has]
    auc = interval(classification.auc, labels[known], values[known], groups, samples=config["bootstrap"])
    return {
        "Kind": kind,
        "Detector": detector.name,
        "Trainings": len(scores),
        "Of": of,
        "Held out": "yes" if held_out else "no",
        "Clip AUC": auc.value,
        "Clip AUC low": auc.low,
        "Clip AUC high": auc.high,
        "Clips": int(known.sum()),
        "Fakes": int(labels[known].sum()),
        "Identities": auc.groups,
        "Coverage": float(known.mean()) if len(known) else math.nan,
    }


def matrix(table: Sequence[Mapping[str, Any]], kind: str) -> tuple[list[str], list[str], np.ndarray]:
    """(detectors [r], methods or datasets [c], AUC [r c]) of the rows of a kind, nan where there is none."""
    own = [row for row in table if row["Kind"] == kind]
    names = list(dict.fromkeys(row["Detector"] for row in own))
    of = list(dict.fromkeys(row["Of"] for row in own))
    values = np.full((len(names), len(of)), np.nan)
    for row in own:
        values[names.index(row["Detector"]), of.index(row["Of"])] = row["Clip AUC"]
    return names, of, values


def ranks(values: np.ndarray) -> dict[str, Any]:
    """The comparison of ranks over datasets of AUC [m d]: Friedman, Iman-Davenport, mean ranks, Wilcoxon with Holm."""
    found = friedman(values.T)
    m = len(values)
    pairs = [(i, j) for i in range(m) for j in range(i + 1, m)]
    p = holm([wilcoxon(values[i], values[j], "pratt").p for i, j in pairs])
    apart = np.zeros((m, m), bool)
    for (i, j), adjusted in zip(pairs, p, strict=True):
        apart[i, j] = apart[j, i] = adjusted < 0.05
    return {"friedman": found, "apart": apart}
