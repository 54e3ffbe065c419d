"""Paired tests against statsmodels, scipy, scikit-posthocs, mlxtend and R (data/paired_tests.json).

The vectors hold more variants than the project offers. What is left out, and why: continuity corrections of Wilcoxon's
test and zeros split between both signs (the exact test needs neither); one-sided p-values (nobody knows beforehand
which model is better; below they are put together to the two-sided one); Bonferroni and Dunn (weaker than Holm);
Dietterich's t (it depends on which fold comes first).
"""

import math

import numpy as np
import pytest
from scipy import stats

from mmdf_jax.stats import paired_tests as t
from mmdf_jax.stats.effects import rank_biserial
from tests.mmdf_jax.stats.vectors import cases


def close(found, expected):
    np.testing.assert_allclose(np.array(found, float), np.array(expected, float), rtol=1e-10, atol=1e-11)


def rights(table):
    """Whether a and b are right on each clip, from the counts [[both, only a], [only b, none]]."""
    counts = np.ravel(table)
    return np.repeat([1, 1, 0, 0], counts), np.repeat([1, 0, 1, 0], counts)


@pytest.mark.parametrize("inputs, expected", cases("paired_tests", "mcnemar"))
def test_mcnemar(inputs, expected):
    a, b = rights(inputs["table"])
    (_, only_a), (only_b, _) = inputs["table"]
    close(t.mcnemar(a, b), (expected["exact_statistic"], expected["exact_p"]))
    if "midp" in expected:
        close(t.mcnemar(a, b, "midp"), (expected["exact_statistic"], expected["midp"]))
    if only_a != only_b:
        close(t.mcnemar(a, b, "corrected"), (expected["chi2_cc"], expected["p_cc"]))
        # Without a correction it is Cochran's test of two models.
        close(t.cochran_q(np.stack([a, b], axis=1)), (expected["chi2"], expected["p"]))
    else:
        # statsmodels corrects a difference of 0 to one of 1, and divides 1 by 0 clips to an infinite statistic with
        # p 0; without the correction it divides 0 by 0. R drops the correction: 0 and p 1. So does the project.
        assert t.mcnemar(a, b, "corrected") == t.cochran_q(np.stack([a, b], axis=1)) == (0, 1)
    assert t.mcnemar(a, b) == t.mcnemar(b, a)


@pytest.mark.parametrize("inputs, expected", cases("paired_tests", "cochran_q"))
def test_cochran_q(inputs, expected):
    found = t.cochran_q(inputs["correct_rows_samples_cols_models"])
    # Models that are right and wrong on the same clips are 0 / 0 to statsmodels: no difference here.
    close(found, (0, 1) if expected["Q"] == "NaN" else (expected["Q"], expected["p"]))


@pytest.mark.parametrize("inputs, expected", cases("paired_tests", "wilcoxon"))
def test_wilcoxon(inputs, expected):
    a, b = inputs["x"], inputs["y"]
    close(t.differences(a, b), inputs["d_rounded"])
    close(t.rank_sums(a, b), (expected["W_plus"], expected["W_minus"]))
    for zeros in ("wilcox", "pratt"):
        statistic, p = t.wilcoxon(a, b, zeros, "normal")
        close(statistic, expected[f"statistic_min_{zeros}"])
        both = expected[f"asymptotic_{zeros}_two_sided"]
        # scipy's approximation is 0 / 0 where no pair differs; its default is p 1, and so is ours.
        close(p, expected["scipy_default_two_sided"] if both == "NaN" else both)
        if both != "NaN":
            sides = [expected[f"asymptotic_{zeros}_{side}"] for side in ("less", "greater")]
            close(p, min(1, 2 * min(sides)))
    close(t.wilcoxon(a, b).p, expected["scipy_default_two_sided"])
    if "exact_conditional_zeros_dropped_two_sided" in expected:
        p = t.wilcoxon(a, b, method="exact").p
        close(p, expected["exact_conditional_zeros_dropped_two_sided"])
        sides = [expected[f"exact_conditional_zeros_dropped_{side}"] for side in ("less", "greater")]
        close(p, min(1, 2 * min(sides)))
    if "rank_biserial" in expected:
        close(rank_biserial(a, b), expected["rank_biserial"])
    assert t.wilcoxon(a, b) == t.wilcoxon(b, a)


