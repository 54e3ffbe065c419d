"""The statistics of a comparison: how much one detector gains over another on the same clips, and how sure that is."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from experiments.analysis.claims import METRICS, Chosen, Family, Side, choose
from experiments.analysis.detectors import Detector, column_of
from experiments.score_table import ScoreRow
from mmdf_jax.stats.bayes import correlated_t, student
from mmdf_jax.stats.bootstrap import Difference, paired_difference
from mmdf_jax.stats.corrections import holm
from mmdf_jax.stats.delong import paired_test
from mmdf_jax.stats.effects import cohen_d_paired, cohen_kappa
from mmdf_jax.stats.paired_tests import mcnemar, nadeau_bengio
from mmdf_jax.stats.power import smallest_difference

SUPPORTED, CONTRADICTED, EQUAL, OPEN, ABSENT = (
    "supported",
    "contradicted",
    "practically equal",
    "not shown",
    "not made",
)
VERDICTS = (SUPPORTED, CONTRADICTED, EQUAL, OPEN, ABSENT)
SURE = 0.95  # of the posterior within the ROPE, from which two detectors count as practically equal
COLUMNS = (
    *(
        "Family",
        "Declared",
        "Better",
        "Than",
        "Better chosen from",
        "Than chosen from",
        "Judged by",
        "Methods",
        "Metric",
    ),
    *("Clips", "Identities", "Trainings", "Coverage of better", "Coverage of than"),
    *("Value of better", "Value of than", "Gain", "Gain low", "Gain high", "Standard error", "p", "Holm p"),
    *("DeLong p", "McNemar p", "Only better right", "Only than right", "Kappa of verdicts", "d over identities"),
    *("P(worse)", "P(practically equal)", "P(better)", "ROPE", "Smallest gain shown at the power"),
    *("Folds", "Nadeau-Bengio p", "P(better) over folds", "Verdict", "Why not"),
)


def family_rows(
    family: Family,
    detectors: Sequence[Detector],
    clips: Sequence[ScoreRow],
    config: dict[str, Any],
    unread: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """A row for each claim, with COLUMNS; Holm's correction is over those of the family that could be made.

    config: of configs/analysis.py. unread: {detector of the study that is not among `detectors`: why}.
    """
    rows = [
        _row(
            family, (better, than), [choose(side, family, detectors, unread) for side in (better, than)], clips, config
        )
        for better, than in family.claims
    ]
    for row, adjusted in zip(rows, holm([row["p"] for row in rows]).tolist(), strict=True):
        row["Holm p"] = adjusted
        if not row["Why not"]:
            row["Verdict"] = _verdict(row, config["alpha"])
    return rows


def _verdict(row: dict[str, Any], alpha: float) -> str:
    """A difference that is surely too small to matter is none, however small its p."""
    if row["P(practically equal)"] >= SURE:
        return EQUAL
    if row["Holm p"] < alpha:
        return SUPPORTED if row["Gain"] > 0 else CONTRADICTED
    return OPEN


def _row(
    family: Family,
    sides: tuple[Side, Side],
    chosen: Sequence[Chosen | str],
    clips: Sequence[ScoreRow],
    config: dict[str, Any],
) -> dict[str, Any]:
    (better, than), (a, b) = sides, chosen
    row: dict[str, Any] = {
        **dict.fromkeys(COLUMNS, math.nan),
        "Family": family.name,
        "Declared": "yes" if family.declared else "no",
        "Better": str(better) if isinstance(a, str) else a.name,
        "Than": str(than) if isinstance(b, str) else b.name,
        "Better chosen from": 0 if isinstance(a, str) else a.among,
        "Than chosen from": 0 if isinstance(b, str) else b.among,
        "Judged by": family.label,
        "Methods": " ".join(family.methods) or "all",
        "Metric": family.metric,
        "ROPE": config["rope"][family.metric],
        "Verdict": ABSENT,
        "Why not": "",
    }
    if lacking := dict.fromkeys(side for side in chosen if isinstance(side, str)):
        return row | {"Why not": "; ".join(lacking)}
    if (a.detector, a.column) == (b.detector, b.column):
        return row | {"Why not": f"both sides are {a.detector.name}"}
    labels = family.labels(clips)
    scores = [one.detector.scores(clips, "test", one.column, config["missing"]) for one in (a, b)]
    taken = labels >= 0
    coverage = [float(np.mean(~np.isnan(one[:, taken]).any(0))) if taken.any() else math.nan for one in scores]
    both = taken & ~np.isnan(np.concatenate(scores)).any(0)
    row |= {"Clips": int(both.sum()), "Coverage of better": coverage[0], "Coverage of than": coverage[1]}
    if len(set(labels[both].tolist())) < 2:
        return row | {"Why not": "the clips that both have scored are not of both classes"}
    for one, values in zip((a, b), scores, strict=True):
        if family.metric == "brier" and not ((values[:, both] >= 0) & (values[:, both] <= 1)).all():
            return row | {"Why not": f"column {one.column} of {one.detector.name} holds no probabilities"}
    if alike := _alike(family, *(one[:, both] for one in scores)):
        return row | {"Why not": alike}
    some = [clip for clip, is_in in zip(clips, both, strict=True) if is_in]
    return row | _statistics(family, (a, b), labels[both], [one[:, both] for one in scores], some, config)


def _alike(family: Family, first: np.ndarray, second: np.ndarray) -> str:
    """Why two sides' scores [s n] leave nothing to compare; "" if they do: the AUC knows of their order alone."""
    if np.array_equal(first, second):
        return "both give every clip the same score"
    if family.metric == "auc" and np.array_equal(rankdata(first, axis=1), rankdata(second, axis=1)):
        return "both put the clips into the same order"
    return ""


