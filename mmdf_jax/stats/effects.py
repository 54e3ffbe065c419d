"""Effect sizes: how large a difference or an agreement is, which no p-value says."""

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from mmdf_jax.metrics.classification import auc
from mmdf_jax.stats.paired_tests import differences, rank_sums


def cohen_kappa(a: ArrayLike, b: ArrayLike) -> float:
    """How far two lists of verdicts [n] agree beyond chance (Cohen 1960), from -1 to 1; 0 is what chance gives.

    Verdicts are whatever compares equal: classes, or right and wrong. nan where both always say the same one class,
    since chance would then agree always too, and without clips. ValueError where the lengths differ.
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"verdicts must be two lists of one length, found shapes {a.shape} and {b.shape}")
    classes = np.unique(np.concatenate([a, b]))
    if len(classes) < 2:
        return float("nan")
    by_chance = sum(float((a == one).mean() * (b == one).mean()) for one in classes)
    return float(((a == b).mean() - by_chance) / (1 - by_chance))


def cliffs_delta(a: ArrayLike, b: ArrayLike) -> float:
    """P(a > b) - P(a < b) of a value of a [n] and one of b [m], drawn at random (Cliff 1993), from -1 to 1.

    It is 2 AUC - 1. nan where a list is empty.
    """
    return 2 * auc(np.repeat([1, 0], [len(a), len(b)]), np.concatenate([a, b])) - 1


def cohen_d_paired(a: ArrayLike, b: ArrayLike) -> float:
    """The mean of a - b [n] in units of its own standard deviation (Cohen 1988, d_z).

    0 where all differences are 0, infinite where all are one other number, nan with fewer than two.
    """
    gaps = differences(a, b)
    if len(gaps) < 2:
        return float("nan")
    if np.ptp(gaps) == 0:
        return math.copysign(math.inf, gaps[0]) if gaps[0] else 0.0
    return float(gaps.mean() / gaps.std(ddof=1))


def rank_biserial(a: ArrayLike, b: ArrayLike, zeros: Literal["wilcox", "pratt"] = "wilcox") -> float:
    """The effect that belongs to `paired_tests.wilcoxon`: the share of rank sum for a less that for b (Kerby 2014).

    From -1 (b is higher in all pairs) to 1 (a is); 0 where no pair differs.
    """
    for_a, for_b = rank_sums(a, b, zeros)
    return (for_a - for_b) / (for_a + for_b) if for_a + for_b else 0.0
