"""Corrections for many comparisons against statsmodels and R (data/paired_tests.json)."""

import numpy as np
import pytest

from mmdf_jax.stats.corrections import benjamini_hochberg, holm
from tests.mmdf_jax.stats.vectors import cases


# The vectors also hold Bonferroni's correction, which is never stronger than Holm's, Hochberg's, which supposes
# independence where Holm's does not, and Benjamini & Yekutieli's, which rejects next to nothing. They are not offered.
@pytest.mark.parametrize("inputs, expected", cases("paired_tests", "p_adjust"))
def test_against_statsmodels_and_r(inputs, expected):
    for correction, name in ((holm, "holm"), (benjamini_hochberg, "bh")):
        found = correction(inputs["p"])
        np.testing.assert_allclose(found, expected[name], rtol=1e-10)
        assert (found <= 0.05 + 1e-12).tolist() == expected[f"{name}_reject_05"]


@pytest.mark.parametrize("correction", [holm, benjamini_hochberg])
def test_a_comparison_that_could_not_be_made_does_not_count(correction):
    np.testing.assert_allclose(correction([0.01, np.nan, 0.04]), [0.02, np.nan, 0.04])
    assert correction([]).shape == (0,)


@pytest.mark.parametrize("correction", [holm, benjamini_hochberg])
def test_what_is_no_probability_is_refused(correction):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], found 0\.1 to 2"):
        correction([0.1, 2.0])
    given = np.array([0.04, 0.01])
    correction(given)
    assert given.tolist() == [0.04, 0.01]  # the caller's list stays as it was
