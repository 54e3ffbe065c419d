"""Normalisation layers against torch, linen and hand computation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from mmdf_jax.layers.norm import GroupNorm, Norm


@pytest.mark.parametrize("shape", [(2, 5, 16), (3, 4, 6, 5, 32), (1, 7, 3, 4)])
def test_group_norm_is_torchs(shape):
    x = np.random.default_rng(0).normal(2.0, 3.0, shape).astype(np.float32)
    c = shape[-1]
    variables = {"params": {"scale": jnp.linspace(0.5, 2, c), "bias": jnp.linspace(-1, 1, c)}}
    theirs = torch.nn.functional.group_norm(
        torch.from_numpy(np.moveaxis(x, -1, 1).copy()),
        max(c // 8, 1),
        torch.from_numpy(np.array(variables["params"]["scale"])),
        torch.from_numpy(np.array(variables["params"]["bias"])),
    )
    np.testing.assert_allclose(
        GroupNorm().apply(variables, x), np.moveaxis(theirs.numpy(), 1, -1), rtol=1e-4, atol=1e-5
    )


def test_masked_positions_do_not_count():
    x = np.random.default_rng(0).normal(size=(2, 6, 4, 16)).astype(np.float32)
    x[:, 4:] = 1e4
    mask = np.arange(6)[None, :, None] < 4
    variables = GroupNorm().init(jax.random.key(0), x)
    alone = GroupNorm().apply(variables, x[:, :4])
    np.testing.assert_allclose(GroupNorm().apply(variables, x, mask)[:, :4], alone, rtol=1e-5, atol=1e-6)


def test_batch_norm_uses_running_averages_in_evaluation_only():
    x = np.random.default_rng(0).normal(3.0, 2.0, (8, 5, 4)).astype(np.float32)
    norm = Norm("batch")
    variables = norm.init(jax.random.key(0), x, train=False)
    np.testing.assert_allclose(norm.apply(variables, x, train=False), x / np.sqrt(1 + 1e-5), rtol=1e-5)
    y, updated = norm.apply(variables, x, train=True, mutable="batch_stats")
    np.testing.assert_allclose(y.mean((0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(updated["batch_stats"]["norm"]["mean"], 0.1 * x.mean((0, 1)), rtol=1e-5)


def test_an_unknown_kind_is_an_error():
    with pytest.raises(ValueError, match="kind must be"):
        Norm("layer").init(jax.random.key(0), jnp.ones((1, 2, 3)), train=False)
