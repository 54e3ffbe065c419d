"""The clips to look at: those that detectors get wrong with most confidence, and those they least agree on."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.analysis.detectors import Detector
from experiments.score_table import ScoreRow

WRONG, APART = "confident errors", "disagreement"
COLUMNS = ("Kind", "Clip", "Truth", "Method", "Identity", "Wrong", "Scored", "Mean margin", "Spread")


def deciding(detectors: Sequence[Detector]) -> list[Detector]:
    """Those whose errors choose the clips: that answer for the whole clip, or all if these are fewer than two."""
    whole = [one for one in detectors if one.judged_by == "label"]
    return whole if len(whole) > 1 else list(detectors)


def rows(
    detectors: Sequence[Detector], clips: Sequence[ScoreRow], count: int, missing: str = "exclude"
) -> list[dict[str, Any]]:
    """`count` clips of each kind with COLUMNS, and the score of each detector under its name; all by the clip's label.

    Each score counts by its rank in (0, 1) among the test clips, so that no detector speaks louder than another.
    Confident errors have the lowest mean margin, the rank in favour of the truth less 1/2; disagreement is the spread
    of the ranks. Both are over the detectors that answer for the clip's label, for others rightly call real a clip
    whose other stream is fake; over all where there are fewer than two of them. Wrong counts the verdicts of the same
    detectors at the thresholds of validation.
    """
    scores = np.array([one.scores(clips, missing=missing)[one.best] for one in detectors])
    asked = [i for i, one in enumerate(detectors) if one in deciding(detectors)]
    ranks = np.array([_ranks(scores[i]) for i in asked])
    fake = np.array([clip.label == 1 for clip in clips])
    known = ~np.isnan(ranks)
    some = np.flatnonzero(known.sum(0) > 1)
    margin = np.full(len(clips), math.inf)
    spread = np.full(len(clips), -math.inf)
    margin[some] = np.nanmean(np.where(fake, ranks, 1 - ranks)[:, some], axis=0) - 0.5
    spread[some] = np.nanstd(ranks[:, some], axis=0)
    thresholds = np.array([detectors[i].threshold(detectors[i].best, "label") for i in asked])
    wrong = ((scores[asked] >= thresholds[:, None]) != fake) & known & ~np.isnan(thresholds)[:, None]
    worst = sorted(some.tolist(), key=lambda i: (round(margin[i], 9), clips[i].clip_id))[:count]
    apart = sorted(some.tolist(), key=lambda i: (-round(spread[i], 9), clips[i].clip_id))[:count]
    return [
        {
            "Kind": kind,
            "Clip": clips[i].clip_id,
            "Truth": "fake" if fake[i] else "real",
            "Method": clips[i].method,
            "Identity": clips[i].identity,
            "Wrong": int(wrong[:, i].sum()),
            "Scored": int(known[:, i].sum()),
            "Mean margin": float(margin[i]),
            "Spread": float(spread[i]),
            **{one.name: float(own[i]) for one, own in zip(detectors, scores, strict=True)},
        }
        for kind, chosen in ((WRONG, worst), (APART, apart))
        for i in chosen
    ]


def _ranks(values: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    known = ~np.isnan(values)
    found = np.full(len(values), np.nan)
    found[known] = (rankdata(values[known]) - 0.5) / max(known.sum(), 1)
    return found
