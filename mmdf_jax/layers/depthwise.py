"""Depthwise convolution that is fast on every backend.

XLA's CPU lowering of the plain form is tens of times slower than it need be, forward and backward. The mathematics
is the same on every platform; the form is chosen when the computation is lowered for one.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax.typing import Array, Dtype

Padding = tuple[tuple[int, int], tuple[int, int]]


def depthwise_conv(x: Array, kernel: Array, stride: int, padding: Padding) -> Array:
    """The plain form: x [b h w c], kernel [p q 1 c]."""
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


class DepthwiseConv(nn.Module):
    """One p x p filter per channel: [b h w c] -> [b h' w' c]."""

    size: int
    stride: int = 1
    padding: Sequence[tuple[int, int]] | None = None
    use_bias: bool = True
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        c = x.shape[-1]
        half = self.size // 2
        padding = tuple(map(tuple, self.padding or ((half, half), (half, half))))
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (self.size, self.size, 1, c))
        x = depthwise_conv(x.astype(self.dtype), kernel.astype(self.dtype), self.stride, padding)
        if self.use_bias:
            x = x + self.param("bias", nn.initializers.zeros, (c,)).astype(self.dtype)
        return x
