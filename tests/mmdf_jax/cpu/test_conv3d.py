"""The CPU's forms of 3-D convolution against XLA's plain one, values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmdf_jax import cpu
from mmdf_jax.cpu import temporal_conv
from mmdf_jax.cpu.conv3d import conv3d
from mmdf_jax.cpu.winograd import conv3d_winograd
from mmdf_jax.layers.conv import Conv3D
from mmdf_jax.layers.conv import conv3d as layer


def xlas(x, kernel, strides=(1, 1, 1)):
    """One 3-D convolution."""
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        strides,
        [(k // 2, k // 2) for k in kernel.shape[:3]],
        dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
    )


CASES = [
    ((2, 5, 9, 8, 3), (3, 3, 3), 4, (1, 1, 1)),  # few channels
    ((2, 6, 9, 8, 4), (3, 3, 3), 6, (2, 2, 2)),
    ((1, 4, 10, 10, 3), (3, 7, 7), 4, (1, 2, 2)),
    ((2, 4, 7, 6, 4), (1, 3, 3), 5, (1, 2, 2)),
    ((2, 7, 6, 6, 4), (3, 1, 1), 5, (2, 1, 1)),
    ((1, 3, 64, 46, 3), (3, 7, 7), 33, (1, 2, 2)),  # the stem of a wide network
    ((2, 2, 47, 65, 5), (1, 3, 5), 40, (1, 2, 3)),
    ((1, 4, 32, 16, 16), (3, 3, 3), 4, (2, 2, 2)),  # one convolution per tap in time
    ((2, 5, 6, 6, 17), (3, 3, 3), 5, (1, 1, 1)),
    ((1, 4, 32, 16, 64), (3, 3, 3), 4, (2, 2, 2)),  # many channels and strides
    ((2, 5, 6, 6, 64), (3, 3, 3), 5, (1, 2, 2)),
    ((1, 4, 9, 7, 64), (3, 1, 1), 5, (2, 1, 1)),
    ((2, 3, 16, 32, 32), (3, 3, 3), 5, (1, 1, 1)),  # Winograd's products
    ((1, 2, 24, 30, 32), (3, 3, 3), 6, (1, 1, 1)),  # the same, the width no multiple of the tile
    ((1, 2, 32, 16, 33), (1, 5, 3), 4, (1, 1, 1)),
    ((3, 2, 14, 14, 64), (1, 3, 3), 5, (1, 1, 1)),  # frames joined
    ((2, 3, 32, 16, 32), (3, 3, 1), 4, (1, 1, 1)),  # frame by frame
    ((2, 4, 16, 33, 32), (3, 1, 1), 4, (1, 1, 1)),  # time alone
    ((1, 3, 6, 5, 32), (5, 1, 1), 20, (1, 1, 1)),
    ((1, 4, 9, 9, 16), (1, 1, 1), 5, (2, 2, 2)),  # one position
    ((2, 5, 7, 6, 4), (1, 1, 1), 5, (2, 2, 2)),
    ((2, 4, 2, 2, 8), (3, 3, 3), 8, (1, 1, 1)),  # few positions
    ((1, 4, 4, 4, 8), (3, 3, 3), 8, (1, 2, 2)),
    ((1, 2, 9, 9, 4), (3, 3, 3), 256, (1, 2, 2)),  # more of them, many features
    ((1, 1, 2, 1, 4), (3, 3, 3), 8, (2, 2, 2)),  # smaller than the kernel
]


@pytest.mark.parametrize(("shape", "size", "features", "strides"), CASES)
def test_value_and_gradients_are_those_of_the_plain_convolution(shape, size, features, strides):
    rng = np.random.default_rng(0)
    x, kernel = (rng.standard_normal(s, np.float32) for s in (shape, (*size, shape[-1], features)))
    cotangent = rng.standard_normal(jax.eval_shape(lambda: xlas(x, kernel, strides)).shape, np.float32)

    def value_and_gradients(conv):
        def both(x, kernel):
            value, pull = jax.vjp(lambda x, kernel: conv(x, kernel, strides), x, kernel)
            return value, *pull(cotangent)

        return jax.jit(both)(x, kernel)

    expected, found = value_and_gradients(xlas), value_and_gradients(conv3d)
    with cpu.forms(False):
        plain = layer(x, kernel, strides)  # one with fewer axes where the kernel has fewer
    np.testing.assert_allclose(plain, expected[0], rtol=1e-4, atol=1e-5 * np.abs(expected[0]).max())
    for ours, plain in zip(found, expected, strict=True):
        assert ours.shape == plain.shape
        np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-5 * np.abs(plain).max())


def test_convolution_over_time_in_several_blocks(monkeypatch):
    monkeypatch.setattr(temporal_conv, "_BLOCK", 1500)  # two rows of six
    test_value_and_gradients_are_those_of_the_plain_convolution((2, 4, 6, 5, 32), (3, 1, 1), 12, (1, 1, 1))


@pytest.mark.parametrize(("size", "width"), [((3, 3, 3), 32), ((1, 3, 3), 30), ((3, 5, 3), 33)])
def test_winograds_arithmetic_is_exact(size, width):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        x, kernel = jnp.asarray(rng.normal(size=(1, 3, 16, width, 4))), jnp.asarray(rng.normal(size=(*size, 4, 5)))
        expected, pull_plain = jax.vjp(lambda x: xlas(x, kernel), x)
        value, pull = jax.vjp(jax.jit(lambda x: conv3d_winograd(x, kernel)), x)
        np.testing.assert_allclose(value, expected, atol=1e-12)
        np.testing.assert_allclose(pull(expected)[0], pull_plain(expected)[0], atol=1e-10)


def test_half_precision_is_as_exact_as_the_plain_convolution():
    rng = np.random.default_rng(0)
    x, kernel = rng.standard_normal((1, 3, 24, 24, 32), np.float32), rng.standard_normal((3, 3, 3, 32, 8), np.float32)
    expected = np.asarray(xlas(x, kernel))
    half = np.asarray(conv3d(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)), np.float32)
    assert np.linalg.norm(half - expected) < 5e-3 * np.linalg.norm(expected)


def test_bfloat16_stays_bfloat16_with_fp32_parameters():
    layer = Conv3D(4, (3, 3, 3), dtype=jnp.bfloat16)
    y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((1, 2, 6, 6, 3)))
    assert y.dtype == jnp.bfloat16
    assert variables["params"]["kernel"].dtype == jnp.float32
    grads = jax.grad(lambda v: layer.apply(v, jnp.ones((1, 2, 6, 6, 3))).astype(jnp.float32).sum())(variables)
    assert grads["params"]["kernel"].dtype == jnp.float32


def test_even_kernels_are_refused():
    with pytest.raises(ValueError, match="must be odd"):
        Conv3D(4, (2, 3, 3)).init(jax.random.key(0), jnp.ones((1, 2, 6, 6, 3)))