def _statistics(
    family: Family,
    sides: tuple[Chosen, Chosen],
    labels: np.ndarray,
    scores: Sequence[np.ndarray],
    clips: Sequence[ScoreRow],
    config: dict[str, Any],
) -> dict[str, Any]:
    """The numbers of one comparison; labels [n], scores [s n] of each side."""
    metric, more = METRICS[family.metric]
    groups = [clip.group for clip in clips]
    ordered = list(scores) if more else list(reversed(scores))
    gain = paired_difference(metric, labels, *ordered, groups, samples=config["bootstrap"], level=1 - config["alpha"])
    values = [float(np.mean([metric(labels, one) for one in side])) for side in scores]
    best = [side[one.detector.best] for one, side in zip(sides, scores, strict=True)]
    rope = config["rope"][family.metric]
    worse, equal, better = student(gain.value, gain.error, gain.freedom, rope)
    return {
        "Identities": gain.groups,
        "Trainings": min(len(side) for side in scores),
        "Value of better": values[0],
        "Value of than": values[1],
        "Gain": gain.value,
        "Gain low": gain.low,
        "Gain high": gain.high,
        "Standard error": gain.error,
        "p": gain.p,
        "DeLong p": _delong(labels, *best) if family.metric == "auc" else math.nan,
        **_verdicts(family, sides, labels, best),
        "d over identities": _over_identities(family, labels, best, groups),
        "P(worse)": worse,
        "P(practically equal)": equal,
        "P(better)": better,
        "Smallest gain shown at the power": _smallest(gain, config),
        **_over_folds(family, sides, rope),
    }


def _delong(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """The p-value of DeLong's test; nan where the clips give no spread to measure."""
    found = paired_test(labels, first, second)
    return found.p if found.standard_error > 0 else math.nan


def _verdicts(
    family: Family, sides: tuple[Chosen, Chosen], labels: np.ndarray, best: Sequence[np.ndarray]
) -> dict[str, float]:
    """McNemar's test and the agreement of the verdicts, each at the threshold that its own validation fixed."""
    called = []
    for one, values in zip(sides, best, strict=True):
        threshold = one.detector.threshold(one.detector.best, family.label, one.column)
        if math.isnan(threshold):
            return {}
        called.append(values >= threshold)
    right = [one == (labels == 1) for one in called]
    return {
        "McNemar p": mcnemar(*right, kind="midp").p,
        "Only better right": int((right[0] & ~right[1]).sum()),
        "Only than right": int((right[1] & ~right[0]).sum()),
        "Kappa of verdicts": cohen_kappa(*called),
    }


def _over_identities(family: Family, labels: np.ndarray, best: Sequence[np.ndarray], groups: Sequence[Any]) -> float:
    """The gain of a person in units of its spread over people (Cohen's d of pairs); nan without any spread."""
    code_of = {group: code for code, group in enumerate(dict.fromkeys(groups))}
    codes = np.array([code_of[group] for group in groups])
    goodness = _placements if family.metric == "auc" else lambda labels, values: -((values - labels) ** 2)
    people = [np.bincount(codes, goodness(labels, values)) / np.bincount(codes) for values in best]
    found = cohen_d_paired(*people)
    return found if math.isfinite(found) else math.nan


def _placements(labels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Of each clip [n], the share of the other class that it is ordered rightly against, ties half; AUC is the mean."""
    fakes, reals = np.sort(values[labels == 1]), np.sort(values[labels == 0])
    below, above = (
        (np.searchsorted(others, values) + np.searchsorted(others, values, side="right")) / (2 * len(others))
        for others in (reals, fakes)
    )
    return np.where(labels == 1, below, 1 - above)


def _smallest(gain: Difference, config: dict[str, Any]) -> float:
    if math.isnan(gain.error):
        return math.nan
    return smallest_difference(gain.error, config["alpha"], config["power"], round(gain.freedom) + 1)


def _over_folds(family: Family, sides: tuple[Chosen, Chosen], rope: float) -> dict[str, Any]:
    """Over folds that both detectors were trained on: the corrected resampled t-test and its Bayesian twin.

    Folds that all give the same gain have no spread to measure, and so no p.
    """
    a, b = (one.detector.folds for one in sides)
    if len(a) < 2 or [set(fold) for fold in a] != [set(fold) for fold in b]:
        return {}
    metric, more = METRICS[family.metric]
    gains = []
    for pair in zip(a, b, strict=True):
        clips = [pair[0][clip] for clip in sorted(pair[0])]
        labels = family.labels(clips)
        values = [column_of(table, clips, one.column, math.nan) for table, one in zip(pair, sides, strict=True)]
        taken = (labels >= 0) & ~np.isnan(values).any(0)
        first, second = (metric(labels[taken], one[taken]) for one in values)
        gains.append((first - second) * (1 if more else -1))
    if not np.isfinite(gains).all():
        return {}
    if min(gains) == max(gains):
        return {"Folds": len(gains)}
    share = 1 / len(gains)
    return {
        "Folds": len(gains),
        "Nadeau-Bengio p": nadeau_bengio(gains, share).p,
        "P(better) over folds": correlated_t(gains, share, rope).right,
    }