def test_wilcoxon_counts_the_signs_of_ties_and_zeros_exactly():
    a, b = np.array([3, 1, 4, 1, 5, 9, 2, 6.0]), np.array([2, 1, 6, 0, 2, 7, 2, 5.0])
    gaps = a - b
    for zeros in ("wilcox", "pratt"):
        ranked = stats.rankdata(np.abs(gaps if zeros == "pratt" else gaps[gaps != 0]))
        ranks = ranked[gaps != 0] if zeros == "pratt" else ranked
        signs = np.array(np.meshgrid(*[[0, 1]] * len(ranks))).reshape(len(ranks), -1).T
        found = t.wilcoxon(a, b, zeros)
        close(found.p, min(1, 2 * np.mean(signs @ ranks <= found.statistic)))


@pytest.mark.parametrize("inputs, expected", cases("paired_tests", "friedman_nemenyi"))
def test_friedman_and_nemenyi(inputs, expected):
    table = np.array(inputs["data_rows_blocks_cols_models"])
    n, models = table.shape
    found = t.friedman(table)
    close(found.ranks, expected["mean_ranks_1_is_best_highest"])
    if expected["chi2"] == "NaN":  # models that tie on every dataset are 0 / 0 to scipy: no difference here
        assert found[:4] == (0, 1, 0, 1)
    else:
        close(found[:4], [expected[key] for key in ("chi2", "p", "iman_davenport_F", "iman_davenport_p")])
        close(found.chi2 / (n * (models - 1)), expected["kendall_W"])
    # Demšar (2006) prints chi-squared without the correction for ties; both agree where there are none.
    plain = 12 * n / (models * (models + 1)) * ((found.ranks - (models + 1) / 2) ** 2).sum()
    close(plain, expected["chi2_demsar_no_tie_correction"])
    p = t.nemenyi(table)
    np.testing.assert_allclose(p, expected["nemenyi_p"], atol=1e-9)
    gaps = np.abs(found.ranks[:, None] - found.ranks)
    close(gaps / math.sqrt(models * (models + 1) / (6 * n)), expected["nemenyi_q"])
    for alpha, key in ((0.05, "cd_05"), (0.1, "cd_10")):
        bar = t.critical_difference(models, n, alpha)
        np.testing.assert_allclose(bar, expected[key], rtol=1e-9)
        np.testing.assert_array_equal(gaps > bar, p < alpha)


@pytest.mark.parametrize("inputs, expected", cases("paired_tests", "critical_difference"))
def test_critical_values(inputs, expected):
    # Demšar's printed table cuts or misses the third digit: 2.343 for 3 models, 2.949 for 7 (2.9483), and 2.459 for 5
    # at 0.1 (2.4595). These are the quantiles themselves.
    for models in inputs["k"]:
        for alpha, name in ((0.05, "05"), (0.1, "10")):
            for datasets, bar in expected[f"cd_{name}"][str(models)].items():
                np.testing.assert_allclose(t.critical_difference(models, int(datasets), alpha), bar, rtol=1e-9)
            unit = math.sqrt(models * (models + 1) / 60)
            q = t.critical_difference(models, 10, alpha) / unit
            np.testing.assert_allclose(q, expected[f"q_{name}"][str(models)], rtol=1e-9)


