"""DeLong's variance of the AUC, and the test of two detectors on the same clips (DeLong, DeLong & Clarke-Pearson 1988).

It takes the clips as independent. That is right for one clip per person. Where a person has several, its intervals are
too narrow: use `mmdf_jax.stats.bootstrap` there.
"""

import math
import statistics
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mmdf_jax.metrics.classification import checked


class AucVariance(NamedTuple):
    auc: float
    variance: float


class PairedTest(NamedTuple):
    """Two AUCs on the same clips: auc_a - auc_b, its standard error, z and the two-sided p-value."""

    auc_a: float
    auc_b: float
    difference: float
    standard_error: float
    z: float
    p: float


def _midranks(x: np.ndarray) -> np.ndarray:
    """Ranks from 1 in which ties share their mean rank. [n]"""
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def _components(fake: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The share of reals below each fake and of fakes above each real; ties count half. Their mean is the AUC.

    Midranks give them in O(n log n) (Sun & Xu 2014), without a loop over all pairs.
    """
    ranks = _midranks(scores)
    n1, n0 = int(fake.sum()), int((~fake).sum())
    return (
        (ranks[fake] - _midranks(scores[fake])) / n0,
        1 - (ranks[~fake] - _midranks(scores[~fake])) / n1,
    )


def auc_variance(labels: ArrayLike, scores: ArrayLike) -> AucVariance:
    """AUC and its variance; nan where there are fewer than two fakes or two reals."""
    fake, scores = checked(labels, scores)
    n1, n0 = int(fake.sum()), int((~fake).sum())
    if min(n1, n0) < 2:
        return AucVariance(float("nan"), float("nan"))
    of_fakes, of_reals = _components(fake, scores)
    return AucVariance(float(of_fakes.mean()), float(of_fakes.var(ddof=1) / n1 + of_reals.var(ddof=1) / n0))


def paired_test(labels: ArrayLike, scores_a: ArrayLike, scores_b: ArrayLike) -> PairedTest:
    """Do two detectors, scored on the same clips in the same order, differ in AUC?

    Two detectors that rank every fake against every real alike have difference 0, standard error 0, z 0 and p 1.
    All nan where there are fewer than two fakes or two reals.
    """
    fake, scores_a = checked(labels, scores_a)
    _, scores_b = checked(labels, scores_b)
    n1, n0 = int(fake.sum()), int((~fake).sum())
    if min(n1, n0) < 2:
        return PairedTest(*[float("nan")] * 6)
    fakes_a, reals_a = _components(fake, scores_a)
    fakes_b, reals_b = _components(fake, scores_b)
    error = math.sqrt((fakes_a - fakes_b).var(ddof=1) / n1 + (reals_a - reals_b).var(ddof=1) / n0)
    difference = float(fakes_a.mean() - fakes_b.mean())
    if error > 0:
        z = difference / error
    else:
        z = 0.0 if difference == 0 else math.copysign(math.inf, difference)
    p = 2 * statistics.NormalDist().cdf(-abs(z))
    return PairedTest(float(fakes_a.mean()), float(fakes_b.mean()), difference, error, z, p)
