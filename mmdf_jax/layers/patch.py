"""Patch embedding, and position embeddings carried over to another image size."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmdf_jax import cpu
from mmdf_jax.cpu.patch import patchify_matmul
from mmdf_jax.typing import Array, Dtype


def patchify(x: Array, kernel: Array) -> Array:
    """A convolution whose stride is its kernel's size: x [b h w c], kernel [p q c d] -> [b h//p w//q d].

    Rows and columns beyond the last full patch are left out.
    """
    if cpu.enabled():
        return patchify_matmul(x, kernel)
    return jax.lax.conv_general_dilated(
        x, kernel, kernel.shape[:2], "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


class PatchEmbed(nn.Module):
    """Non-overlapping patches to features: [b h w c] -> [b h//patch w//patch features]."""

    features: int
    patch: int
    use_bias: bool = True
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if min(x.shape[1:3]) < self.patch:
            raise ValueError(f"PatchEmbed: image {x.shape[1:3]} is smaller than one patch of {self.patch}")
        kernel = self.param(
            "kernel", nn.initializers.lecun_normal(), (self.patch, self.patch, x.shape[-1], self.features)
        )
        x = patchify(x.astype(self.dtype), kernel.astype(self.dtype))
        if self.use_bias:
            x = x + self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        return x


def cubic_matrix(old: int, new: int, *, antialias: bool) -> np.ndarray:
    """[new old] float32 weights that resample `old` points to `new` by cubic convolution (Keys 1981).

    Follows torch.nn.functional.interpolate(mode='bicubic', align_corners=False): plain, a = -0.75 with the border
    repeated; with `antialias`, a = -0.5, the kernel widened when shrinking and renormalised at the border.
    """
    a = -0.5 if antialias else -0.75
    scale = old / new
    width = max(scale, 1.0) if antialias else 1.0
    centre = (np.arange(new) + 0.5) * scale - 0.5
    taps = np.floor(centre)[:, None] + np.arange(np.floor(-2 * width), np.ceil(2 * width) + 2)
    t = np.abs(taps - centre[:, None]) / width
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((t - 5) * t + 8) * t * a - 4 * a
    weights = np.where(t < 1, near, np.where(t < 2, far, 0.0))
    if antialias:
        weights = np.where((taps >= 0) & (taps < old), weights, 0.0)
        weights /= weights.sum(1, keepdims=True)
    matrix = np.zeros((new, old))
    rows = np.broadcast_to(np.arange(new)[:, None], taps.shape)
    np.add.at(matrix, (rows, np.clip(taps, 0, old - 1).astype(int)), weights)
    return matrix.astype(np.float32)


def resize_grid(grid: Array, size: tuple[int, int], *, antialias: bool = False) -> Array:
    """Position embeddings [h w d] resampled bicubically, in fp32, to [size[0] size[1] d]."""
    if grid.shape[:2] == tuple(size):
        return grid
    rows, columns = (cubic_matrix(old, new, antialias=antialias) for old, new in zip(grid.shape, size, strict=False))
    return jnp.einsum("yh,xw,hwd->yxd", rows, columns, grid, precision="highest")
