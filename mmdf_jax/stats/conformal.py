"""Abstention at a stated error rate: split-conformal thresholds, one for each class."""

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from mmdf_jax.metrics.classification import checked
from mmdf_jax.stats.groups import weights

ROUNDING = 1e-9


def thresholds(
    labels: ArrayLike, scores: ArrayLike, error: float, groups: Sequence[Hashable] | None = None
) -> tuple[float, float]:
    """(low, high): a clip is called real where score <= low, fake where score >= high; between them, abstain.

    A new real is called fake with probability `error` at most, and a new fake is called real with probability `error`
    at most. A clip is called fake above the ceil((n0 + 1)(1 - error))-th lowest score of the n0 reals, and real below
    the ceil((n1 + 1)(1 - error))-th highest score of the n1 fakes. A score between the two fits both classes. If no
    score fits both, low and high meet half-way between the two: every clip gets a verdict, and the rates still hold.

    This is class-conditional split conformal prediction (Vovk 2012; Sadinle, Lei & Wasserman 2019). The promise is an
    average over calibration sets. It holds for any distribution, if new clips have the same one as these. It needs
    1 / error - 1 clips of a class or more. With fewer reals high is inf (nothing is called fake); with fewer fakes low
    is -inf (nothing is called real).

    Args:
      labels: [n], 1 fake, 0 real. scores: [n], high = fake, of clips that trained and calibrated nothing.
      error: the rate of each class, between 0 and 1.
      groups: [n] identities. Without them clips are taken as independent. With them the promise is for a clip of a
        new person. Each person then counts as one (Lee, Barber & Willett 2023, distribution-free inference with
        hierarchical data), and 1 / error - 1 people are needed.

    Raises:
      ValueError: an error rate outside (0, 1), or as `checked` says of labels and scores.
    """
    if not 0 < error < 1:
        raise ValueError(f"the error rate must lie between 0 and 1, found {error}")
    fake, scores = checked(labels, scores)
    groups = range(len(fake)) if groups is None else groups
    if len(groups) != len(fake):
        raise ValueError(f"groups must name one identity per score, found {len(groups)} for {len(fake)} scores")
    of_class = [[group for group, is_fake in zip(groups, fake, strict=True) if is_fake == one] for one in (0, 1)]
    real_up_to = _quantile(scores[~fake], weights(of_class[0]), 1 - error)
    fake_from = -_quantile(-scores[fake], weights(of_class[1]), 1 - error)
    if real_up_to < fake_from:  # no score fits both classes, and a score in the gap belongs to the nearer one
        middle = real_up_to + (fake_from - real_up_to) / 2
        high = middle if middle > real_up_to else fake_from
        return math.nextafter(high, -math.inf), high
    return math.nextafter(fake_from, -math.inf), math.nextafter(real_up_to, math.inf)


def _quantile(scores: np.ndarray, weights: np.ndarray, level: float) -> float:
    """The lowest score up to which `level` of the weight lies; inf where all of it is less."""
    order = np.argsort(scores, kind="stable")
    enough = np.cumsum(weights[order]) >= level - ROUNDING
    return float(scores[order[np.argmax(enough)]]) if enough.any() else math.inf
