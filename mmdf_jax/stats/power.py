"""What a test set could have shown: the smallest difference that a comparison of its size would detect."""

import math

from scipy.special import nctdtrinc, ndtri, stdtrit


def smallest_difference(
    standard_error: float, alpha: float = 0.05, power: float = 0.8, groups: int | None = None
) -> float:
    """The true difference that a two-sided test at `alpha` finds with probability `power`, in the error's unit.

    A difference found to be "not significant" says little where this is larger than what would matter. It takes the
    standard error as known from the comparison at hand: it describes the design, and is no second look at its p-value.

    Args:
      standard_error: of the difference between two models on the same clips, 0 or more.
      alpha, power: between 0 and 1, power above alpha.
      groups: with how many identities the error was measured: Student's t with groups - 1 degrees of freedom, as
        `mmdf_jax.stats.bootstrap.paired_difference` has it. None takes the error as exact (normal).
    """
    if not 0 <= standard_error < math.inf:
        raise ValueError(f"the standard error must be 0 or more, found {standard_error}")
    if not 0 < alpha < power < 1:
        raise ValueError(f"expected 0 < alpha < power < 1, found alpha={alpha} and power={power}")
    if groups is None:
        return float(ndtri(1 - alpha / 2) + ndtri(power)) * standard_error
    if groups < 2:
        raise ValueError(f"a standard error needs two groups or more, found {groups}")
    # The noncentral t that exceeds the critical value with probability `power`.
    return float(nctdtrinc(groups - 1, 1 - power, -stdtrit(groups - 1, alpha / 2))) * standard_error
