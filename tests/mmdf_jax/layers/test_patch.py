"""Patch embedding and position interpolation against the plain convolution and torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from mmdf_jax import cpu
from mmdf_jax.layers import patch
from mmdf_jax.layers.pixels import normalize


def test_matmul_equals_convolution_and_torch():
    rng = np.random.default_rng(0)
    x, kernel = rng.standard_normal((2, 9, 13, 3), np.float32), rng.standard_normal((4, 4, 3, 5), np.float32)
    expected = torch.nn.functional.conv2d(
        torch.tensor(x).permute(0, 3, 1, 2), torch.tensor(kernel).permute(3, 2, 0, 1), stride=4
    ).permute(0, 2, 3, 1)
    forms = [cpu.forms(form)(patch.patchify) for form in (False, True)]
    for form in forms:
        np.testing.assert_allclose(form(x, kernel), expected, atol=1e-4)
    gradients = [
        jax.jit(jax.grad(lambda x, k, form=form: jnp.square(form(x, k)).sum(), argnums=(0, 1)))(x, kernel)
        for form in forms
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3), *gradients)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("size", [(7, 7), (3, 20), (16, 5), (1, 37)])
def test_positions_are_resampled_as_torch_does(size, antialias):
    grid = np.random.default_rng(0).standard_normal((7, 7, 4), np.float32)
    expected = torch.nn.functional.interpolate(
        torch.tensor(grid).permute(2, 0, 1)[None], size, mode="bicubic", align_corners=False, antialias=antialias
    )[0].permute(1, 2, 0)
    np.testing.assert_allclose(patch.resize_grid(grid, size, antialias=antialias), expected, atol=2e-6)


def test_normalize():
    x = np.random.default_rng(0).integers(0, 256, (2, 3, 3), np.uint8)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
    expected = (x / 255 - mean) / std
    np.testing.assert_allclose(normalize(x, mean, std), expected, atol=1e-6)
    np.testing.assert_allclose(normalize((x / 255).astype(np.float32), mean, std), expected, atol=1e-6)
    assert normalize(x, mean, std, jnp.bfloat16).dtype == jnp.bfloat16
    with pytest.raises(ValueError, match="3 channels, mean 1 and std 1"):
        normalize(x, (0.5,), (0.5,))
    with pytest.raises(ValueError, match="expected uint8 or float pixels"):
        normalize(x.astype(np.int32), mean, std)
