"""Calibration error, Brier score and log-loss against the programs of calibration_vectors.json, and by hand."""

import json
import math
import pathlib

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

from mmdf_jax.metrics import calibration as c
from mmdf_jax.metrics.calibrators import isotonic_regression
from tests.mmdf_jax.metrics.overconfident import overconfident

VECTORS = json.loads(pathlib.Path(__file__).with_name("calibration_vectors.json").read_text())
BINARY = {case["name"]: case for case in VECTORS["cases"] if case["test"] == "binary_calibration"}
SEVERAL = {case["name"]: case for case in VECTORS["cases"] if case["test"] == "multiclass_calibration"}
ERRORS = (c.ece, c.ece_equal_mass, c.mce, c.brier, c.log_loss)


def of_case(name):
    inputs = BINARY[name]["inputs"]
    return np.array(inputs["y"]), np.array(inputs["p"]), BINARY[name]["expected"]


def close(found, expected, tolerance=1e-11):
    np.testing.assert_allclose(found, np.array(expected, float), atol=tolerance, rtol=0)


def assert_errors(labels, scores, expected):
    close(c.ece(labels, scores), expected["ece15_left_closed"])
    if "mce15_left_closed" in expected:
        close(c.mce(labels, scores), expected["mce15_left_closed"])
        close(c.ece_equal_mass(labels, scores), expected["ece15_mass_quantile_left_closed"])


@pytest.mark.parametrize("name", BINARY)
def test_binary_calibration(name):
    labels, scores, expected = of_case(name)
    assert_errors(labels, scores, expected["positive_class"])
    # The same of the verdict at 0.5 and the confidence in it.
    called = scores >= 0.5
    assert_errors(called == labels, np.where(called, scores, 1 - scores), expected["top_label"])
    close(c.brier(labels, scores), expected["brier"])
    close(c.log_loss(labels, scores), expected["nll_unclipped"])


@pytest.mark.parametrize("name", BINARY)
def test_brier_parts(name):
    labels, scores, expected = of_case(name)
    names = ("reliability", "resolution", "uncertainty", "within_bin_variance", "within_bin_covariance")
    for bins, key in ((15, "murphy_15_bins_left_closed"), (None, "murphy_unique_forecasts")):
        parts = c.brier_parts(labels, scores, bins)
        close(parts, [expected[key][part] for part in names])
        assert parts @ np.array([1, -1, 1, 1, -1]) == pytest.approx(expected["brier"], abs=1e-12)
    # Recalibration by isotonic regression splits the score without bins (Dimitriadis, Gneiting & Jordan 2021).
    distinct, share = isotonic_regression(scores, labels)
    recalibrated = share[np.searchsorted(distinct, scores)]
    close(c.brier(labels, scores) - c.brier(labels, recalibrated), expected["corp_isotonic"]["miscalibration"])
    base = labels.mean()
    close(base * (1 - base) - c.brier(labels, recalibrated), expected["corp_isotonic"]["discrimination"])


@pytest.mark.parametrize("name", SEVERAL)
def test_the_call_of_several_classes(name):
    logits, truth = np.array(SEVERAL[name]["inputs"]["logits"]), np.array(SEVERAL[name]["inputs"]["y"])
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert_errors(p.argmax(1) == truth, p.max(1), SEVERAL[name]["expected"])


def test_ece_by_hand():
    scores = [0.1, 0.1, 0.9, 0.9, 1.0]
    labels = [0, 1, 1, 1, 1]
    # Bins of 0.1 hold {0.1, 0.1} (mean 0.1, half fake) and {0.9, 0.9, 1.0} (mean 2.8 / 3, all fake).
    np.testing.assert_allclose(c.ece(labels, scores, bins=10), (0.8 + 0.2) / 5)
    bins = c.reliability(labels, scores, bins=10)
    np.testing.assert_array_equal(bins.counts, [0, 2, 0, 0, 0, 0, 0, 0, 0, 3])
    np.testing.assert_allclose(bins.scores[[1, 9]], [0.1, 2.8 / 3])
    np.testing.assert_allclose(bins.fakes[[0, 1, 9]], [math.nan, 0.5, 1])


def test_ece_of_equal_mass_by_hand():
    labels, scores = [0, 1, 1, 1], [0.1, 0.2, 0.6, 0.8]
    np.testing.assert_allclose(c.ece_equal_mass(labels, scores, bins=2), (0.7 + 0.6) / 4)
    # Every score tied: one bin, whatever their number.
    np.testing.assert_allclose(c.ece_equal_mass([0, 1, 1, 1], [0.5] * 4), 0.25)


@pytest.mark.parametrize("error", [c.ece, c.ece_equal_mass])
def test_error_is_small_for_true_probabilities_and_large_for_exaggerated_ones(error):
    assert error(*overconfident(20000, temperature=1.0)) < 0.02
    assert error(*overconfident(20000)) > 0.08


def test_brier_against_sklearn():
    labels, scores = overconfident(500)
    np.testing.assert_allclose(c.brier(labels, scores), brier_score_loss(labels, scores))


def test_undefined_and_bad_input():
    assert all(math.isnan(error([], [])) for error in ERRORS)
    assert all(map(math.isnan, c.brier_parts([], []))) and all(map(math.isnan, c.brier_parts([], [], None)))
    for error in (*ERRORS, c.brier_parts, c.reliability):
        with pytest.raises(ValueError, match=r"\[0, 1\], found -0.1 to 0.5"):
            error([0, 1], [-0.1, 0.5])
    assert c.log_loss([1], [0.0]) == math.inf and c.log_loss([0], [0.0]) == 0
