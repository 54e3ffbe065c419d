"""Tests of models on the same clips, folds or datasets: is a difference more than chance would give?

No test here knows of identities. `mcnemar` and `cochran_q` take clips as independent: with several clips of one person
their p-values are too small, and `mmdf_jax.stats.bootstrap.paired_difference` is the test to use. `wilcoxon`,
`friedman` and `nemenyi` are for scores on independent datasets, the other two for scores on the folds of one dataset.
Models that agree everywhere give no evidence: their statistic is 0 and p is 1.
"""

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special
from scipy.stats import rankdata, studentized_range

DIGITS = 12  # to which differences are compared: 0.3 - 0.2 and 0.2 - 0.1 are one difference
EXACT_UP_TO = 50  # differences of which `wilcoxon` counts all signs


class Outcome(NamedTuple):
    """A test's statistic and its p-value: two-sided where the statistic has a direction."""

    statistic: float
    p: float


def mcnemar(a_right: ArrayLike, b_right: ArrayLike, kind: Literal["exact", "midp", "corrected"] = "exact") -> Outcome:
    """Do two models differ in how many clips they get right (McNemar 1947)? Only clips that one gets right count.

    Args:
      a_right, b_right: [n] bool or 0 and 1, whether the verdict on each clip is right.
      kind: "exact" is the binomial test. "midp" halves the probability of results as extreme as the one found, and is
        close to its nominal level where "exact" is far below (Fagerland, Lydersen & Laake 2013); the statistic of both
        is the smaller number of clips that one model alone gets right. "corrected" is chi-squared with the continuity
        correction of Edwards (1948), which never makes a difference smaller than none.

    Raises:
      ValueError: the lists differ in length, hold something else, or the kind is unknown.
    """
    right = _rights(np.stack(_paired(a_right, b_right), axis=1), "a_right and b_right")
    only_a, only_b = int((right[:, 0] > right[:, 1]).sum()), int((right[:, 0] < right[:, 1]).sum())
    apart, fewer = only_a + only_b, min(only_a, only_b)
    if kind not in ("exact", "midp", "corrected"):
        raise ValueError(f"kind must be 'exact', 'midp' or 'corrected', found {kind!r}")
    if not apart:
        return Outcome(0.0, 1.0)
    if kind == "corrected":
        chi2 = max(abs(only_a - only_b) - 1, 0) ** 2 / apart
        return Outcome(chi2, float(special.chdtrc(1, chi2)))
    p = min(2 * float(special.bdtr(fewer, apart, 0.5)), 1.0)
    if kind == "midp":
        as_extreme = math.comb(apart, fewer) / 2**apart * (1 if only_a == only_b else 2)
        p -= as_extreme / 2
    return Outcome(float(fewer), p)


def cochran_q(right: ArrayLike) -> Outcome:
    """Do m models differ in how many clips they get right (Cochran 1950)? Chi-squared with m - 1 degrees of freedom.

    right: [n m] bool or 0 and 1. With two models it is McNemar's test without any correction.
    """
    right = _rights(_table(right, "right", "clips"), "right")
    models, total = right.shape[1], right.sum()
    between = models * (right.sum(0) ** 2).sum() - total**2
    within = models * total - (right.sum(1) ** 2).sum()
    q = (models - 1) * _over(between, within)
    return Outcome(q, float(special.chdtrc(models - 1, q)))


