"""Convolution over time alone, for a CPU: one matrix product for all taps, whose results are added frames apart."""

import jax
import jax.numpy as jnp

from mmdf_jax.typing import Array

# Numbers in a block's products: with what they come from about as much as a core's own cache holds.
_BLOCK = 800_000


@jax.custom_vjp
def conv3d_temporal(x: Array, kernel: Array) -> Array:
    """Convolution of x [b t h w c] with kernel [kt 1 1 c d], odd kt, zero-padded to the same size [b t h w d].

    A few rows of all frames at a time, so that what is added stays in cache and lies a whole number of rows apart.
    """
    (kt, _, _, c, d), (b, t, h, w, _) = kernel.shape, x.shape
    taps = kernel.reshape(kt, c, d).swapaxes(0, 1).reshape(c, kt * d)
    rows = _rows(h, t * w * kt * d)

    def convolve(index: Array, y: Array) -> Array:
        start = (index // (h // rows), 0, index % (h // rows) * rows, 0, 0)
        block = jax.lax.dynamic_slice(x, start, (1, t, rows, w, c))
        products = _pad_time((block.reshape(-1, c) @ taps).reshape(t, rows, w, kt, d), kt)
        return jax.lax.dynamic_update_slice(y, sum(products[i : i + t, ..., i, :] for i in range(kt))[None], start)

    return jax.lax.fori_loop(0, b * h // rows, convolve, jnp.zeros((b, t, h, w, d), x.dtype))


def _temporal_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return conv3d_temporal(x, kernel), (x, kernel)


def _temporal_backward(saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved
    dx = conv3d_temporal(g, kernel[::-1].swapaxes(3, 4))
    return dx, _kernel_gradient(x, g, len(kernel)).astype(kernel.dtype)


conv3d_temporal.defvjp(_temporal_forward, _temporal_backward)


def _kernel_gradient(x: Array, g: Array, kt: int) -> Array:
    """Gradient with respect to the kernel [kt 1 1 c d], from the same blocks: [c, t rows w] @ [t rows w, kt d] each."""
    (b, t, h, w, c), d = x.shape, g.shape[-1]
    rows = _rows(h, t * w * kt * d)

    def add(index: Array, total: Array) -> Array:
        start = (index // (h // rows), 0, index % (h // rows) * rows, 0, 0)
        block = jax.lax.dynamic_slice(x, start, (1, t, rows, w, c)).reshape(-1, c)
        around = _pad_time(jax.lax.dynamic_slice(g, start, (1, t, rows, w, d))[0], kt)
        around = jnp.concatenate([around[kt - 1 - i :][:t] for i in range(kt)], axis=-1).reshape(-1, kt * d)
        return total + jnp.matmul(block.T, around, preferred_element_type=jnp.float32)

    total = jax.lax.fori_loop(0, b * h // rows, add, jnp.zeros((c, kt * d), jnp.float32))
    return total.reshape(c, kt, 1, 1, d).transpose(1, 2, 3, 0, 4)


def _rows(h: int, numbers: int) -> int:
    """The largest divisor of h with which a block's products, `numbers` for one row, stay below _BLOCK; at least 1."""
    return max(n for n in range(1, h + 1) if h % n == 0 and (n == 1 or n * numbers <= _BLOCK))


def _pad_time(x: Array, kt: int) -> Array:
    return jnp.pad(x, [(kt // 2,) * 2] + [(0, 0)] * (x.ndim - 1))
