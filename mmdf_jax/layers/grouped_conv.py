"""Grouped 1-D convolution whose gradients are fast on a CPU: the positional embedding of wav2vec 2.0 and HuBERT."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax.typing import Array, Dtype


def _convolve(x: Array, kernel: Array, groups: int, left: int, right: int) -> Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (1,), [(left, right)], dimension_numbers=("NWC", "WIO", "NWC"), feature_group_count=groups
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def grouped_conv1d(x: Array, kernel: Array, groups: int) -> Array:
    """Convolution of x [b t c] with kernel [k c/groups d], zero-padded to the same length: [b t d].

    An even kernel looks one step further back than ahead. On a CPU both gradients are again grouped convolutions of
    the forward kind, which XLA does as fast as torch; its own transposes of a wide kernel are 14 times slower.
    """
    k = kernel.shape[0]
    return _convolve(x, kernel, groups, k // 2, (k - 1) // 2)


def _forward(x: Array, kernel: Array, groups: int) -> tuple[Array, tuple[Array, Array]]:
    return grouped_conv1d(x, kernel, groups), (x, kernel)


def _backward(groups: int, saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    def as_convolutions(x: Array, kernel: Array, g: Array) -> tuple[Array, Array]:
        k, c, d = kernel.shape
        flipped = kernel[::-1].reshape(k, c, groups, d // groups).transpose(0, 3, 2, 1).reshape(k, -1, groups * c)
        dx = _convolve(g, flipped, groups, (k - 1) // 2, k // 2)
        # For the kernel time is the window to sum over, a group's channels are the batch, the batch the channels.
        b, t, _ = x.shape
        swapped = x.reshape(b, t, groups, c).transpose(3, 1, 2, 0).reshape(c, t, groups * b)
        dk = _convolve(swapped, g.transpose(1, 0, 2), groups, k // 2, (k - 1) // 2)
        return dx, dk.transpose(1, 0, 2)

    def plain(x: Array, kernel: Array, g: Array) -> tuple[Array, Array]:
        k = kernel.shape[0]
        return jax.vjp(lambda x, kernel: _convolve(x, kernel, groups, k // 2, (k - 1) // 2), x, kernel)[1](g)

    return jax.lax.platform_dependent(*saved, g, cpu=as_convolutions, default=plain)


grouped_conv1d.defvjp(_forward, _backward)


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
