"""Grouped 1-D convolution: the positional embedding of wav2vec 2.0 and HuBERT."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax import cpu
from mmdf_jax.cpu.grouped_conv import grouped_conv1d as cpu_grouped_conv1d
from mmdf_jax.typing import Array, Dtype


def grouped_conv1d(x: Array, kernel: Array, groups: int) -> Array:
    """Convolution of x [b t c] with kernel [k c/groups d], zero-padded to the same length: [b t d].

    An even kernel looks one step further back than ahead.
    """
    if cpu.enabled():
        return cpu_grouped_conv1d(x, kernel, groups)
    k = kernel.shape[0]
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (1,),
        [(k // 2, (k - 1) // 2)],
        dimension_numbers=("NWC", "WIO", "NWC"),
        feature_group_count=groups,
    )


class GroupedConv1D(nn.Module):
    """`grouped_conv1d` with bias, to as many channels: [b t c] -> [b t c]."""

    kernel_size: int
    groups: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        c = x.shape[-1]
        if c % self.groups:
            raise ValueError(f"GroupedConv1D: {c} channels cannot be split into {self.groups} groups")
        kernel = self.param(
            "kernel", nn.initializers.he_normal(in_axis=(0, 1)), (self.kernel_size, c // self.groups, c)
        )
        bias = self.param("bias", nn.initializers.zeros, (c,))
        y = grouped_conv1d(x.astype(self.dtype), kernel.astype(self.dtype), self.groups)
        return y + bias.astype(self.dtype)
