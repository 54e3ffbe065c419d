"""Likelihood ratios of a verdict, P(scores | fake) / P(scores | real): their words, their quality and their limits.

A ratio says how far the evidence moves what the reader believed before (the prior odds). The posterior probability is
the reader's. Ratios are natural logarithms here (llr): 0 moves nothing, and a positive one favours fake.
"""

import math
from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from mmdf_jax.metrics.calibrators import isotonic_regression, logit, sigmoid
from mmdf_jax.metrics.classification import checked
from mmdf_jax.stats.groups import weights

# The verbal scale (ENFSI guideline 2015): from `low` up to, and without, `high`; reciprocals support real.
BANDS = (
    (1.0, 10.0, "limited"),
    (10.0, 100.0, "moderate"),
    (100.0, 1_000.0, "moderately strong"),
    (1_000.0, 10_000.0, "strong"),
    (10_000.0, 1_000_000.0, "very strong"),
    (1_000_000.0, math.inf, "extremely strong"),
)


def band(lr: float) -> tuple[str, Literal["fake", "real", "neither"]]:
    """The words of the scale for a likelihood ratio (no logarithm), and what it supports; "no" at exactly 1.

    Raises:
      ValueError: the ratio is negative or nan.
    """
    if not lr >= 0:
        raise ValueError(f"a likelihood ratio must be 0 or more, found {lr}")
    if lr == 1:
        return "no", "neither"
    strength = lr if lr > 1 else (1 / lr if lr else math.inf)
    words = next(words for low, _, words in reversed(BANDS) if strength >= low)
    return words, "fake" if lr > 1 else "real"


def log_lr(probability: ArrayLike, prior: float) -> np.ndarray:
    """logit(probability) - logit(prior), of any shape: the evidence in calibrated probabilities without their prior.

    prior: the share of fakes among the clips that the calibration was fitted to, between 0 and 1 (ValueError).
    """
    return logit(np.asarray(probability, np.float64)) - _log_odds(prior)


def probability(llr: ArrayLike, prior: float) -> np.ndarray:
    """P(fake) of any shape for a reader who, before the evidence, held `prior`, between 0 and 1 (ValueError)."""
    return sigmoid(np.asarray(llr, np.float64) + _log_odds(prior))


def _log_odds(prior: float) -> float:
    if not 0 < prior < 1:
        raise ValueError(f"a prior must lie between 0 and 1, found {prior}")
    return math.log(prior) - math.log1p(-prior)


def cllr(labels: ArrayLike, llr: ArrayLike) -> float:
    """The cost of log-likelihood ratios in bits (Brümmer & du Preez 2006): 0 is perfect, and saying nothing costs 1.

    labels [n]: 1 fake, 0 real. llr [n]: finite. nan where one class is missing.
    """
    return _cllr(*checked(labels, llr))


def _cllr(fake: np.ndarray, llr: np.ndarray) -> float:
    if fake.all() or not fake.any():
        return float("nan")
    of_fakes, of_reals = np.logaddexp(0.0, -llr[fake]).mean(), np.logaddexp(0.0, llr[~fake]).mean()
    return float((of_fakes + of_reals) / 2 / math.log(2))


def cllr_min(labels: ArrayLike, llr: ArrayLike) -> float:
    """What remains of `cllr` after the best non-decreasing map of the ratios (isotonic regression), in bits.

    It measures how well the ratios separate the classes; `cllr_cal` measures the rest.
    """
    fake, llr = checked(labels, llr)
    if fake.all() or not fake.any():
        return float("nan")
    distinct, share = isotonic_regression(llr, fake)
    with np.errstate(divide="ignore"):  # shares of 0 and 1 are infinite ratios, and right
        best = np.log(share) - np.log1p(-share) - _log_odds(fake.mean())
    return _cllr(fake, best[np.searchsorted(distinct, llr)])


def cllr_cal(labels: ArrayLike, llr: ArrayLike) -> float:
    """What `cllr` loses by calibration alone, in bits: cllr - cllr_min."""
    return cllr(labels, llr) - cllr_min(labels, llr)


