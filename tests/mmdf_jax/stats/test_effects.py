"""Effect sizes against scikit-learn, statsmodels and cliffs-delta (data/paired_tests.json), and by hand."""

import math

import numpy as np
import pytest

from mmdf_jax.stats import effects
from tests.mmdf_jax.stats.vectors import cases


# Weighted kappas stand in the vectors too: verdicts have no order that would weigh them.
@pytest.mark.parametrize("inputs, expected", cases("paired_tests", "cohen_kappa"))
def test_cohen_kappa(inputs, expected):
    found = effects.cohen_kappa(inputs["a"], inputs["b"])
    np.testing.assert_allclose(found, float(expected["kappa_unweighted"]), rtol=1e-10, atol=1e-12)
    words = [np.array(list("abcd"))[inputs[side]] for side in "ab"]
    np.testing.assert_equal(effects.cohen_kappa(*words), found)


@pytest.mark.parametrize("inputs, expected", cases("paired_tests", "cliffs_delta"))
def test_cliffs_delta(inputs, expected):
    a, b = inputs["a"], inputs["b"]
    found = effects.cliffs_delta(a, b)
    assert found == pytest.approx(expected["delta"], abs=1e-11)
    assert (found + 1) / 2 == pytest.approx(expected["vargha_delaney_A"], abs=1e-11)
    assert (found + 1) / 2 * len(a) * len(b) == pytest.approx(expected["mann_whitney_U_a"], abs=1e-9)
    assert effects.cliffs_delta(b, a) == pytest.approx(-found)


def test_cohen_d_is_in_units_of_the_differences():
    assert effects.cohen_d_paired([3, 5, 7], [2, 3, 4]) == pytest.approx(2)
    assert effects.cohen_d_paired([0.3, 0.2], [0.2, 0.1]) == math.inf  # one difference, but for rounding
    assert effects.cohen_d_paired([1, 2], [2, 3]) == -math.inf
    assert effects.cohen_d_paired([1, 2], [1, 2]) == 0


def test_undefined_is_nan_and_bad_input_is_refused():
    assert math.isnan(effects.cohen_d_paired([1], [2]))
    assert math.isnan(effects.cohen_kappa([], []))
    assert math.isnan(effects.cliffs_delta([], [1.0]))
    assert effects.rank_biserial([1, 2], [1, 2]) == 0
    with pytest.raises(ValueError, match=r"two lists of one length, found shapes \(2,\) and \(1,\)"):
        effects.cohen_kappa([0, 1], [0])
    with pytest.raises(ValueError, match="finite, found nan"):
        effects.cohen_d_paired([math.nan, 1], [0, 1])
