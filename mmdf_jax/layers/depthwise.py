"""Depthwise convolution that is fast on every backend.

XLA's CPU lowering of the plain form is tens of times slower than it need be, forward and backward. On a CPU the same
sums are written as elementwise loops over shifted slices, which LLVM vectorises over the channels; elsewhere the plain
convolution stays. The form is chosen when the computation is lowered for a platform.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax.typing import Array, Dtype

Padding = tuple[tuple[int, int], tuple[int, int]]

# Numbers per image from which one image at a time is the faster on a CPU: of all at once XLA would write a shifted copy
# per tap to memory.
_LARGE = 2**17


def plain(x: Array, kernel: Array, stride: int, padding: Padding) -> Array:
    """The definition: x [b h w c], kernel [p q 1 c] -> [b h' w' c]."""
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def depthwise_conv(x: Array, kernel: Array, stride: int, padding: Padding) -> Array:
    """The same as `plain`, in the form that suits the platform."""

    def slices(x: Array, kernel: Array) -> Array:
        return _correlate(_pad(x, padding), kernel, stride).astype(x.dtype)

    def one_by_one(x: Array, kernel: Array) -> Array:
        return jax.lax.map(lambda image: slices(image[None], kernel)[0], x)

    return jax.lax.platform_dependent(
        x,
        kernel,
        cpu=one_by_one if x[0].size >= _LARGE else slices,
        default=lambda x, kernel: plain(x, kernel, stride, padding),
    )


def _forward(x: Array, kernel: Array, stride: int, padding: Padding) -> tuple[Array, tuple[Array, Array]]:
    return depthwise_conv(x, kernel, stride, padding), (x, kernel)


def _backward(stride: int, padding: Padding, saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    def slices(x: Array, kernel: Array, g: Array) -> tuple[Array, Array]:
        dx = _input_gradient(g, kernel, stride, padding, x.shape[1:3]).astype(x.dtype)
        dk = _kernel_gradient(_pad(x, padding), g, kernel.shape[:2], stride).astype(kernel.dtype)
        return dx, dk

    def transposed(x: Array, kernel: Array, g: Array) -> tuple[Array, Array]:
        return jax.vjp(lambda x, kernel: plain(x, kernel, stride, padding), x, kernel)[1](g)

    return jax.lax.platform_dependent(*saved, g, cpu=slices, default=transposed)


depthwise_conv.defvjp(_forward, _backward)


def _pad(x: Array, padding: Padding) -> Array:
    """Zeros before and after rows and columns; negative numbers crop."""
    return jax.lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *((*p, 0) for p in padding), (0, 0, 0)))


def _correlate(x: Array, kernel: Array, stride: int) -> Array:
    """Sum over the taps of shifted x times tap, in fp32: x [b h w c] already padded, kernel [p q 1 c]."""
    p, q = kernel.shape[:2]
    h, w = (x.shape[1] - p) // stride + 1, (x.shape[2] - q) // stride + 1
    y = jnp.zeros((), jnp.float32)
    for i in range(p):
        for j in range(q):
            shifted = x[:, i : i + (h - 1) * stride + 1 : stride, j : j + (w - 1) * stride + 1 : stride]
            y = y + shifted.astype(jnp.float32) * kernel[i, j, 0].astype(jnp.float32)
    return y


def _input_gradient(g: Array, kernel: Array, stride: int, padding: Padding, size: tuple[int, int]) -> Array:
    """Gradient with respect to x [b *size c]: for each residue of the position modulo the stride, a correlation of g
    with that residue's taps, reversed; then the residues are interleaved. So nothing is multiplied by a zero."""
    start = [low // stride for (low, _) in padding]
    count = [-(-(n + low) // stride) - first for n, (low, _), first in zip(size, padding, start, strict=True)]
    phases = []
    for row in range(stride):
        for column in range(stride):
            taps = kernel[row::stride, column::stride][::-1, ::-1]
            if 0 in taps.shape:
                phases.append(jnp.zeros((g.shape[0], *count, g.shape[-1]), jnp.float32))
                continue
            around = tuple(
                (m - 1 - first, first + n - out)
                for m, first, n, out in zip(taps.shape, start, count, g.shape[1:3], strict=False)
            )
            phases.append(_correlate(_pad(g, around), taps, 1))
    b, (h, w), c = g.shape[0], count, g.shape[-1]
    dx = jnp.stack(phases).reshape(stride, stride, b, h, w, c).transpose(2, 3, 0, 4, 1, 5)
    dx = dx.reshape(b, h * stride, w * stride, c)
    top, left = (low - first * stride for (low, _), first in zip(padding, start, strict=True))
    return dx[:, top : top + size[0], left : left + size[1]]


def _kernel_gradient(x: Array, g: Array, window: tuple[int, int], stride: int, budget: int = 32) -> Array:
    """Gradient with respect to the kernel [p q 1 c]: every output position adds its window of x (padded) times g.

    One step of the loop takes about `budget` positions of all images at once, part of a row or several rows; its sum
    stays in registers, and the accumulator [b p q c] in cache. A reduction would stride through memory once for every
    tap and channel. Steps much smaller than the budget are several times slower a position.
    """
    (p, q), (b, h, w, c) = window, g.shape
    across = -(-w // budget)
    columns = -(-w // across)
    rows = min(h, max(1, round(budget / columns)))
    down = -(-h // rows)
    size = (rows - 1) * stride + p, (columns - 1) * stride + q
    missing = [
        max(0, (n - 1) * stride + k - m)
        for n, k, m in zip((down * rows, across * columns), window, x.shape[1:], strict=False)
    ]
    x = _pad(x, ((0, missing[0]), (0, missing[1])))
    g = _pad(g, ((0, down * rows - h), (0, across * columns - w)))

    def add(step: Array, total: Array) -> Array:
        i, j = step // across * rows, step % across * columns
        xs = jax.lax.dynamic_slice(x, (0, i * stride, j * stride, 0), (b, *size, c)).astype(jnp.float32)
        gs = jax.lax.dynamic_slice(g, (0, i, j, 0), (b, rows, columns, c)).astype(jnp.float32)
        for u in range(rows):
            for v in range(columns):
                windows = xs[:, u * stride : u * stride + p, v * stride : v * stride + q]
                total = total + windows * gs[:, u : u + 1, v : v + 1]
        return total

    return jax.lax.fori_loop(0, down * across, add, jnp.zeros((b, p, q, c), jnp.float32)).sum(0)[:, :, None]


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
