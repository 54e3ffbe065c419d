"""3-D convolution with half the products, for a CPU: Winograd's minimal filtering along the width."""

import functools
import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from mmdf_jax.typing import Array

# Winograd's minimal filtering F(4, 3): four outputs of a filter of three taps take six products instead of twelve. Rows
# of _INPUT combine six inputs, rows of _FILTER the taps, rows of _OUTPUT the products (Lavin and Gray 2016, 4.3). The
# points of interpolation, 0, ±A, ±B and infinity, round to a third less than the usual 0, ±1, ±2 and infinity.
_A, _B = 0.5**0.5, 2**0.5
_INPUT = (
    (1, 0, -2.5, 0, 1, 0),
    (0, -_B, -2, _A, 1, 0),
    (0, _B, -2, -_A, 1, 0),
    (0, -_A, -0.5, _B, 1, 0),
    (0, _A, -0.5, -_B, 1, 0),
    (0, 1, 0, -2.5, 0, 1),
)
_FILTER = (
    (1, 0, 0),
    (-2 / 3, -2 / 3 * _A, -1 / 3),
    (-2 / 3, 2 / 3 * _A, -1 / 3),
    (1 / 6, _B / 6, 1 / 3),
    (1 / 6, -_B / 6, 1 / 3),
    (0, 0, 1),
)
_OUTPUT = (
    (1, 1, 1, 1, 1, 0),
    (0, _A, -_A, _B, -_B, 0),
    (0, 0.5, 0.5, 2, 2, 0),
    (0, _A / 2, -_A / 2, 2 * _B, -2 * _B, 1),
)


@jax.custom_vjp
def conv3d_winograd(x: Array, kernel: Array) -> Array:
    """Convolution of x [b t h w c] with kernel [kt kh 3 c d], odd kt and kh, zero-padded to the same size [b t h w d].

    One output frame after the other, so that what it is summed from stays in cache.
    """
    kt, kh, _, c, d = kernel.shape
    b, t, h, w, _ = x.shape
    tiles, x = _tiled(jnp.pad(x, ((0, 0), (kt // 2,) * 2, (kh // 2,) * 2, (0, 0), (0, 0))))
    filters = jnp.einsum("fk,thkcd->ftchd", jnp.array(_FILTER, kernel.dtype), kernel).reshape(-1, kt * c, kh * d)

    def frame(index: Array) -> Array:
        window = jax.lax.dynamic_slice(x, (index // t, index % t, 0, 0, 0), (1, kt, *x.shape[2:]))[0]
        inputs = _inputs(jnp.concatenate(list(window), axis=-1), tiles)
        # The taps along the height side by side in the product: XLA convolves to few channels on one core.
        products = [(y.reshape(-1, kt * c) @ f).reshape(-1, tiles, kh, d) for y, f in zip(inputs, filters, strict=True)]
        products = [sum(p[i : i + h, :, i] for i in range(kh)) for p in products]
        outputs = jnp.stack([_combine(row, products) for row in _OUTPUT], axis=2)
        return outputs.reshape(h, 4 * tiles, d)[:, :w]

    return jax.lax.map(frame, jnp.arange(b * t)).reshape(b, t, h, w, d)


def _winograd_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return conv3d_winograd(x, kernel), (x, kernel)


def _winograd_backward(saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved
    dx = conv3d_winograd(g, kernel[::-1, ::-1, ::-1].swapaxes(3, 4))
    return dx, _kernel_gradient(x, g, kernel.shape[:2]).astype(kernel.dtype)


conv3d_winograd.defvjp(_winograd_forward, _winograd_backward)


def _kernel_gradient(x: Array, g: Array, size: tuple[int, int]) -> Array:
    """Gradient with respect to the kernel [*size 3 c d]. Each frame of x meets the frames of g around it in kh matrix
    products [c, h tiles] @ [h tiles, kt d] for each of the six filters."""
    (kt, kh), (b, t, h, w, c), d = size, x.shape, g.shape[-1]
    tiles, x = _tiled(jnp.pad(x.reshape(b * t, h, w, c), ((0, 0), (kh // 2,) * 2, (0, 0), (0, 0))))
    g = jnp.pad(g, ((0, 0), (kt // 2,) * 2, (0, 0), (0, 4 * tiles - w), (0, 0)))

    def add(index: Array, totals: tuple[tuple[Array, ...], ...]) -> tuple[tuple[Array, ...], ...]:
        inputs = _inputs(jax.lax.dynamic_index_in_dim(x, index, keepdims=False), tiles)
        # Behind the barrier the transpose stays in memory; XLA's product of an operand that it transposes is slow.
        inputs = [jax.lax.optimization_barrier(y.reshape(-1, c).T) for y in inputs]
        around = jax.lax.dynamic_slice(g, (index // t, index % t, 0, 0, 0), (1, kt, *g.shape[2:]))[0]
        around = jnp.concatenate(list(around[::-1]), axis=-1).reshape(h * tiles, 4, kt * d)
        outputs = [_combine(column, [around[:, i] for i in range(4)]) for column in zip(*_OUTPUT, strict=True)]
        return tuple(
            tuple(
                total + jnp.matmul(y[:, i * tiles : (i + h) * tiles], dy, preferred_element_type=jnp.float32)
                for i, total in enumerate(sums)
            )
            for sums, y, dy in zip(totals, inputs, outputs, strict=True)
        )

    zero = jnp.zeros((c, kt * d), jnp.float32)
    totals = jnp.array(jax.lax.fori_loop(0, b * t, add, ((zero,) * kh,) * 6)).reshape(6, kh, c, kt, d)
    return jnp.einsum("fk,fhctd->thkcd", jnp.array(_FILTER, jnp.float32), totals)


def _tiled(x: Array) -> tuple[int, Array]:
    """Number of tiles of four columns, and x [... w c] padded for three taps and to whole tiles."""
    w = x.shape[-2]
    tiles = -(-w // 4)
    return tiles, jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(1, 4 * tiles - w + 1), (0, 0)])


def _inputs(x: Array, tiles: int) -> list[Array]:
    """What the six filters see of a padded frame [h w c]: [h tiles c] each."""
    columns = [x[:, i : i + 4 * (tiles - 1) + 1 : 4] for i in range(6)]
    return [_combine(row, columns) for row in _INPUT]


def _combine(factors: Sequence[float], arrays: Sequence[Array]) -> Array:
    """Sum of the arrays times their factors; zeros and ones cost nothing."""
    terms = [a if f == 1 else -a if f == -1 else f * a for f, a in zip(factors, arrays, strict=True) if f]
    return functools.reduce(operator.add, terms)
