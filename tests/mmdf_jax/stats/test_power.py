"""The smallest difference that a design can show: against the noncentral t, and by simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from mmdf_jax.stats.power import smallest_difference


@pytest.mark.parametrize("groups", [3, 8, 40, None])
@pytest.mark.parametrize("alpha, power", [(0.05, 0.8), (0.01, 0.9)])
def test_it_has_the_power_that_it_promises(groups, alpha, power):
    found = smallest_difference(0.02, alpha, power, groups)
    if groups is None:
        beyond = stats.norm.sf(stats.norm.isf(alpha / 2) - found / 0.02)
    else:
        beyond = stats.nct.sf(stats.t.isf(alpha / 2, groups - 1), groups - 1, found / 0.02)
    assert beyond == pytest.approx(power, abs=1e-6)


def test_as_many_studies_find_it():
    rng = np.random.default_rng(0)
    true = smallest_difference(1.0 / math.sqrt(12), groups=12)
    studies = true + rng.normal(size=(20_000, 12))
    p = stats.ttest_1samp(studies, 0, axis=1).pvalue
    assert np.mean(p < 0.05) == pytest.approx(0.8, abs=0.01)


def test_few_people_show_less():
    by_people = [smallest_difference(0.02, groups=groups) for groups in (4, 10, 100, 100_000)]
    assert by_people == sorted(by_people, reverse=True)
    assert by_people[-1] == pytest.approx(smallest_difference(0.02), rel=1e-4)
    assert smallest_difference(0.02) == pytest.approx(0.02 * 2.8015852, rel=1e-6)  # the 2.8 of textbooks
    assert smallest_difference(0.0) == 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((-0.1,), "standard error must be 0 or more, found -0.1"),
        ((math.nan,), "standard error must be 0 or more, found nan"),
        ((0.1, 0.05, 80), "expected 0 < alpha < power < 1, found alpha=0.05 and power=80"),
        ((0.1, 0.05, 0.8, 1), "two groups or more, found 1"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        smallest_difference(*arguments)
