"""Losses against torch and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from mmdf_jax import losses


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_binary_cross_entropy_equals_torch(smoothing):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=32).astype(np.float32) * 5
    labels = rng.integers(0, 2, 32)
    targets = labels * (1 - smoothing) + smoothing / 2
    expected = torch.nn.functional.binary_cross_entropy_with_logits(torch.tensor(logits), torch.tensor(targets).float())
    found = losses.binary_cross_entropy(
        jnp.asarray(logits), jnp.asarray(labels), jnp.ones(32, bool), smoothing=smoothing
    )
    np.testing.assert_allclose(found, expected.item(), rtol=1e-6)


def test_unknown_labels_and_masked_rows_do_not_count():
    logits = jnp.array([2.0, -1.0, 100.0, 100.0])
    labels = jnp.array([1, 0, -1, 0])
    mask = jnp.array([True, True, True, False])
    expected = losses.binary_cross_entropy(logits[:2], labels[:2], mask[:2])
    np.testing.assert_allclose(losses.binary_cross_entropy(logits, labels, mask), expected)


def test_nothing_to_average_is_zero_not_nan():
    assert losses.binary_cross_entropy(jnp.ones(2), jnp.array([-1, -1]), jnp.ones(2, bool)) == 0


def _unit(rng, *shape):
    x = rng.standard_normal(shape).astype(np.float32)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_time_matching_is_the_mean_cross_entropy_over_the_steps_that_count():
    rng = np.random.default_rng(0)
    x, y = _unit(rng, 3, 5, 4), _unit(rng, 3, 5, 4)
    valid = np.ones((3, 5), bool)
    valid[0, 3:] = False
    rows = np.array([True, False, True])
    total, count = 0.0, 0
    for i in (0, 2):
        n = valid[i].sum()
        logits = torch.tensor(7.0 * x[i, :n] @ y[i, :n].T)
        target = torch.arange(n)
        loss = torch.nn.functional.cross_entropy
        total += float(loss(logits, target, reduction="sum") + loss(logits.T, target, reduction="sum")) / 2
        count += n
    np.testing.assert_allclose(losses.time_matching(x, y, valid, rows, 7.0), total / count, rtol=1e-5)


def test_time_matching_is_the_log_of_the_choices_where_nothing_is_known():
    x = np.ones((2, 8, 4), np.float32) / 2
    assert np.isclose(losses.time_matching(x, x, np.ones((2, 8), bool), np.ones(2, bool), 10.0), np.log(8))
    assert losses.time_matching(x, x, np.ones((2, 8), bool), np.zeros(2, bool), 10.0) == 0


def test_pooled_matching_is_clips_loss_over_the_rows_that_count():
    rng = np.random.default_rng(1)
    x, y = _unit(rng, 6, 4), _unit(rng, 6, 4)
    rows = np.array([True, True, False, True, True, False])
    logits, target = torch.tensor(3.0 * x[rows] @ y[rows].T), torch.arange(4)
    loss = torch.nn.functional.cross_entropy
    wanted = float(loss(logits, target) + loss(logits.T, target)) / 2
    np.testing.assert_allclose(losses.pooled_matching(x, y, rows, 3.0), wanted, rtol=1e-5)
    changed = y.copy()
    changed[~rows] = -y[~rows]
    again = losses.pooled_matching(x, changed, rows, 3.0)
    np.testing.assert_array_equal(again, losses.pooled_matching(x, y, rows, 3.0))


def test_the_hinge_looks_at_known_mismatches_alone():
    cosines = np.array([[0.9, 0.5, -1.0], [0.1, 0.1, 0.1], [0.9, 0.9, 0.9]], np.float32)
    mismatched = np.array([[True, True, False], [True, True, True], [False] * 3])
    found = losses.mismatch_hinge(cosines, mismatched, 0.2)
    np.testing.assert_allclose(found, (0.7 - 0.2 + 0) / 2, rtol=1e-6)
    changed = np.where(mismatched, cosines, 0.3)
    np.testing.assert_array_equal(losses.mismatch_hinge(changed, mismatched, 0.2), found)
    assert losses.mismatch_hinge(cosines, np.zeros_like(mismatched), 0.2) == 0


def test_focal_loss_by_hand():
    logits, targets = jnp.array([[0.0, 2.0], [-1.0, 3.0]]), jnp.array([[1.0, 0.0], [0.0, 1.0]])
    known = jnp.array([[True, True], [True, False]])
    p = 1 / (1 + np.exp(-np.array(logits)))
    expected = 0.25 * (1 - p[0, 0]) ** 2 * -np.log(p[0, 0])
    expected += 0.75 * p[0, 1] ** 2 * -np.log(1 - p[0, 1]) + 0.75 * p[1, 0] ** 2 * -np.log(1 - p[1, 0])
    found = losses.focal(logits, targets, known, alpha=0.25, gamma=2.0)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    plain = losses.focal(logits, targets, known, alpha=0.5, gamma=0.0)
    crossed = optax.sigmoid_binary_cross_entropy(logits, targets)
    assert float(plain) == pytest.approx(float(jnp.where(known, crossed, 0).sum()) / 2, rel=1e-5)
    gradient = jax.grad(lambda x: losses.focal(x, targets, known))(jnp.array([[50.0, -50.0], [-50.0, 0.0]]))
    assert np.isfinite(gradient).all()


def test_interval_distance_by_hand():
    target = jnp.array([0.4, 0.6])
    assert float(losses.interval_distance(target, target)) == pytest.approx(0, abs=1e-6)
    # [-0.2, 0.2] in [-0.4, 0.6]: IoU 0.4, middles 0 and 0.1, the hull is 1 long.
    assert float(losses.interval_distance(jnp.array([0.2, 0.2]), target)) == pytest.approx(1 - 0.4 + 0.01, rel=1e-5)
    grow = jax.grad(lambda x: losses.interval_distance(x, target))(jnp.array([0.2, 0.2]))
    assert (np.array(grow) < 0).all()
    assert np.isfinite(jax.grad(lambda x: losses.interval_distance(x, x * 0))(jnp.zeros(2))).all()


def test_dice_by_hand():
    full, half, empty = jnp.ones((2, 2)), jnp.array([[1.0, 1.0], [0.0, 0.0]]), jnp.zeros((2, 2))
    found = losses.dice(jnp.stack([full, half, empty, empty]), jnp.stack([full, full, full, empty]))
    np.testing.assert_allclose(found, [0, 1 - 5 / 7, 1 - 1 / 5, 0], atol=1e-6)
