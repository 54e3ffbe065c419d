"""Depthwise convolution: every channel has its own filter."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax import cpu
from mmdf_jax.cpu.depthwise import depthwise_conv as cpu_depthwise_conv
from mmdf_jax.typing import Array, Dtype

Padding = tuple[tuple[int, int], tuple[int, int]]


def depthwise_conv(x: Array, kernel: Array, stride: int, padding: Padding) -> Array:
    """x [b h w c], kernel [p q 1 c], zeros before and after rows and columns (negative numbers crop): [b h' w' c]."""
    if cpu.enabled():
        return cpu_depthwise_conv(x, kernel, stride, padding)
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


class DepthwiseConv(nn.Module):
    """One size x size filter per channel: [b h w c] -> [b h' w' c]. `padding` of None is size // 2 all round."""

    size: int
    stride: int = 1
    padding: Sequence[tuple[int, int]] | None = None
    use_bias: bool = True
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        c = x.shape[-1]
        padding = tuple((low, high) for low, high in self.padding or ((self.size // 2,) * 2,) * 2)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (self.size, self.size, 1, c))
        x = depthwise_conv(x.astype(self.dtype), kernel.astype(self.dtype), self.stride, padding)
        if self.use_bias:
            x = x + self.param("bias", nn.initializers.zeros, (c,)).astype(self.dtype)
        return x
