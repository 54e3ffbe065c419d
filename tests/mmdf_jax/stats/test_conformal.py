"""Conformal thresholds by hand, and their error rates over many calibration sets."""

import math

import numpy as np
import pytest

from mmdf_jax.stats import conformal


def test_thresholds_by_hand():
    reals, fakes = np.arange(1, 10) / 20, np.arange(6, 15) / 20  # 0.05 … 0.45 and 0.30 … 0.70
    labels = np.repeat([0, 1], 9)
    low, high = conformal.thresholds(labels, [*reals, *fakes], 0.2)
    # ceil(10 * 0.8) = 8th of each: a new real exceeds 0.40, a new fake falls below 0.35, in one of five.
    assert low == math.nextafter(0.35, 0) and high == math.nextafter(0.40, 1)


def test_separated_classes_meet_half_way():
    low, high = conformal.thresholds([0] * 9 + [1] * 9, [0.1] * 9 + [0.7] * 9, 0.1)
    assert low < high == pytest.approx(0.4) and low == math.nextafter(high, 0)
    # The highest of ten reals is in doubt at this rate, and on neither side of a gap.
    low, high = conformal.thresholds([0] * 10 + [1] * 10, [*[0.1] * 9, 0.9, *[0.7] * 10], 0.1)
    assert low == math.nextafter(0.7, 0) and high == math.nextafter(0.9, 1)


@pytest.mark.parametrize("n, error, enough", [(9, 0.1, True), (8, 0.1, False), (99, 0.01, True), (98, 0.01, False)])
def test_too_few_clips_promise_nothing(n, error, enough):
    labels = np.repeat([0, 1], [n, 200])
    scores = np.concatenate([np.linspace(0, 0.6, n), np.linspace(0.4, 1, 200)])
    low, high = conformal.thresholds(labels, scores, error)
    assert (high < math.inf) == enough and low > -math.inf
    low, high = conformal.thresholds(1 - labels, 1 - scores, error)
    assert (low > -math.inf) == enough and high < math.inf


def test_no_clips_of_a_class_promise_nothing_on_its_side():
    assert conformal.thresholds([], [], 0.1) == (-math.inf, math.inf)
    low, high = conformal.thresholds([0] * 20, np.linspace(0, 1, 20), 0.1)
    assert low == -math.inf and high < 1


def error_rates(draw, people, error, grouped=False, sets=400, seed=0):
    """Share of new reals called fake, and of new fakes called real, one of each per calibration set."""
    rng = np.random.default_rng(seed)
    wrong = np.zeros(2)
    for _ in range(sets):
        labels, scores, groups = draw(rng, people)
        low, high = conformal.thresholds(labels, scores, error, groups if grouped else None)
        labels, scores, _ = draw(rng, 5)
        wrong += [np.mean(scores[labels == 0] >= high), np.mean(scores[labels == 1] <= low)]
    return wrong / sets


def independent(rng, people):
    labels = np.repeat([0, 1], people)
    return labels, rng.normal(size=2 * people) + labels, np.arange(2 * people)


def clustered(rng, people):
    """Twenty clips of each person, nearly alike, whose scores say nothing."""
    labels = np.tile(np.repeat([0, 1], 10), people)
    of_person = np.repeat(rng.normal(size=people), 20)
    return labels, of_person + 0.05 * rng.normal(size=20 * people), np.repeat(np.arange(people), 20)


def test_coverage_by_simulation():
    """At 12 clips a class the exact rates are floor(13 a) / 13."""
    np.testing.assert_allclose(error_rates(independent, 12, 0.2), 2 / 13, atol=0.04)


def test_clips_of_one_person_break_the_promise_and_people_keep_it():
    """Of four people, 0.7 of the clips end within the third's, whom two new people in five exceed."""
    np.testing.assert_allclose(error_rates(clustered, 4, 0.3), 2 / 5, atol=0.05)
    np.testing.assert_allclose(error_rates(clustered, 4, 0.3, grouped=True), 1 / 5, atol=0.05)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: conformal.thresholds([0, 1], [0.1, 0.2], 0), "error rate must lie between 0 and 1, found 0"),
        (lambda: conformal.thresholds([0, 1], [0.1, 0.2], math.nan), "error rate must lie between 0 and 1, found nan"),
        (lambda: conformal.thresholds([0, 1], [0.1, math.nan], 0.1), "scores must be finite, found nan at position 1"),
        (lambda: conformal.thresholds([0, 1], [0.1, 0.2], 0.1, ["a"]), "one identity per score, found 1 for 2"),
    ],
)
def test_hostile_input_is_refused_in_one_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
