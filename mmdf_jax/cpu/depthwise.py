"""Depthwise convolution as elementwise sums over shifted slices, which LLVM vectorises over the channels."""

import functools

import jax
import jax.numpy as jnp

from mmdf_jax.typing import Array

Padding = tuple[tuple[int, int], tuple[int, int]]

# Numbers per image from which one image at a time is the faster on a CPU: of all at once XLA would write a shifted copy
# per tap to memory.
_LARGE = 2**17


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def depthwise_conv(x: Array, kernel: Array, stride: int, padding: Padding) -> Array:
    """Each channel of x [b h w c] with its own filter of kernel [p q 1 c]: [b h' w' c]."""

    def slices(x: Array) -> Array:
        return _correlate(_pad(x, padding), kernel, stride).astype(x.dtype)

    return jax.lax.map(lambda image: slices(image[None])[0], x) if x[0].size >= _LARGE else slices(x)


def _forward(x: Array, kernel: Array, stride: int, padding: Padding) -> tuple[Array, tuple[Array, Array]]:
    return depthwise_conv(x, kernel, stride, padding), (x, kernel)


def _backward(stride: int, padding: Padding, saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved
    dx = _input_gradient(g, kernel, stride, padding, x.shape[1:3]).astype(x.dtype)
    dk = _kernel_gradient(_pad(x, padding), g, kernel.shape[:2], stride).astype(kernel.dtype)
    return dx, dk


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
