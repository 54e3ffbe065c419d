"""Calibration errors by hand, and scaling against scikit-learn's logistic regression."""

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from mmdf_jax.metrics import calibration as c
from mmdf_jax.metrics import calibrators
from mmdf_jax.metrics.classification import auc


def overconfident(n=4000, temperature=2.5, bias=0.0, seed=0):
    """Labels drawn from the true probabilities, and the scores of a detector that exaggerates them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=n) * 1.5
    labels = (rng.random(n) < 1 / (1 + np.exp(-logits))).astype(int)
    return labels, 1 / (1 + np.exp(-temperature * (logits - bias)))


def test_ece_by_hand():
    scores = [0.1, 0.1, 0.9, 0.9, 1.0]
    labels = [0, 1, 1, 1, 1]
    # Bins of 0.1 hold {0.1, 0.1} (mean 0.1, half fake) and {0.9, 0.9, 1.0} (mean 2.8 / 3, all fake).
    np.testing.assert_allclose(c.ece(labels, scores, bins=10), (0.8 + 0.2) / 5)


def test_ece_of_equal_mass_by_hand():
    labels, scores = [0, 1, 1, 1], [0.1, 0.2, 0.6, 0.8]
    np.testing.assert_allclose(c.ece_equal_mass(labels, scores, bins=2), (0.7 + 0.6) / 4)
    # Every score tied: one bin, whatever their number.
    np.testing.assert_allclose(c.ece_equal_mass([0, 1, 1, 1], [0.5] * 4), 0.25)


@pytest.mark.parametrize("error", [c.ece, c.ece_equal_mass])
def test_error_is_small_for_true_probabilities_and_large_for_exaggerated_ones(error):
    assert error(*overconfident(20000, temperature=1.0)) < 0.02
    assert error(*overconfident(20000)) > 0.08


def test_ece_against_a_plain_loop():
    labels, scores = overconfident(500)
    expected = 0.0
    for k in range(15):
        inside = (scores >= k / 15) & ((scores < (k + 1) / 15) | (k == 14))
        if inside.any():
            expected += inside.mean() * abs(labels[inside].mean() - scores[inside].mean())
    np.testing.assert_allclose(c.ece(labels, scores), expected)


def test_brier_against_sklearn():
    labels, scores = overconfident(500)
    np.testing.assert_allclose(c.brier(labels, scores), brier_score_loss(labels, scores))


def test_scaling_against_logistic_regression():
    labels, scores = overconfident(bias=0.7)
    logits = np.log(scores / (1 - scores))
    with_bias = LogisticRegression(C=np.inf, tol=1e-10).fit(logits[:, None], labels)
    fitted = calibrators.fit_scaling(labels, scores)
    # Platt's smoothed targets move the fit by O(1 / n).
    np.testing.assert_allclose(1 / fitted.temperature, with_bias.coef_[0, 0], rtol=5e-3)
    np.testing.assert_allclose(fitted.bias, with_bias.intercept_[0], atol=5e-3)
    without = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(logits[:, None], labels)
    fitted = calibrators.fit_scaling(labels, scores, bias=False)
    np.testing.assert_allclose(1 / fitted.temperature, without.coef_[0, 0], rtol=5e-3)
    assert fitted.bias == 0


def test_scaling_repairs_calibration_on_other_data_and_keeps_the_order():
    scaling = calibrators.fit_scaling(*overconfident(seed=0))
    labels, scores = overconfident(seed=1)
    repaired = scaling(scores)
    np.testing.assert_allclose(scaling.temperature, 2.5, rtol=0.15)
    assert c.ece(labels, repaired) < c.ece(labels, scores) / 2
    assert auc(labels, repaired) == auc(labels, scores)


def test_scaling_survives_certainty_and_perfect_separation():
    scaling = calibrators.fit_scaling([0, 0, 1, 1], [0.0, 0.0, 1.0, 1.0])
    assert np.isfinite([scaling.temperature, scaling.bias]).all()
    assert ((scaling([0.0, 1.0]) > 0) & (scaling([0.0, 1.0]) < 1)).all()


def test_undefined_and_bad_input():
    assert all(math.isnan(error([], [])) for error in (c.ece, c.ece_equal_mass, c.brier))
    for error in (c.ece, c.ece_equal_mass, c.brier, calibrators.fit_scaling):
        with pytest.raises(ValueError, match=r"\[0, 1\], found -0.1 to 0.5"):
            error([0, 1], [-0.1, 0.5])
    with pytest.raises(ValueError, match="2 real and 0 fake"):
        calibrators.fit_scaling([0, 0], [0.1, 0.2])
    with pytest.raises(ValueError, match="do not score higher"):
        calibrators.fit_scaling([1, 1, 1, 0, 0, 0] * 10, [0.1, 0.2, 0.3, 0.7, 0.8, 0.9] * 10)
