"""Holm's correction against statsmodels."""

import json
import pathlib

import numpy as np
import pytest

from mmdf_jax.stats.corrections import holm

CASES = json.loads((pathlib.Path(__file__).parent / "data" / "holm.json").read_text())["cases"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_holm_against_statsmodels(case):
    np.testing.assert_allclose(holm(case["p"]), case["holm"], rtol=1e-9)


def test_a_comparison_that_could_not_be_made_does_not_count():
    np.testing.assert_allclose(holm([0.01, np.nan, 0.04]), [0.02, np.nan, 0.04])
    assert holm([]).shape == (0,)


def test_what_is_no_probability_is_refused():
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], found 0\.1 to 2"):
        holm([0.1, 2.0])
