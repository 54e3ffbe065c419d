"""Convolutions of images and clips, without bias, zero-padded by half the (odd) kernel on each side."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax import cpu
from mmdf_jax.cpu.conv3d import conv3d as cpu_conv3d
from mmdf_jax.typing import Array, Dtype

Strides = tuple[int, int, int]


def conv2d(x: Array, kernel: Array, strides: tuple[int, int] = (1, 1)) -> Array:
    """x [b h w c], kernel [kh kw c d] -> [b ceil(h/sh) ceil(w/sw) d]."""
    if cpu.enabled():
        return cpu_conv3d(x[:, None], kernel[None], (1, *strides))[:, 0]
    return jax.lax.conv_general_dilated(
        x, kernel, strides, _half(kernel.shape[:2]), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def conv3d(x: Array, kernel: Array, strides: Strides = (1, 1, 1)) -> Array:
    """x [b t h w c], kernel [kt kh kw c d] -> [b ceil(t/st) ceil(h/sh) ceil(w/sw) d].

    A kernel of one frame is a 2-D convolution of every frame, one of a single position a convolution over time.
    """
    if cpu.enabled():
        return cpu_conv3d(x, kernel, strides)
    b, t, h, w, c = x.shape
    if kernel.shape[0] == strides[0] == 1:
        y = conv2d(x.reshape(b * t, h, w, c), kernel[0], strides[1:])
        return y.reshape(b, t, *y.shape[1:])
    if kernel.shape[1:3] == strides[1:] == (1, 1):
        y = conv2d(x.reshape(b, t, h * w, c), kernel[:, :, 0], (strides[0], 1))
        return y.reshape(b, -1, h, w, y.shape[-1])
    return jax.lax.conv_general_dilated(
        x, kernel, strides, _half(kernel.shape[:3]), dimension_numbers=("NDHWC", "DHWIO", "NDHWC")
    )


def _half(size: Sequence[int]) -> list[tuple[int, int]]:
    return [(k // 2, k // 2) for k in size]


class Conv3D(nn.Module):
    """Convolution of clips: [b t h w c] -> [b t' h' w' features]."""

    features: int
    kernel_size: tuple[int, int, int]
    strides: Strides = (1, 1, 1)
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if any(k % 2 == 0 for k in self.kernel_size):
            raise ValueError(f"Conv3D: kernel sizes must be odd, got {self.kernel_size}")
        shape = (*self.kernel_size, x.shape[-1], self.features)
        # He et al. 2015 on the fan-out, as torchvision initialises its video networks.
        kernel = self.param("kernel", nn.initializers.variance_scaling(2.0, "fan_out", "normal"), shape)
        return conv3d(x.astype(self.dtype), kernel.astype(self.dtype), self.strides)


class Conv2D(nn.Module):
    """Convolution of images: [b h w c] -> [b h' w' features]. Parameters are named and shaped as flax.linen.Conv's."""

    features: int
    kernel_size: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if any(k % 2 == 0 for k in self.kernel_size):
            raise ValueError(f"Conv2D: kernel sizes must be odd, got {self.kernel_size}")
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        return conv2d(x.astype(self.dtype), kernel.astype(self.dtype), self.strides)
