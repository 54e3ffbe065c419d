"""How far scores read as P(fake) are from the truth: calibration error, Brier score and its parts, log-loss.

Labels are 1 (fake) or 0 (real), scores probabilities in [0, 1]; all functions raise ValueError where they are not.
Bins hold [low, high), the last one its upper end too (Guo et al. 2017 and scikit-learn close the other end).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mmdf_jax.metrics.classification import checked


def checked_probabilities(labels: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """labels and scores as a bool [n] and a float64 [n] array, or ValueError saying what is wrong with them."""
    fake, scores = checked(labels, scores)
    if len(scores) and (scores.min() < 0 or scores.max() > 1):
        raise ValueError(f"scores must be probabilities in [0, 1], found {scores.min():g} to {scores.max():g}")
    return fake, scores


class Bins(NamedTuple):
    """Clips by their score: how many each bin holds, their mean score, and their share of fakes (nan if empty)."""

    counts: np.ndarray
    scores: np.ndarray
    fakes: np.ndarray


def reliability(labels: ArrayLike, scores: ArrayLike, bins: int = 15) -> Bins:
    """The reliability diagram over `bins` equal-width bins, each field [bins]."""
    return _binned(*_equal_width(labels, scores, bins), bins)


def _equal_width(labels: ArrayLike, scores: ArrayLike, bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores, and the bin of each clip [n]."""
    fake, scores = checked_probabilities(labels, scores)
    return fake, scores, np.minimum((scores * bins).astype(int), bins - 1)


def _binned(fake: np.ndarray, scores: np.ndarray, bin_of: np.ndarray, bins: int) -> Bins:
    counts = np.bincount(bin_of, minlength=bins)
    with np.errstate(invalid="ignore"):
        return Bins(counts, np.bincount(bin_of, scores, bins) / counts, np.bincount(bin_of, fake, bins) / counts)


def _error(bins: Bins) -> float:
    if not bins.counts.sum():
        return float("nan")
    return float(np.nansum(bins.counts * np.abs(bins.fakes - bins.scores)) / bins.counts.sum())


def ece(labels: ArrayLike, scores: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error over `bins` equal-width bins (Guo et al. 2017), in [0, 1]; nan without clips."""
    return _error(reliability(labels, scores, bins))


def ece_equal_mass(labels: ArrayLike, scores: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error over bins of (nearly) equal numbers of clips (Nixon et al. 2019).

    Scores of detectors crowd at 0 and 1, where equal widths leave most bins empty. The edges are the quantiles of the
    scores (interpolated linearly), so that tied scores share one bin.
    """
    fake, scores = checked_probabilities(labels, scores)
    edges = np.quantile(scores, np.arange(1, bins) / bins) if len(scores) else scores
    return _error(_binned(fake, scores, np.searchsorted(edges, scores, side="right"), bins))


def mce(labels: ArrayLike, scores: ArrayLike, bins: int = 15) -> float:
    """Maximum calibration error: the largest gap of a bin that holds clips, over equal-width bins, in [0, 1]."""
    counts, mean, fakes = reliability(labels, scores, bins)
    return float(np.abs(mean - fakes)[counts > 0].max()) if counts.sum() else float("nan")


def brier(labels: ArrayLike, scores: ArrayLike) -> float:
    """The mean squared difference between score and label, in [0, 1]; nan without clips."""
    fake, scores = checked_probabilities(labels, scores)
    return float(np.mean((scores - fake) ** 2)) if len(scores) else float("nan")


def log_loss(labels: ArrayLike, scores: ArrayLike) -> float:
    """The mean of -log of the probability given to the truth, in nats; inf if one was 0, nan without clips."""
    fake, scores = checked_probabilities(labels, scores)
    if not len(scores):
        return float("nan")
    with np.errstate(divide="ignore"):
        return float(-np.mean(np.log(np.where(fake, scores, 1 - scores))))


class BrierParts(NamedTuple):
    """brier = reliability - resolution + uncertainty + within_variance - within_covariance.

    reliability: how far bins are from their share of fakes (0 is best). resolution: how far these shares are from the
    share of fakes in all (high is best). uncertainty: of the labels alone. The last two are what a bin hides: the
    variance of its scores, and twice the covariance of its scores and labels.
    """

    reliability: float
    resolution: float
    uncertainty: float
    within_variance: float
    within_covariance: float


def brier_parts(labels: ArrayLike, scores: ArrayLike, bins: int | None = 15) -> BrierParts:
    """The Brier score decomposed (Murphy 1973) over `bins` equal-width bins; the terms within bins follow Stephenson,
    Coelho & Jolliffe (2008).

    bins: None takes one bin for each distinct score, which leaves nothing within bins. All nan without clips.
    """
    if bins is None:
        fake, scores = checked_probabilities(labels, scores)
        distinct, bin_of = np.unique(scores, return_inverse=True)
        bins = len(distinct)
    else:
        fake, scores, bin_of = _equal_width(labels, scores, bins)
    if not len(scores):
        return BrierParts(*[float("nan")] * 5)
    _, mean, share = (values[bin_of] for values in _binned(fake, scores, bin_of, bins))
    base = fake.mean()
    return BrierParts(
        reliability=float(np.mean((mean - share) ** 2)),
        resolution=float(np.mean((share - base) ** 2)),
        uncertainty=float(base * (1 - base)),
        within_variance=float(np.mean((scores - mean) ** 2)),
        within_covariance=float(2 * np.mean((scores - mean) * (fake - share))),
    )
