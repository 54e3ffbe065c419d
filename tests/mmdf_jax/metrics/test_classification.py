"""Classification metrics against scikit-learn, brute force and their own invariants."""

import itertools
import math

import numpy as np
import pytest
from sklearn import metrics as reference

from mmdf_jax.metrics import classification as c


def cases():
    rng = np.random.default_rng(0)
    for n, digits in itertools.product((2, 3, 10, 200), (1, 2, 12)):
        labels = rng.integers(0, 2, n)
        labels[:2] = 0, 1
        yield labels, np.round(0.3 * labels + 0.7 * rng.random(n), digits)


@pytest.mark.parametrize("labels, scores", list(cases()))
def test_against_sklearn(labels, scores):
    np.testing.assert_allclose(c.auc(labels, scores), reference.roc_auc_score(labels, scores))
    np.testing.assert_allclose(c.average_precision(labels, scores), reference.average_precision_score(labels, scores))
    fpr, tpr, thresholds = reference.roc_curve(labels, scores, drop_intermediate=False)
    roc = c.roc_curve(labels, scores)
    np.testing.assert_allclose(roc.fpr, fpr)
    np.testing.assert_allclose(roc.tpr, tpr)
    np.testing.assert_allclose(roc.thresholds, thresholds)

    threshold = float(np.median(scores))
    counts = c.confusion(labels, scores, threshold)
    verdicts = (scores >= threshold).astype(int)
    tn, fp, fn, tp = reference.confusion_matrix(labels, verdicts, labels=[0, 1]).ravel()
    assert counts == c.Confusion(tp=tp, fp=fp, tn=tn, fn=fn)
    np.testing.assert_allclose(counts.accuracy, reference.accuracy_score(labels, verdicts))
    np.testing.assert_allclose(counts.precision, reference.precision_score(labels, verdicts))
    np.testing.assert_allclose(counts.recall, reference.recall_score(labels, verdicts))
    np.testing.assert_allclose(counts.f1, reference.f1_score(labels, verdicts))
    np.testing.assert_allclose(counts.balanced_accuracy, reference.balanced_accuracy_score(labels, verdicts))


@pytest.mark.parametrize("labels, scores", list(cases()))
def test_auc_is_the_share_of_pairs_ranked_right(labels, scores):
    pairs = list(itertools.product(scores[labels == 1], scores[labels == 0]))
    np.testing.assert_allclose(c.auc(labels, scores), np.mean([(a > b) + (a == b) / 2 for a, b in pairs]))


@pytest.mark.parametrize("labels, scores", list(cases()))
def test_auc_is_invariant_to_increasing_maps_and_antisymmetric(labels, scores):
    value = c.auc(labels, scores)
    assert c.auc(labels, np.exp(3 * scores) - 7) == value
    np.testing.assert_allclose(c.auc(labels, -scores), 1 - value)
    np.testing.assert_allclose(c.auc(1 - labels, scores), 1 - value)


def test_auc_of_scores_differs_from_auc_of_hard_labels():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 500)
    scores = labels + rng.normal(size=500)
    hard = (scores > 0.5).astype(float)
    assert c.auc(labels, scores) > c.auc(labels, hard) + 0.03
    np.testing.assert_allclose(c.auc(labels, hard), c.confusion(labels, scores, 0.5).balanced_accuracy)


def test_order_of_rows_does_not_matter():
    rng = np.random.default_rng(2)
    labels, scores = rng.integers(0, 2, 100), np.round(rng.random(100), 1)
    order = rng.permutation(100)
    for metric in (c.auc, c.eer, c.average_precision, c.threshold_for):
        assert metric(labels, scores) == metric(labels[order], scores[order])


def test_eer_of_two_gaussians_has_its_closed_form():
    from scipy.stats import norm

    z = norm.ppf((np.arange(20000) + 0.5) / 20000)
    scores = np.concatenate([z, z + 2])
    labels = np.repeat([0, 1], 20000)
    np.testing.assert_allclose(c.eer(labels, scores), norm.cdf(-1), atol=1e-4)
    np.testing.assert_allclose(c.threshold_for(labels, scores), 1, atol=1e-3)
    np.testing.assert_allclose(c.threshold_for(labels, scores, "balanced_accuracy"), 1, atol=2e-2)