def decision_cost(
    labels: ArrayLike, llr: ArrayLike, prior: float, miss: float = 1.0, false_alarm: float = 1.0
) -> float:
    """The cost of deciding by the ratios, over that of the better blind decision (actual DCF; 0 is best).

    A clip is called fake where llr >= -log(odds), odds = miss prior / (false_alarm (1 - prior)): Bayes' decision.
    prior: P(fake), between 0 and 1. miss, false_alarm: what each mistake costs, above 0. nan without one class.
    """
    fake, llr = checked(labels, llr)
    odds = _odds(prior, miss, false_alarm)
    return float(_costs(fake, llr, np.array([-math.log(odds)]), odds)[0])


def least_decision_cost(
    labels: ArrayLike, llr: ArrayLike, prior: float, miss: float = 1.0, false_alarm: float = 1.0
) -> float:
    """`decision_cost` at the threshold that is best on these very clips (minimum DCF). It judges the order alone."""
    fake, llr = checked(labels, llr)
    return float(_costs(fake, llr, np.append(np.unique(llr), np.inf), _odds(prior, miss, false_alarm)).min())


def _odds(prior: float, miss: float, false_alarm: float) -> float:
    if not (miss > 0 and false_alarm > 0):
        raise ValueError(f"costs must be above 0, found miss={miss} and false_alarm={false_alarm}")
    return math.exp(_log_odds(prior)) * miss / false_alarm


def _costs(fake: np.ndarray, llr: np.ndarray, thresholds: np.ndarray, odds: float) -> np.ndarray:
    """The normalised cost at each threshold, at or above which a clip is called fake."""
    if fake.all() or not fake.any():
        return np.full(len(thresholds), np.nan)
    fakes, reals = np.sort(llr[fake]), np.sort(llr[~fake])
    missed = np.searchsorted(fakes, thresholds) / len(fakes)
    alarms = 1 - np.searchsorted(reals, thresholds) / len(reals)
    return (odds * missed + alarms) / min(odds, 1.0)


def bounds(labels: ArrayLike, llr: ArrayLike, groups: Sequence[Hashable] | None = None) -> tuple[float, float]:
    """The lowest and the highest llr that these clips support: ELUB (Vergeer et al. 2016), natural logarithms.

    A ratio beyond them rests on extrapolation. One real with an infinite ratio and one fake with a ratio of 0 are
    added to the clips. A bound is the ratio t at which Bayes' decisions begin to cost more than deciding blindly:
    missed + t alarms > min(t, 1). If n0 reals and n1 fakes are perfectly separated, they support ratios from
    (n0 + 1) / (n0 (n1 + 1)) to n1 (n0 + 1) / (n1 + 1), about the number of clips.

    labels [n]: 1 fake, 0 real. llr [n]: finite, of clips that the calibration did not see (cross-fitted).
    groups [n]: identities. With them each identity counts as one clip, and each added clip as one identity, because
      clips of one person are no independent evidence.

    Returns:
      (low, high) with low <= 0 <= high; (0, 0) if no ratio is better than none. nan where one class is missing.
    """
    fake, llr = checked(labels, llr)
    if fake.all() or not fake.any():
        return float("nan"), float("nan")
    edges, where = np.unique(llr, return_inverse=True)
    groups = range(len(fake)) if groups is None else groups
    if len(groups) != len(fake):
        raise ValueError(f"groups must name one identity per ratio, found {len(groups)} for {len(fake)} ratios")
    rates = []
    for one in (fake, ~fake):
        of_clips = weights([group for group, is_one in zip(groups, one, strict=True) if is_one])
        rates.append(np.append(0.0, np.cumsum(np.bincount(where[one], of_clips, len(edges)))))
    # For thresholds from one edge (-inf first) to the next (inf last), where a clip on the edge is not called fake.
    missed, alarms = rates[0] + 1 - rates[0][-1], 1 - rates[1]
    starts, ends = np.append(-np.inf, edges), np.append(edges, np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Below 1 a threshold costs too much up to `until`; above 1 from `since` on.
        until = np.where(alarms < 1, np.log(missed) - np.log1p(-alarms), np.inf)
        since = np.where(missed < 1, np.log1p(-missed) - np.log(alarms), -np.inf)
    until, since = np.minimum(np.minimum(until, ends), 0.0), np.maximum(np.maximum(since, starts), 0.0)
    return float(until[until > starts].max(initial=-np.inf)), float(since[since < ends].min(initial=np.inf))
