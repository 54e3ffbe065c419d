"""Corrections of p-values for the number of comparisons that were made."""

import numpy as np
from numpy.typing import ArrayLike


def holm(p: ArrayLike) -> np.ndarray:
    """Adjusted p-values [n] that bound the chance of any false rejection at all (Holm 1979).

    The smallest of n is multiplied by n, the next by n - 1, …; none becomes smaller than the one before, or above 1.
    nan stands for a comparison that could not be made: it stays nan and does not count.

    Raises:
      ValueError: a value lies outside [0, 1].
    """
    p = np.asarray(p, np.float64)
    known = ~np.isnan(p)
    if ((p[known] < 0) | (p[known] > 1)).any():
        raise ValueError(f"p-values must lie in [0, 1], found {p[known].min():g} to {p[known].max():g}")
    order = np.argsort(p[known], kind="stable")
    scaled = np.maximum.accumulate(p[known][order] * np.arange(len(order), 0, -1))
    adjusted = np.full(p.shape, np.nan)
    adjusted[np.flatnonzero(known)[order]] = np.minimum(scaled, 1)
    return adjusted