@pytest.mark.parametrize(
    "labels, scores, expected",
    [
        ([0, 1], [0.1, 0.9], 0.0),
        ([0, 1], [0.9, 0.1], 1.0),
        ([0, 1, 0, 1], [0.5, 0.5, 0.5, 0.5], 0.5),
        ([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9], 0.5),
        # One real, then (1, 2) tied, then: crossing inside the tie's slanted segment.
        ([0, 0, 0, 1, 1], [0.1, 0.2, 0.5, 0.5, 0.9], 0.2),
    ],
)
def test_eer_by_hand(labels, scores, expected):
    np.testing.assert_allclose(c.eer(labels, scores), expected)


@pytest.mark.parametrize("labels, scores", list(cases()))
def test_eer_lies_on_the_interpolated_curve(labels, scores):
    from scipy.optimize import brentq

    fpr, tpr, _ = reference.roc_curve(labels, scores, drop_intermediate=False)
    # Along the curve, parametrised by arc position, since at one fpr there may be many tpr.
    position = np.arange(len(fpr))
    gap = lambda x: 1 - np.interp(x, position, tpr) - np.interp(x, position, fpr)  # noqa: E731
    root = brentq(gap, 0, len(fpr) - 1)
    np.testing.assert_allclose(c.eer(labels, scores), np.interp(root, position, fpr), atol=1e-9)


@pytest.mark.parametrize("labels, scores", list(cases()))
@pytest.mark.parametrize("rule", ["eer", "balanced_accuracy"])
def test_threshold_is_the_best_there_is(labels, scores, rule):
    def cost(threshold):
        counts = c.confusion(labels, scores, threshold)
        fpr, fnr = 1 - counts.specificity, 1 - counts.recall
        return (abs(fnr - fpr), fnr + fpr) if rule == "eer" else (fnr + fpr, abs(fnr - fpr))

    best = min(tuple(np.round(cost(t), 9)) for t in np.unique(scores))
    chosen = c.threshold_for(labels, scores, rule)
    assert tuple(np.round(cost(chosen), 9)) == best


def test_threshold_lies_half_way_in_the_gap():
    np.testing.assert_allclose(c.threshold_for([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]), 0.5)
    neighbours = [1.0, np.nextafter(1.0, 2.0)]
    assert c.confusion([0, 1], neighbours, c.threshold_for([0, 1], neighbours)).accuracy == 1


@pytest.mark.parametrize("labels", [[], [0, 0], [1, 1]])
def test_undefined_is_nan(labels):
    scores = [0.2, 0.7][: len(labels)]
    assert math.isnan(c.auc(labels, scores))
    assert math.isnan(c.eer(labels, scores))
    assert math.isnan(c.threshold_for(labels, scores))
    if not any(labels):
        assert math.isnan(c.average_precision(labels, scores))
        counts = c.confusion(labels, scores, 0.9)
        assert math.isnan(counts.precision) and math.isnan(counts.recall) and math.isnan(counts.f1)


@pytest.mark.parametrize(
    "labels, scores, message",
    [
        ([0, 1], [0.1], "one length"),
        ([[0, 1]], [[0.1, 0.2]], "one length"),
        ([0, 1], [0.1, np.nan], "finite, found nan at position 1"),
        ([0, 1], [np.inf, 0.1], "finite, found inf at position 0"),
        ([0, 2], [0.1, 0.2], "0 .real. or 1 .fake., found 2 at position 1"),
        ([0, -1], [0.1, 0.2], "found -1"),
        ([0, 0.5], [0.1, 0.2], "found 0.5"),
        (["real", "fake"], [0.1, 0.2], "found real"),
    ],
)
@pytest.mark.parametrize("metric", [c.auc, c.eer, c.average_precision, c.roc_curve, c.threshold_for])
def test_bad_input_is_refused(metric, labels, scores, message):
    with pytest.raises(ValueError, match=message):
        metric(labels, scores)


def test_threshold_must_be_a_number_and_rule_known():
    with pytest.raises(ValueError, match="threshold"):
        c.confusion([0, 1], [0.1, 0.2], float("nan"))
    with pytest.raises(ValueError, match="rule"):
        c.threshold_for([0, 1], [0.1, 0.2], "youden")
