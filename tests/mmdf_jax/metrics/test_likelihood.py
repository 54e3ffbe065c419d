"""Likelihood ratios against ASVspoof 5 (spoofing_vectors.json), lir (likelihood_vectors.json), and in closed form."""

import json
import math
import pathlib

import numpy as np
import pytest

from mmdf_jax.metrics import likelihood as lr


def cases(file, of):
    found = json.loads(pathlib.Path(__file__).with_name(file).read_text())["cases"]
    return [pytest.param(case["inputs"], case["expected"], id=case["name"]) for case in found if of in case["inputs"]]


def both(positive, negative):
    return np.repeat([1, 0], [len(positive), len(negative)]), np.array([*positive, *negative], float)


@pytest.mark.parametrize("inputs, expected", cases("spoofing_vectors.json", "bonafide"))
def test_against_the_asvspoof5_package(inputs, expected):
    labels, llr = both(inputs["bonafide"], inputs["spoof"])
    found = lr.cllr(labels, llr)
    np.testing.assert_allclose(found, expected["cllr_textbook_logaddexp"], atol=1e-10)
    # The package overflows to infinity.
    official = float(expected["cllr_asvspoof5"])
    assert official == math.inf or found == pytest.approx(official, abs=1e-10)
    prices = {"prior": 0.95, "miss": 1, "false_alarm": 10}
    np.testing.assert_allclose(lr.decision_cost(labels, llr, **prices), expected["act_dcf_asvspoof5"], atol=1e-11)
    np.testing.assert_allclose(lr.least_decision_cost(labels, llr, **prices), expected["min_dcf_asvspoof5"], atol=1e-11)


@pytest.mark.parametrize("inputs, expected", cases("likelihood_vectors.json", "fake"))
def test_against_lir(inputs, expected):
    labels, llr = both(inputs["fake"], inputs["real"])
    np.testing.assert_allclose(lr.cllr(labels, llr), expected["cllr"], atol=1e-10)
    np.testing.assert_allclose(lr.cllr_min(labels, llr), expected["cllr_min"], atol=1e-10)
    assert lr.cllr_cal(labels, llr) == pytest.approx(expected["cllr"] - expected["cllr_min"], abs=1e-10)
    # lir walks a grid of 0.01, and stops one step before it fails. What fails between two steps it does not see.
    low, high = np.array(lr.bounds(labels, llr)) / math.log(10)
    assert low > expected["elub_log10_low"] - 0.0201 and high < expected["elub_log10_high"] + 0.0201
    fakes, reals = llr[labels == 1], llr[labels == 0]
    grid = np.arange(-3, 3, 0.0005) + 0.00025
    ratio = 10**grid
    missed = ((fakes <= np.log(ratio)[:, None]).sum(1) + 1) / (len(fakes) + 1)
    alarms = ((reals > np.log(ratio)[:, None]).sum(1) + 1) / (len(reals) + 1)
    worse = grid[missed + ratio * alarms > np.minimum(ratio, 1)]
    np.testing.assert_allclose([low, high], [worse[worse < 0].max(), worse[worse > 0].min()], atol=0.0006)


@pytest.mark.parametrize("fakes, reals", [(50, 100), (7, 3), (1, 1), (1000, 1000)])
def test_bounds_of_separated_classes_in_closed_form(fakes, reals):
    low, high = lr.bounds(*both([9.0] * fakes, [-9.0] * reals))
    assert low == pytest.approx(math.log((reals + 1) / (reals * (fakes + 1))) if fakes * reals > 1 else 0)
    assert high == pytest.approx(math.log(fakes * (reals + 1) / (fakes + 1)) if fakes * reals > 1 else 0, abs=1e-9)


def test_bounds_never_exceed_the_ratios_and_grow_with_the_clips():
    assert lr.bounds(*both([0.5] * 500, [-0.25] * 500)) == (-0.25, 0.5)
    widths = [np.diff(lr.bounds(*both([9.0] * n, [-9.0] * n)))[0] for n in (5, 50, 500)]
    assert widths == sorted(widths)


def test_bounds_count_people_where_people_are_named():
    labels, llr = both([9.0] * 60, [-9.0] * 60)
    per_person = lr.bounds(labels, llr, groups=[f"person{i % 6}" for i in range(120)])
    assert per_person == pytest.approx(lr.bounds(*both([9.0] * 6, [-9.0] * 6)))
    assert lr.bounds(labels, llr, groups=list(range(120))) == lr.bounds(labels, llr)


