"""Calibrators against scikit-learn, R and the other programs of calibration_vectors.json, and their choice."""

import json
import math
import pathlib

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mmdf_jax.metrics import calibrators as c
from mmdf_jax.metrics.calibration import ece, log_loss
from mmdf_jax.metrics.classification import auc
from tests.mmdf_jax.metrics.overconfident import overconfident

CASES = json.loads(pathlib.Path(__file__).with_name("calibration_vectors.json").read_text())["cases"]


def cases(test):
    return [pytest.param(case["inputs"], case["expected"], id=case["name"]) for case in CASES if case["test"] == test]


@pytest.mark.parametrize("inputs, expected", cases("platt"))
def test_platt(inputs, expected):
    scores = c.sigmoid(np.array(inputs["scores"]))
    fitted = c.fit("platt", inputs["y"], scores)
    np.testing.assert_allclose(1 / fitted.temperature, expected["smoothed_w_exact"], atol=1e-8)
    np.testing.assert_allclose(fitted.bias, expected["smoothed_c_exact"], atol=1e-8)
    np.testing.assert_allclose(fitted(scores), expected["p_smoothed_exact"], atol=1e-8)


@pytest.mark.parametrize("inputs, expected", cases("temperature_scaling"))
def test_temperature(inputs, expected):
    logits = np.array(inputs["logits"])
    fitted = c.fit("temperature", inputs["y"], c.sigmoid(logits[:, 1] - logits[:, 0]))
    assert fitted.bias == 0 or not np.isfinite(fitted.temperature)
    # The programs' targets are 0 and 1. Smoothed ones raise T by O(1 / n), and keep it above 0 on separated classes.
    plain = float(expected["T"])
    assert plain < fitted.temperature < max(1.07 * plain, 3) or fitted.temperature == plain == math.inf


@pytest.mark.parametrize("inputs, expected", cases("isotonic"))
def test_isotonic_regression(inputs, expected):
    distinct, fitted = c.isotonic_regression(inputs["x"], inputs["y"])
    np.testing.assert_allclose(fitted[np.searchsorted(distinct, inputs["x"])], expected["fitted"], atol=1e-11)
    through = c.Isotonic(tuple(distinct), tuple(fitted))
    np.testing.assert_allclose(through(inputs["query"]), expected["query_values_linear_interpolation"], atol=1e-11)


def test_isotonic_has_one_misleading_clip_at_each_end():
    labels, scores = [0, 0, 0, 1, 1], [0.1, 0.2, 0.3, 0.6, 0.9]
    fitted = c.fit("isotonic", labels, scores)
    # Three reals and the added fake are 1 in 4; two fakes and the added real 2 in 3. Level stretches keep their ends.
    assert fitted.x == (0.1, 0.3, 0.6, 0.9)
    assert fitted.y == pytest.approx((0.25, 0.25, 2 / 3, 2 / 3))
    labels, scores = overconfident(300)
    fitted = c.fit("isotonic", labels, scores)
    full = c.isotonic_regression(
        np.concatenate([scores, [scores.min(), scores.max()]]), np.concatenate([labels, [1, 0]])
    )
    np.testing.assert_allclose(fitted(full[0]), full[1], atol=1e-12)
    assert fitted(np.array([0.0, 1.0])).min() > 0 and fitted(np.array([0.0, 1.0])).max() < 1


def test_scaling_against_logistic_regression():
    labels, scores = overconfident(bias=0.7)
    logits = np.log(scores / (1 - scores))
    with_bias = LogisticRegression(C=np.inf, tol=1e-10).fit(logits[:, None], labels)
    fitted = c.fit_scaling(labels, scores)
    # Platt's smoothed targets move the fit by O(1 / n).
    np.testing.assert_allclose(1 / fitted.temperature, with_bias.coef_[0, 0], rtol=5e-3)
    np.testing.assert_allclose(fitted.bias, with_bias.intercept_[0], atol=5e-3)
    without = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(logits[:, None], labels)
    fitted = c.fit_scaling(labels, scores, bias=False)
    np.testing.assert_allclose(1 / fitted.temperature, without.coef_[0, 0], rtol=5e-3)
    assert fitted.bias == 0


@pytest.mark.parametrize("method", c.METHODS)
def test_every_method_repairs_calibration_on_other_data(method):
    calibrator = c.fit(method, *overconfident(seed=0))
    labels, scores = overconfident(seed=1)
    repaired = calibrator(scores)
    assert ece(labels, repaired) < ece(labels, scores) / 2
    assert auc(labels, repaired) == pytest.approx(auc(labels, scores), abs=0 if method != "isotonic" else 0.005)


def test_temperature_is_the_exaggeration():
    np.testing.assert_allclose(c.fit("temperature", *overconfident()).temperature, 2.5, rtol=0.15)


def test_a_missing_score_stays_missing():
    for calibrator in (c.Scaling(1.7, -0.3), c.Scaling(math.inf, 0.25), c.Isotonic((0.1, 0.5), (0.2, 1.0))):
        assert np.isnan(calibrator([0.2, math.nan])).tolist() == [False, True]


def test_scaling_survives_certainty_and_perfect_separation():
    scaling = c.fit_scaling([0, 0, 1, 1], [0.0, 0.0, 1.0, 1.0])
    assert np.isfinite([scaling.temperature, scaling.bias]).all()
    assert ((scaling([0.0, 1.0]) > 0) & (scaling([0.0, 1.0]) < 1)).all()


