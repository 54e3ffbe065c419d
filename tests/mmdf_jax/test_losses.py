"""Losses against torch and by hand."""

import jax.numpy as jnp
import numpy as np
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
