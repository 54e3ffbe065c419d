"""The fast depthwise convolution against the plain one: value, both gradients, second use under remat and vmap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmdf_jax import cpu
from mmdf_jax.cpu.depthwise import depthwise_conv
from mmdf_jax.layers import depthwise
from mmdf_jax.layers.depthwise import DepthwiseConv

plain = cpu.forms(False)(depthwise.depthwise_conv)

CASES = [
    # size, stride, padding, image
    (7, 1, ((3, 3), (3, 3)), (9, 40)),  # wider than a chunk
    (3, 2, ((0, 1), (0, 1)), (8, 6)),
    (5, 2, ((1, 2), (1, 2)), (9, 70)),
    (3, 1, ((0, 0), (2, 0)), (5, 4)),
    (2, 3, ((0, 0), (1, 0)), (7, 5)),  # a stride beyond the kernel: some pixels are never seen
    (3, 2, ((4, 0), (0, 0)), (5, 7)),  # more padding than kernel
]


@pytest.mark.parametrize(("size", "stride", "padding", "image"), CASES)
def test_equals_the_plain_convolution(size, stride, padding, image):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, *image, 3), np.float32)
    kernel = rng.standard_normal((size, size, 1, 3), np.float32)

    def value_and_gradients(conv, x, kernel):
        y, pull = jax.vjp(lambda x, kernel: conv(x, kernel, stride, padding), x, kernel)
        g = np.random.default_rng(1).standard_normal(y.shape, np.float32)
        return y, *pull(jnp.asarray(g))

    found = jax.jit(lambda x, k: value_and_gradients(depthwise_conv, x, k))(x, kernel)
    expected = jax.jit(lambda x, k: value_and_gradients(plain, x, k))(x, kernel)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5 * float(jnp.abs(theirs).max()))


def test_bfloat16_sums_in_fp32():
    rng = np.random.default_rng(0)
    x, kernel = jnp.asarray(rng.random((1, 9, 9, 4)), jnp.bfloat16), jnp.asarray(rng.random((7, 7, 1, 4)), jnp.bfloat16)
    y = depthwise_conv(x, kernel, 1, ((0, 0), (0, 0)))
    exact = plain(x.astype(jnp.float32), kernel.astype(jnp.float32), 1, ((0, 0), (0, 0)))
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.asarray(y, np.float32), np.asarray(exact.astype(jnp.bfloat16), np.float32))


def test_module_under_remat_and_vmap():
    import flax.linen as nn

    x = np.random.default_rng(0).standard_normal((2, 3, 6, 6, 5), np.float32)
    module = DepthwiseConv(3)
    params = module.init(jax.random.key(0), x[0])
    kernel = params["params"]["kernel"]
    expected = jax.vmap(lambda x: plain(x, kernel, 1, ((1, 1), (1, 1))))(x)
    found = jax.vmap(lambda x: nn.remat(DepthwiseConv)(3).apply(params, x))(x)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    gradient = jax.grad(lambda p: jax.vmap(lambda x: nn.remat(DepthwiseConv)(3).apply(p, x))(x).sum())(params)
    np.testing.assert_allclose(gradient["params"]["bias"], np.full(5, x[..., 0].size), rtol=1e-6)