def differences(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """a - b [n], rounded to 12 digits of the largest score: what is equal but for rounding becomes equal."""
    a, b = _paired(a, b)
    scale = 10.0 ** np.ceil(np.log10(max(np.abs([a, b]).max(initial=0.0), 1e-300)))
    return np.round((a - b) / scale, DIGITS) * scale


def rank_sums(a: ArrayLike, b: ArrayLike, zeros: Literal["wilcox", "pratt"] = "wilcox") -> tuple[float, float]:
    """The sums of the ranks of |a - b| over the pairs where a is higher, and where b is (see `wilcoxon`)."""
    ranks = _signed_ranks(a, b, zeros)
    return float(ranks[ranks > 0].sum()), float(abs(ranks[ranks < 0].sum()))


def wilcoxon(
    a: ArrayLike,
    b: ArrayLike,
    zeros: Literal["wilcox", "pratt"] = "wilcox",
    method: Literal["auto", "exact", "normal"] = "auto",
) -> Outcome:
    """Is one of two models better over datasets (Wilcoxon 1945, signed ranks)? The statistic is the smaller rank sum.

    Args:
      a, b: [n] the models' scores on the same datasets. Tied differences share their mean rank.
      zeros: what becomes of pairs without a difference. "wilcox" drops them before ranking; "pratt" ranks them first,
        and drops their ranks then (Pratt 1959).
      method: "exact" counts all signs that the ranks at hand could have, ties and zeros included. "normal" is its
        approximation with the variance of these ranks and no continuity correction. "auto" is exact up to 50
        differences that are not 0.

    Raises:
      ValueError: the lists differ in length or are not finite, or an option is unknown.
    """
    if method not in ("auto", "exact", "normal"):
        raise ValueError(f"method must be 'auto', 'exact' or 'normal', found {method!r}")
    ranks = np.abs(_signed_ranks(a, b, zeros))
    statistic = min(rank_sums(a, b, zeros))
    if not len(ranks):
        return Outcome(0.0, 1.0)
    if method == "exact" or (method == "auto" and len(ranks) <= EXACT_UP_TO):
        below = _chance_of_at_most(statistic, ranks)
    else:
        below = float(special.ndtr((statistic - ranks.sum() / 2) / (math.sqrt((ranks**2).sum()) / 2)))
    return Outcome(statistic, min(2 * below, 1.0))


def _signed_ranks(a: ArrayLike, b: ArrayLike, zeros: str) -> np.ndarray:
    """The rank of each |a - b| that is not 0, with the sign of a - b."""
    if zeros not in ("wilcox", "pratt"):
        raise ValueError(f"zeros must be 'wilcox' or 'pratt', found {zeros!r}")
    gaps = differences(a, b)
    if zeros == "wilcox":
        gaps = gaps[gaps != 0]
    return (np.sign(gaps) * rankdata(np.abs(gaps)))[gaps != 0]


def _chance_of_at_most(total: float, ranks: np.ndarray) -> float:
    """The chance that ranks, each taken or left by the flip of a coin, sum to `total` at most."""
    halves = np.rint(2 * ranks).astype(int)  # mean ranks of ties are whole numbers of halves
    chance = np.zeros(halves.sum() + 1)
    chance[0] = 1.0
    for rank in halves:
        chance[rank:] = (chance[rank:] + chance[: len(chance) - rank]) / 2
        chance[:rank] /= 2
    return float(chance[: round(2 * total) + 1].sum())


class Friedman(NamedTuple):
    """chi2 with its p, Iman and Davenport's F with its p, and the mean rank of each model [m], 1 being the best."""

    chi2: float
    p: float
    f: float
    f_p: float
    ranks: np.ndarray


def friedman(table: ArrayLike) -> Friedman:
    """Do m models differ over n datasets (Friedman 1937)? By their ranks on each dataset, corrected for ties.

    Chi-squared is conservative. Iman & Davenport's (1980) F, with m - 1 and (m - 1)(n - 1) degrees of freedom, is the
    one to report (Demšar 2006).

    table: [n m] scores, high = good, of at least two datasets and two models.
    """
    ranks = rankdata(-_table(table, "table", "datasets"), axis=1)
    n, m = ranks.shape
    means = ranks.mean(0)
    between, within = n * ((means - (m + 1) / 2) ** 2).sum(), ((ranks - means) ** 2).sum()
    chi2 = n * (m - 1) * _over(between, between + within)
    f = (n - 1) * _over(between, within)
    f_p = float(special.fdtrc(m - 1, (m - 1) * (n - 1), f))
    return Friedman(chi2, float(special.chdtrc(m - 1, chi2)), f, f_p, means)


def nemenyi(table: ArrayLike) -> np.ndarray:
    """p-values [m m] of all pairs of models after `friedman` (Nemenyi 1963), corrected for the number of pairs.

    A pair's p depends on the other models in the table (Benavoli, Corani & Mangili 2016): prefer `wilcoxon` of each
    pair with `mmdf_jax.stats.corrections.holm`, and use this for the diagram that readers know.
    """
    table = _table(table, "table", "datasets")
    n, m = table.shape
    means = friedman(table).ranks
    first, second = np.triu_indices(m, 1)
    p = np.ones((m, m))
    p[first, second] = studentized_range.sf(np.abs(means[first] - means[second]) / _rank_unit(m, n), m, np.inf)
    p[second, first] = p[first, second]
    return p


def critical_difference(models: int, datasets: int, alpha: float = 0.05) -> float:
    """By how much two mean ranks must differ for `nemenyi` to give p = alpha: the bar of the diagram (Demšar 2006)."""
    if not (models > 1 and datasets > 1 and 0 < alpha < 1):
        raise ValueError(
            "a critical difference needs 2 models, 2 datasets and an alpha between 0 and 1, "
            f"found {models}, {datasets} and {alpha}"
        )
    return float(studentized_range.ppf(1 - alpha, models, np.inf)) * _rank_unit(models, datasets)


def _rank_unit(models: int, datasets: int) -> float:
    """The standard deviation of one model's mean rank where all are alike: what the studentized range divides by."""
    return math.sqrt(models * (models + 1) / (12 * datasets))


def nadeau_bengio(differences: ArrayLike, test_share: float) -> Outcome:
    """Do two models differ over resampled folds? Student's t with a variance for folds that share training clips.

    The variance of the mean is (1 / J + test / train) times that of the J differences (Nadeau & Bengio 2003); t has
    J - 1 degrees of freedom. The uncorrected test finds a difference far too often.

    Args:
      differences: [J] of the score of one model and the other, on each fold (of each repetition).
      test_share: the share of clips that a fold tests, between 0 and 1: 0.1 in tenfold cross-validation.
    """
    mean, error = corrected_error(differences, test_share)
    t = _over(mean, error)
    return Outcome(t, 2 * float(special.stdtr(np.size(differences) - 1, -abs(t))))


def corrected_error(differences: ArrayLike, test_share: float) -> tuple[float, float]:
    """The mean of differences [J] over folds, and its standard error after Nadeau & Bengio (see `nadeau_bengio`)."""
    gaps = np.asarray(differences, np.float64)
    if gaps.ndim != 1 or len(gaps) < 2 or not np.isfinite(gaps).all():
        raise ValueError(f"differences must be finite numbers of two folds or more, found {gaps.tolist()}")
    if not 0 < test_share < 1:
        raise ValueError(f"test_share must lie between 0 and 1, found {test_share}")
    if np.ptp(gaps) == 0:
        return float(gaps[0]), 0.0
    return float(gaps.mean()), float(gaps.std(ddof=1) * math.sqrt(1 / len(gaps) + test_share / (1 - test_share)))


def five_by_two_cv(differences: ArrayLike) -> Outcome:
    """Do two models differ over five repetitions of twofold cross-validation? F with 10 and 5 degrees of freedom.

    This is the combined test of Alpaydin (1999): unlike the t of Dietterich (1998) it does not depend on which fold
    comes first.

    differences: [5 2] of the score of one model and the other, on each fold of each repetition.
    """
    gaps = np.asarray(differences, np.float64)
    if gaps.shape != (5, 2) or not np.isfinite(gaps).all():
        raise ValueError(f"differences must be 5 x 2 finite numbers, found shape {gaps.shape}: {gaps.tolist()}")
    f = _over((gaps**2).sum(), ((gaps[:, 0] - gaps[:, 1]) ** 2).sum())
    return Outcome(f, float(special.fdtrc(10, 5, f)))


def _over(value: float, error: float) -> float:
    """value / error, where 0 / 0 is 0 (no difference) and anything else over 0 is infinite (a certain one)."""
    if error:
        return float(value / error)
    return math.copysign(math.inf, value) if value else 0.0


def _paired(a: ArrayLike, b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"a pair must be two lists of one length, found shapes {a.shape} and {b.shape}")
    if not np.isfinite([a, b]).all():
        row = int(np.flatnonzero(~np.isfinite(a) | ~np.isfinite(b))[0])
        raise ValueError(f"a pair must be finite, found {a[row]} and {b[row]} at position {row}")
    return a, b


def _table(table: ArrayLike, name: str, rows: str) -> np.ndarray:
    table = np.asarray(table, np.float64)
    if table.ndim != 2 or min(table.shape) < 2:
        raise ValueError(f"{name} must hold two {rows} and two models or more, found shape {table.shape}")
    if not np.isfinite(table).all():
        row, model = np.argwhere(~np.isfinite(table))[0]
        raise ValueError(f"{name} must be finite, found {table[row, model]} in row {row}, model {model}")
    return table


def _rights(right: np.ndarray, name: str) -> np.ndarray:
    wrong = ~np.isin(right, (0, 1))
    if wrong.any():
        raise ValueError(f"{name} must hold 0 (wrong) or 1 (right), found {right[wrong][0]:g}")
    return right.astype(np.int64)
