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


# Numbers of inputs and products up to which small frames are joined: products of few rows are slow, and so is memory.
_JOINED = 1_500_000


def conv3d_winograd(x: Array, kernel: Array) -> Array:
    """Convolution of x [b t h w c] with kernel [kt kh 3 c d], odd kt and kh, zero-padded to the same size [b t h w d].

    One output frame after the other, so that what it is summed from stays in cache. Without taps in time several small
    frames go as one, below each other with the zeros of their padding between them.
    """
    (kt, kh, _, _, d), (b, t, h, w, c) = kernel.shape, x.shape
    numbers = len(_FILTER) * h * -(-w // 4) * (c + kh * d)
    count = max(n for n in range(1, b * t + 1) if b * t % n == 0 and (n == 1 or n * numbers <= _JOINED))
    if kt > 1 or count == 1:
        return _convolve(x, kernel)
    tall = jnp.pad(x, ((0, 0), (0, 0), (0, kh // 2), (0, 0), (0, 0))).reshape(b * t // count, 1, -1, w, c)
    return _convolve(tall, kernel).reshape(b, t, -1, w, d)[:, :, :h]


@jax.custom_vjp
def _convolve(x: Array, kernel: Array) -> Array:
    kt, kh, _, c, d = kernel.shape
    b, t, h, w, _ = x.shape
    tiles, x = _tiled(jnp.pad(x, ((0, 0), (kt // 2,) * 2, (kh // 2,) * 2, (0, 0), (0, 0))))
    filters = jnp.einsum("fk,thkcd->ftchd", jnp.array(_FILTER, kernel.dtype), kernel).reshape(-1, kt * c, kh * d)

    def frame(index: Array) -> Array:
        window = jax.lax.dynamic_slice(x, (index // t, index % t, 0, 0, 0), (1, kt, *x.shape[2:]))[0]
        inputs = _inputs(jnp.concatenate(list(window), axis=-1), tiles)
        # The taps along the height side by side in the product: XLA convolves to few channels on one core.
        products = (inputs @ filters).reshape(len(_FILTER), -1, tiles, kh, d)
        products = sum(products[:, i : i + h, :, i] for i in range(kh))
        outputs = jnp.stack([_combine(row, products) for row in _OUTPUT], axis=2)
        return outputs.reshape(h, 4 * tiles, d)[:, :w]

    return jax.lax.map(frame, jnp.arange(b * t)).reshape(b, t, h, w, d)


def _winograd_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _convolve(x, kernel), (x, kernel)


def _winograd_backward(saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved
    dx = _convolve(g, kernel[::-1, ::-1, ::-1].swapaxes(3, 4))
    return dx, _kernel_gradient(x, g, kernel.shape[:2]).astype(kernel.dtype)


_convolve.defvjp(_winograd_forward, _winograd_backward)


def _kernel_gradient(x: Array, g: Array, size: tuple[int, int]) -> Array:
    """Gradient with respect to the kernel [*size 3 c d]. Each frame of x meets the frames of g around it in a matrix
    product [kt d, h tiles] @ [h tiles, kh c] for each of the six filters."""
    (kt, kh), (b, t, h, w, c), d = size, x.shape, g.shape[-1]
    tiles, x = _tiled(jnp.pad(x.reshape(b * t, h, w, c), ((0, 0), (kh // 2,) * 2, (0, 0), (0, 0))))
    g = jnp.pad(g, ((0, 0), (kt // 2,) * 2, (0, 0), (0, 4 * tiles - w), (0, 0)))

    def add(index: Array, total: Array) -> Array:
        inputs = _inputs(jax.lax.dynamic_index_in_dim(x, index, keepdims=False), tiles)
        inputs = jnp.concatenate([inputs[:, i * tiles : (i + h) * tiles] for i in range(kh)], axis=-1)
        around = jax.lax.dynamic_slice(g, (index // t, index % t, 0, 0, 0), (1, kt, *g.shape[2:]))[0]
        around = jnp.concatenate(list(around[::-1]), axis=-1).reshape(h * tiles, 4, kt * d)
        outputs = [_combine(column, [around[:, i] for i in range(4)]) for column in zip(*_OUTPUT, strict=True)]
        return total + jnp.matmul(jnp.stack(outputs).swapaxes(1, 2), inputs, preferred_element_type=jnp.float32)

    total = jax.lax.fori_loop(0, b * t, add, jnp.zeros((len(_FILTER), kt * d, kh * c), jnp.float32))
    return jnp.einsum("fk,ftdhc->thkcd", jnp.array(_FILTER, jnp.float32), total.reshape(-1, kt, d, kh, c))


def _tiled(x: Array) -> tuple[int, Array]:
    """Number of tiles of four columns, and x [... w c] padded for three taps and to whole tiles."""
    w = x.shape[-2]
    tiles = -(-w // 4)
    return tiles, jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(1, 4 * tiles - w + 1), (0, 0)])


def _inputs(x: Array, tiles: int) -> Array:
    """What the six filters see of a padded frame [h w c]: [6 h·tiles c].

    One array, for one product with a batch of six: in six products XLA computes these sums anew for every use.
    """
    columns = [x[:, i : i + 4 * (tiles - 1) + 1 : 4] for i in range(6)]
    return jnp.stack([_combine(row, columns) for row in _INPUT]).reshape(len(_INPUT), -1, x.shape[-1])


def _combine(factors: Sequence[float], arrays: Sequence[Array]) -> Array:
    """Sum of the arrays times their factors; zeros and ones cost nothing."""
    terms = [a if f == 1 else -a if f == -1 else f * a for f, a in zip(factors, arrays, strict=True) if f]
    return functools.reduce(operator.add, terms)