def test_nothing_is_supported_by_ratios_that_mislead_or_say_nothing():
    for fakes, reals in (([-2.0] * 20, [2.0] * 20), ([0.0] * 20, [0.0] * 20)):
        assert lr.bounds(*both(fakes, reals)) == (0, 0)


def test_log_ratios_and_probabilities_at_any_prior():
    p = np.array([[0.2, 0.5], [0.9, 0.999]])
    llr = lr.log_lr(p, prior=0.25)
    np.testing.assert_allclose(llr, np.log(p / (1 - p)) - math.log(0.25 / 0.75))
    np.testing.assert_allclose(lr.probability(llr, 0.25), p)
    # Bayes: posterior odds are prior odds times the ratio.
    odds = lr.probability(llr, 0.01) / (1 - lr.probability(llr, 0.01))
    np.testing.assert_allclose(odds, np.exp(llr) * 0.01 / 0.99)
    assert np.isfinite(lr.log_lr([0.0, 1.0], 0.5)).all()


def test_silence_costs_one_bit_and_certainty_in_the_truth_nothing():
    labels = [1, 0, 0]
    assert lr.cllr(labels, [0, 0, 0]) == pytest.approx(1) and lr.cllr_min(labels, [0, 0, 0]) == pytest.approx(1)
    assert lr.cllr(labels, [2000, -2000, -3000]) == 0 and lr.cllr_min(labels, [0.1, -5, -4]) == 0
    assert lr.cllr(labels, [-2000, 2000, 2000]) == pytest.approx(2000 / math.log(2))


def test_least_cost_is_the_best_over_all_thresholds():
    rng = np.random.default_rng(0)
    labels, llr = both(rng.normal(1, 1, 30), rng.normal(-1, 1, 40))
    shifted = [lr.decision_cost(labels, llr - t, 0.3, 5, 2) for t in np.linspace(-5, 5, 4001)]
    assert lr.least_decision_cost(labels, llr, 0.3, 5, 2) == pytest.approx(min(shifted))
    assert lr.least_decision_cost(*both([-1], [1]), 0.3) == 1  # deciding blindly is always possible


@pytest.mark.parametrize(
    "ratio, words, favours",
    [
        (1, "no", "neither"),
        (1.5, "limited", "fake"),
        (1 / 9.9, "limited", "real"),
        (10, "moderate", "fake"),
        (0.1, "moderate", "real"),
        (100, "moderately strong", "fake"),
        (9_999, "strong", "fake"),
        (1e-5, "very strong", "real"),
        (1e6, "extremely strong", "fake"),
        (math.inf, "extremely strong", "fake"),
        (0, "extremely strong", "real"),
    ],
)
def test_the_verbal_scale(ratio, words, favours):
    assert lr.band(ratio) == (words, favours)


def test_bands_leave_no_gap():
    assert [low for low, _, _ in lr.BANDS[1:]] == [high for _, high, _ in lr.BANDS[:-1]]


def test_one_class_leaves_everything_undefined():
    numbers = [lr.cllr([1], [0.5]), lr.cllr_min([0], [0.5]), lr.cllr_cal([], []), lr.decision_cost([1], [1], 0.5)]
    assert all(map(math.isnan, [*numbers, lr.least_decision_cost([1], [1], 0.5), *lr.bounds([1, 1], [1, 2])]))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: lr.band(-1), "must be 0 or more, found -1"),
        (lambda: lr.band(math.nan), "must be 0 or more, found nan"),
        (lambda: lr.log_lr([0.5], 0), "prior must lie between 0 and 1, found 0"),
        (lambda: lr.probability([0.5], 1), "prior must lie between 0 and 1, found 1"),
        (lambda: lr.cllr([0, 1], [math.inf, 0]), "scores must be finite, found inf at position 0"),
        (lambda: lr.decision_cost([0, 1], [0, 1], 0.5, miss=0), "costs must be above 0, found miss=0"),
        (lambda: lr.bounds([0, 1], [0, 1], groups=["a"]), "one identity per ratio, found 1 for 2"),
    ],
)
def test_hostile_input_is_refused_in_one_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