@pytest.mark.parametrize("inputs, expected", cases("paired_tests", "nadeau_bengio"))
def test_nadeau_bengio(inputs, expected):
    gaps, df = inputs["differences"], expected["df"]
    share = inputs["n_test"] / (inputs["n_test"] + inputs["n_train"])
    found = t.nadeau_bengio(gaps, share)
    if expected["t"] == "NaN":  # no difference on any fold is 0 / 0 to the formula: no difference here
        assert found == (0, 1)
        return
    close(found, (expected["t"], expected["p_two_sided"]))
    close(stats.t.sf(found.statistic, df), expected["p_greater"])
    close(stats.t.cdf(found.statistic, df), expected["p_less"])
    if "ci95" in expected:
        mean, error = t.corrected_error(gaps, share)
        close(mean + error * stats.t.ppf([0.025, 0.975], df), expected["ci95"])
        close(mean / (np.std(gaps, ddof=1) / math.sqrt(len(gaps))), expected["uncorrected_t"])


@pytest.mark.parametrize("inputs, expected", cases("paired_tests", "5x2cv"))
def test_five_by_two_cv(inputs, expected):
    gaps = np.array(inputs["differences_5x2"])
    found = t.five_by_two_cv(gaps)
    close(found, (expected["F"], expected["p_F"]))
    close(t.five_by_two_cv(gaps[::-1, ::-1]), found)  # no fold comes first


def test_five_by_two_cv_without_a_difference_or_without_spread():
    assert t.five_by_two_cv(np.zeros((5, 2))) == (0, 1)
    assert t.five_by_two_cv(np.full((5, 2), -0.1)) == (math.inf, 0)
    assert t.nadeau_bengio([-0.1] * 3, 0.1) == (-math.inf, 0)


def test_rounding_of_scores_makes_no_order():
    # 0.3 - 0.2 is 0.09999999999999998 and 0.2 - 0.1 is 0.1: one rank for both, at any unit.
    for unit in (1e-6, 1.0, 1e6):
        a, b = np.array([0.3, 0.2, 0.5, 0.7]) * unit, np.array([0.2, 0.1, 0.6, 0.7]) * unit
        assert t.rank_sums(a, b) == (4, 2)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: t.mcnemar([1, 0], [1]), r"two lists of one length, found shapes \(2,\) and \(1,\)"),
        (lambda: t.mcnemar([1, 2], [1, 0]), r"must hold 0 \(wrong\) or 1 \(right\), found 2"),
        (lambda: t.mcnemar([1, math.nan], [1, 0]), "finite, found nan and 0.0 at position 1"),
        (lambda: t.mcnemar([1], [1], "yates"), "kind must be .* found 'yates'"),
        (lambda: t.cochran_q([[1, 0.5], [1, 0]]), "right must hold 0 .* found 0.5"),
        (lambda: t.cochran_q([[1, 0]]), r"right must hold two clips and two models or more, found shape \(1, 2\)"),
        (lambda: t.wilcoxon([1, 2], [1, math.inf]), "finite, found 2.0 and inf at position 1"),
        (lambda: t.wilcoxon([1], [2], "zsplit"), "zeros must be 'wilcox' or 'pratt', found 'zsplit'"),
        (lambda: t.wilcoxon([1], [2], method="fast"), "method must be .* found 'fast'"),
        (lambda: t.friedman([1, 2, 3]), r"table must hold two datasets and two models or more, found shape \(3,\)"),
        (lambda: t.nemenyi([[1, 2], [1, math.nan]]), "table must be finite, found nan in row 1, model 1"),
        (lambda: t.critical_difference(1, 10), "needs 2 models, 2 datasets .* found 1, 10 and 0.05"),
        (lambda: t.nadeau_bengio([0.1], 0.1), r"two folds or more, found \[0.1\]"),
        (lambda: t.nadeau_bengio([0.1, 0.2], 10), "test_share must lie between 0 and 1, found 10"),
        (lambda: t.five_by_two_cv([0.1] * 10), r"5 x 2 finite numbers, found shape \(10,\)"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, message):
    with pytest.raises(ValueError, match=message) as raised:
        call()
    assert "\n" not in str(raised.value)
