"""DeLong against R's pROC (data/delong.json), the definition over all pairs, and simulation."""

import functools
import math

import numpy as np
import pytest
from scipy.stats import norm

from mmdf_jax.metrics.classification import auc
from mmdf_jax.stats.delong import auc_variance, paired_test
from tests.mmdf_jax.stats.vectors import cases


# pROC's unpaired test stands in the vectors too; all detectors of a study score the same clips, so it is not offered.
@pytest.mark.parametrize("inputs, expected", cases("delong"))
def test_against_proc(inputs, expected):
    expected = {key: np.array(value, float) for key, value in expected.items() if key != "r_messages"}
    labels, a, b = inputs["labels"], inputs["scores_a"], inputs["scores_b"]
    found = [auc_variance(labels, scores) for scores in (a, b)]
    test = paired_test(labels, a, b)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-11)
    close([each.variance for each in found], [expected["var_a"], expected["var_b"]])
    if np.isnan(expected["z"]):
        # pROC gives the AUC itself; with one clip of a class the project calls all of the result undefined.
        assert np.isnan([*found[0], *found[1], *test]).all()
        return
    close([each.auc for each in found], [expected["auc_a"], expected["auc_b"]])
    close([test.auc_a, test.auc_b], [expected["auc_a"], expected["auc_b"]])
    close([test.z, test.p], [expected["z"], expected["p_two_sided"]])
    close([norm.cdf(test.z), norm.sf(test.z)], [expected["p_less"], expected["p_greater"]])
    close(found[0].variance + found[1].variance - test.standard_error**2, 2 * expected["cov_ab"])
    close(test.difference + norm.ppf([0.025, 0.975]) * test.standard_error, expected["diff_ci95"])
    # pROC cuts its intervals of one AUC at 0 and 1.
    for level in (90, 95):
        for each, side in zip(found, "ab", strict=True):
            reach = norm.ppf(0.5 + level / 200) * math.sqrt(each.variance)
            close(np.clip([each.auc - reach, each.auc + reach], 0, 1), expected[f"ci{level}_{side}"])


def all_pairs(labels, *detectors):
    """AUCs and their covariance matrix by the definition, one comparison per pair."""
    fake, real = labels == 1, labels == 0
    kernels = [
        (scores[fake][:, None] > scores[real]) + 0.5 * (scores[fake][:, None] == scores[real]) for scores in detectors
    ]
    of_fakes = np.stack([kernel.mean(axis=1) for kernel in kernels])
    of_reals = np.stack([kernel.mean(axis=0) for kernel in kernels])
    covariance = np.atleast_2d(np.cov(of_fakes)) / fake.sum() + np.atleast_2d(np.cov(of_reals)) / real.sum()
    return [kernel.mean() for kernel in kernels], covariance


@pytest.mark.parametrize("digits", [0, 1, 12])
@pytest.mark.parametrize("n", [6, 150])
def test_against_all_pairs(n, digits):
    rng = np.random.default_rng(n + digits)
    labels = np.arange(n) % 3 % 2
    common = rng.normal(size=n) + labels
    a, b = (np.round(common + rng.normal(size=n), digits) for _ in range(2))
    aucs, covariance = all_pairs(labels, a, b)
    found = auc_variance(labels, a)
    np.testing.assert_allclose(found, [aucs[0], covariance[0, 0]], atol=1e-12)
    np.testing.assert_allclose(found.auc, auc(labels, a))

    test = paired_test(labels, a, b)
    error = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    np.testing.assert_allclose(test.standard_error, error, atol=1e-12)
    np.testing.assert_allclose(test.difference, aucs[0] - aucs[1], atol=1e-12)
    np.testing.assert_allclose(test.p, 2 * norm.sf(abs(test.difference / error)))
    swapped = paired_test(labels, b, a)
    np.testing.assert_allclose([swapped.z, swapped.p], [-test.z, test.p])


def test_p_values_are_uniform_when_detectors_are_equally_good():
    p = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        labels = np.arange(120) % 2
        common = labels + rng.normal(size=120)
        p.append(paired_test(labels, common + rng.normal(size=120), common + rng.normal(size=120)).p)
    rejected = np.mean(np.array(p) < 0.05)
    assert 0.02 < rejected < 0.08
    assert abs(np.median(p) - 0.5) < 0.1


def test_same_ranking_is_no_difference():
    rng = np.random.default_rng(0)
    labels, scores = np.arange(40) % 2, rng.random(40)
    test = paired_test(labels, scores, np.exp(scores))
    assert (test.difference, test.standard_error, test.z, test.p) == (0, 0, 0, 1)


def test_perfect_against_inverted_is_certain():
    test = paired_test([0, 0, 1, 1], [1, 2, 3, 4], [4, 3, 2, 1])
    assert (test.difference, test.z, test.p) == (1, math.inf, 0)


def test_undefined_and_bad_input():
    assert all(math.isnan(value) for value in auc_variance([0, 0, 1], [0.1, 0.2, 0.3]))
    assert all(math.isnan(value) for value in paired_test([0, 0, 1], [0.1, 0.2, 0.3], [0.3, 0.2, 0.1]))
    with pytest.raises(ValueError, match="one length"):
        paired_test([0, 1], [0.1, 0.2], [0.1, 0.2, 0.3])