@pytest.mark.parametrize("method", c.METHODS)
def test_scores_that_rank_fakes_below_reals_say_the_share_of_fakes(method):
    labels, scores = [1] * 10 + [0] * 20, np.linspace(0.9, 0.1, 30)[::-1]
    calibrated = c.fit(method, labels, scores)(scores)
    np.testing.assert_allclose(calibrated, 11 / 32, atol=1e-12)


def test_the_choice_follows_the_shape_of_the_scores():
    people = np.arange(1500) % 30
    # Each clip has its mirror image, so that no offset helps and temperature and Platt are equal: the simpler one.
    labels, scores = overconfident(750)
    mirrored = np.concatenate([labels, 1 - labels]), np.concatenate([scores, 1 - scores])
    found = c.chosen(*mirrored, np.tile(people[:750], 2))
    assert found.method == "temperature" and tuple(found.losses) == c.METHODS
    assert found.losses["platt"] == pytest.approx(found.losses["temperature"])
    assert found.losses["temperature"] < found.losses["isotonic"]
    assert c.chosen(*overconfident(1500, bias=1.0, seed=3), people).method == "platt"
    # No scaling of the logit straightens scores that are certain in one half and blind in the other.
    rng = np.random.default_rng(0)
    scores = rng.random(1500)
    labels = (rng.random(1500) < np.where(scores < 0.5, 0.5, 0.98)).astype(int)
    found = c.chosen(labels, scores, people)
    assert found.method == "isotonic" and found.losses["isotonic"] < found.losses["platt"] - 0.02
    # Of few clips, isotonic regression would be a few steps.
    few = c.chosen(labels[:600], scores[:600], people[:600])
    assert few.method != "isotonic" and few.losses["isotonic"] < few.losses["platt"]


def test_the_choice_judges_people_by_calibrators_that_never_saw_them():
    labels, scores = overconfident(60)
    people = [("set", name) for name in "abc" * 20]  # as score tables name them
    found = c.chosen(labels, scores, people)
    calibrated = np.zeros(60)
    for person in range(3):
        mine = np.arange(60) % 3 == person
        calibrated[mine] = c.fit(found.method, labels[~mine], scores[~mine])(scores[mine])
    np.testing.assert_array_equal(found.held_out, calibrated)
    assert found.losses[found.method] == pytest.approx(log_loss(labels, calibrated))
    assert found.calibrator == c.fit(found.method, labels, scores)


@pytest.mark.parametrize(
    "calibrator",
    [c.Scaling(1.7, -0.3), c.Scaling(math.inf, 0.25), c.Isotonic((0.1, 0.5), (0.2, 1.0)), c.Isotonic((0.3,), (0.5,))],
)
def test_data_of_a_calibrator_restores_it_exactly(calibrator):
    data = json.loads(json.dumps(c.as_data(calibrator), allow_nan=False))
    assert c.from_data(data) == calibrator


SCALING = {"kind": "scaling", "temperature": 1.0, "bias": 0.0}
ISOTONIC = {"kind": "isotonic", "x": [0.1, 0.2], "y": [0.3, 0.4]}


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: c.fit("beta", [0, 1], [0.1, 0.2]), "'beta' is not one of temperature, platt, isotonic"),
        (lambda: c.fit("isotonic", [0, 0], [0.1, 0.2]), "2 real and 0 fake"),
        (lambda: c.fit_scaling([0, 0], [0.1, 0.2]), "2 real and 0 fake"),
        (lambda: c.fit_scaling([1, 1, 0, 0], [0.1, 0.2, 0.8, 0.9]), "do not score higher"),
        (lambda: c.fit("platt", [0, 1], [-0.1, 0.5]), r"\[0, 1\], found -0.1 to 0.5"),
        (lambda: c.chosen([0, 1], [0.1, 0.2], ["a"]), "one identity per score, found 1 for 2"),
        (lambda: c.chosen([0, 1], [0.1, 0.2], ["a", "a"]), "two identities or more on validation, found 1"),
        (lambda: c.chosen([0, 1, 0], [0.1, 0.2, 0.3], ["a", "b", "b"]), "two identities or more each"),
        (lambda: c.from_data([1]), "expected kind 'scaling' or 'isotonic', found None"),
        (lambda: c.from_data({"kind": ["x"]}), "expected kind 'scaling' or 'isotonic', found"),
        (lambda: c.from_data({**SCALING, "more": 1}), "expected bias, kind, temperature, found bias, kind, more"),
        (lambda: c.from_data({**SCALING, "temperature": 0}), "temperature: expected a number above 0 or null, found 0"),
        (lambda: c.from_data({**SCALING, "temperature": True}), "temperature: expected a number above 0"),
        (lambda: c.from_data({**SCALING, "bias": math.nan}), "bias: expected a number, found nan"),
        (lambda: c.from_data({**SCALING, "bias": "0"}), "bias: expected a number, found '0'"),
        (lambda: c.from_data({**ISOTONIC, "y": [0.4, 0.3]}), "y that do not fall"),
        (lambda: c.from_data({**ISOTONIC, "x": [0.1, 0.1]}), "x that increase"),
        (lambda: c.from_data({**ISOTONIC, "x": [0.1]}), "as many y as x"),
        (lambda: c.from_data({**ISOTONIC, "x": []}), r"x: expected a list of numbers in \[0, 1\]"),
        (lambda: c.from_data({**ISOTONIC, "y": [0.1, 2]}), r"y: expected a list of numbers in \[0, 1\]"),
    ],
)
def test_hostile_input_is_refused_in_one_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
