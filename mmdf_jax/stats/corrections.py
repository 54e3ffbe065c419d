"""Corrections of p-values for the number of comparisons that were made.

nan stands for a comparison that could not be made: it stays nan and does not count. Both raise ValueError where a value
lies outside [0, 1].
"""

import numpy as np
from numpy.typing import ArrayLike


def holm(p: ArrayLike) -> np.ndarray:
    """Adjusted p-values [n] that bound the chance of any false rejection at all (Holm 1979).

    The smallest of n is multiplied by n, the next by n - 1, …; none becomes smaller than the one before, or above 1.
    """
    p, rising = _known(p)
    n = len(rising)
    p[rising] = np.minimum(np.maximum.accumulate(p[rising] * np.arange(n, 0, -1)), 1)
    return p


def benjamini_hochberg(p: ArrayLike) -> np.ndarray:
    """Adjusted p-values [n] that bound the share of false ones among the rejections (Benjamini & Hochberg 1995).

    The k-th smallest of n is multiplied by n / k; none becomes larger than the one after, or above 1. The bound is for
    comparisons that are independent or positively dependent.
    """
    p, rising = _known(p)
    n = len(rising)
    p[rising] = np.minimum(np.minimum.accumulate((p[rising] * n / np.arange(1, n + 1))[::-1])[::-1], 1)
    return p


def _known(p: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """A copy of p [n], and the positions of those that are not nan, from the smallest p up."""
    p = np.array(p, np.float64)
    known = np.flatnonzero(~np.isnan(p))
    values = p[known]
    if ((values < 0) | (values > 1)).any():
        raise ValueError(f"p-values must lie in [0, 1], found {values.min():g} to {values.max():g}")
    return p, known[np.argsort(values, kind="stable")]
