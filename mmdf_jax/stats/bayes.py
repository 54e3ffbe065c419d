"""Bayesian comparison of two models with a region of practical equivalence (Benavoli, Corani, Demšar & Zaffalon 2017).

A test can only fail to find a difference. These say how probable it is that there is none worth having.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr

from mmdf_jax.stats.paired_tests import corrected_error, differences


class Posterior(NamedTuple):
    """P(the difference a - b lies below the region of practical equivalence, in it, above it); their sum is 1."""

    left: float
    rope: float
    right: float


def correlated_t(differences: ArrayLike, test_share: float, rope: float) -> Posterior:
    """Two models over the folds of one dataset: the posterior of their mean difference is Student's t.

    It is the Bayesian twin of `paired_tests.nadeau_bengio` (Corani & Benavoli 2015): the same mean, standard error and
    degrees of freedom under the prior that leaves them so.

    Args:
      differences: [J] a - b on each fold (of each repetition).
      test_share: the share of clips that a fold tests, between 0 and 1.
      rope: differences from -rope to rope, in the score's unit, are practically none; 0 or more.
    """
    return student(*corrected_error(differences, test_share), np.size(differences) - 1, rope)


def student(difference: float, error: float, freedom: float, rope: float) -> Posterior:
    """The posterior of a difference whose interval is Student's t, under the flat prior that makes them the same.

    `mmdf_jax.stats.bootstrap.paired_difference` gives such differences.

    Args:
      difference: a - b.
      error, freedom: its standard error and the degrees of freedom. Where it or its error is nan, all of the result is.
      rope: as in `correlated_t`.
    """
    _checked(rope)
    if math.isnan(difference) or math.isnan(error):
        return Posterior(math.nan, math.nan, math.nan)
    if error == 0:
        left, right = float(difference < -rope), float(difference > rope)
    else:
        left, right = (float(stdtr(freedom, (side - rope) / error)) for side in (-difference, difference))
    return Posterior(left, 1 - left - right, right)


def signed_rank(a: ArrayLike, b: ArrayLike, rope: float, *, samples: int = 50_000, seed: int = 0) -> Posterior:
    """Two models over datasets: which is better on a dataset to come (Bayesian signed-rank test)?

    The datasets' weights follow a Dirichlet process whose prior, worth half a dataset, holds no difference. Each draw
    gives the shares of pairs of datasets whose mean difference lies below, in and above the region; the result is how
    often each share is the largest.

    Args:
      a, b: [n] the models' scores on the same datasets, which are independent of each other.
      rope: as in `correlated_t`.
      samples: how many draws. 50,000 fix each probability to 0.005.
      seed: of the draws; the same seed gives the same result.
    """
    _checked(rope)
    gaps = np.append(0.0, differences(a, b))
    if len(gaps) < 2:
        raise ValueError("a signed-rank comparison needs a dataset or more, found none")
    means = (gaps[:, None] + gaps) / 2
    weights = np.random.default_rng(seed).dirichlet(np.append(0.5, np.ones(len(gaps) - 1)), samples)
    left, right = (((weights @ side) * weights).sum(1) for side in (means < -rope, means > rope))
    largest = np.argmax([left, 1 - left - right, right], axis=0)
    return Posterior(*(np.bincount(largest, minlength=3) / samples).tolist())


def _checked(rope: float) -> None:
    if not 0 <= rope < np.inf:
        raise ValueError(f"rope must be 0 or more, found {rope}")
