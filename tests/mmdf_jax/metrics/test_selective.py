"""Risk and coverage against calibration_vectors.json, and by enumeration of tie orders."""

import itertools
import json
import math
import pathlib

import numpy as np
import pytest

from mmdf_jax.metrics import selective

CASES = json.loads(pathlib.Path(__file__).with_name("calibration_vectors.json").read_text())["cases"]
AURC = [pytest.param(case["inputs"], case["expected"], id=case["name"]) for case in CASES if case["test"] == "aurc"]


@pytest.mark.parametrize("inputs, expected", AURC)
def test_aurc(inputs, expected):
    errors, confidence = np.array(inputs["error"]), np.array(inputs["confidence"])
    close = {"atol": 1e-11, "rtol": 0}
    found = selective.aurc(errors, confidence)
    np.testing.assert_allclose(found, expected["aurc_expected_over_tie_orders"], **close)
    np.testing.assert_allclose(selective.aurc(errors, -errors), expected["aurc_optimal"], **close)
    # The file's order decides between ties in the plain mean.
    in_order = confidence - np.arange(len(confidence)) * 1e-9
    np.testing.assert_allclose(selective.aurc(errors, in_order), expected["aurc_mean_of_risks"], **close)


def test_the_curve_by_hand():
    coverage, risk = selective.risk_coverage([1, 0, 0, 1, 1], [0.2, 0.9, 0.5, 0.5, 0.5])
    np.testing.assert_allclose(coverage, [0.2, 0.8, 1])
    np.testing.assert_allclose(risk, [0, 2 / 4, 3 / 5])


def test_ties_are_the_mean_over_their_orders():
    errors, confidence = np.array([0, 1, 0.5, 1, 0]), np.array([3, 2, 2, 2, 1])
    orders = [np.array([0, *order, 4]) for order in itertools.permutations([1, 2, 3])]
    means = np.mean([np.cumsum(errors[order]) / np.arange(1, 6) for order in orders], axis=0)
    assert selective.aurc(errors, confidence) == pytest.approx(means.mean())
    for k in range(1, 6):
        assert selective.risk_at(errors, confidence, k / 5) == pytest.approx(means[k - 1])


def test_risk_at_takes_enough_clips():
    errors, confidence = [0, 0, 1, 1, 1, 1, 1, 1, 1, 1], np.arange(10)[::-1]
    assert selective.risk_at(errors, confidence, 0.3) == pytest.approx(1 / 3)  # 0.3 * 10 is above 3 in floats
    assert selective.risk_at(errors, confidence, 0.31) == pytest.approx(2 / 4)
    assert selective.risk_at(errors, confidence, 0.001) == 0
    assert selective.risk_at(errors, confidence, 1) == pytest.approx(0.8)


def test_nothing_is_known_of_no_clips():
    coverage, risk = selective.risk_coverage([], [])
    assert not coverage.size and not risk.size
    assert math.isnan(selective.aurc([], [])) and math.isnan(selective.risk_at([], [], 0.5))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: selective.aurc([0, 1], [0.5]), r"one length, found shapes \(2,\) and \(1,\)"),
        (lambda: selective.aurc([0, math.nan], [0.5, 0.5]), "errors must be finite and 0 or more"),
        (lambda: selective.risk_coverage([-1], [0.5]), "errors must be finite and 0 or more"),
        (lambda: selective.risk_coverage([1], [math.nan]), "confidence must be finite"),
        (lambda: selective.risk_at([1], [1], 0), "coverage must lie above 0 and up to 1, found 0"),
    ],
)
def test_hostile_input_is_refused_in_one_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
