"""Bayesian comparison against baycomp (data/bayes.json), and in cases that are plain."""

import math

import numpy as np
import pytest
from scipy import stats

from mmdf_jax.stats.bayes import correlated_t, signed_rank, student
from mmdf_jax.stats.paired_tests import nadeau_bengio
from tests.mmdf_jax.stats.vectors import cases


@pytest.mark.parametrize("inputs, expected", cases("bayes", "correlated_t"))
def test_correlated_t_against_baycomp(inputs, expected):
    found = correlated_t(**inputs)
    np.testing.assert_allclose(found, expected, atol=1e-10)
    assert sum(found) == pytest.approx(1)
    turned = correlated_t([-gap for gap in inputs["differences"]], inputs["test_share"], inputs["rope"])
    np.testing.assert_allclose(turned, found[::-1], atol=1e-12)


@pytest.mark.parametrize("inputs, expected", cases("bayes", "signed_rank"))
def test_signed_rank_against_baycomp(inputs, expected):
    found = signed_rank(**inputs, samples=20_000)
    np.testing.assert_allclose(found, expected, atol=0.015)  # four standard errors of both samples
    assert sum(found) == pytest.approx(1)
    assert signed_rank(**inputs, samples=20_000) == found


def test_without_a_region_it_is_the_corrected_test_read_from_its_other_end():
    gaps = [0.02, 0.05, -0.01, 0.03, 0.04]
    left, rope, right = correlated_t(gaps, 0.2, 0.0)
    assert rope == pytest.approx(0) and right > left
    assert 2 * left == pytest.approx(nadeau_bengio(gaps, 0.2).p)


def test_the_posterior_of_an_interval_by_students_t():
    assert student(0.02, 0.0, 9, 0.01) == (0, 0, 1)
    assert np.isnan(student(math.nan, 0.1, 9, 0.01)).all() and np.isnan(student(0.1, math.nan, math.nan, 0.01)).all()
    # Half of the posterior lies beyond the difference, and 2.5 % beyond each limit.
    assert student(0.05, 0.02, 9, 0.05).right == pytest.approx(0.5)
    limit = 0.05 - 0.02 * stats.t.isf(0.025, 9)
    assert student(0.05, 0.02, 9, limit).right == pytest.approx(0.975)


def test_a_wider_region_holds_more():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.03, 0.02, 12), np.zeros(12)
    held = [signed_rank(a, b, rope, samples=4000).rope for rope in (0.0, 0.02, 0.04, 0.2)]
    assert held == sorted(held) and held[0] == 0 and held[-1] == 1
    assert signed_rank(a, b, 0.0, samples=4000).right > 0.99


def test_bad_input_is_refused():
    for rope in (-0.01, math.nan, math.inf):
        with pytest.raises(ValueError, match="rope must be 0 or more, found"):
            correlated_t([0.1, 0.2], 0.1, rope)
        with pytest.raises(ValueError, match="rope must be 0 or more, found"):
            signed_rank([0.1], [0.2], rope)
    with pytest.raises(ValueError, match="a dataset or more, found none"):
        signed_rank([], [], 0.01)
    with pytest.raises(ValueError, match="test_share must lie between 0 and 1, found 1"):
        correlated_t([0.1, 0.2], 1, 0.01)
