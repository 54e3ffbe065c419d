"""A product of rows with a kernel whose gradient is fast on a CPU."""

import jax

from mmdf_jax.typing import Array

# What XLA itself does as well or better: small kernels, wide ones, and many rows, for it would fuse what feeds the
# transpose into it, which then strides through memory.
_SMALL, _WIDE, _LONG = 2**14, 2**9, 2**12


@jax.custom_vjp
def rows_product(x: Array, kernel: Array) -> Array:
    """x [n d] @ kernel [d f].

    XLA's CPU backend has a fast matrix product, but not for operands whose rows are summed over, as both are in the
    gradient of the kernel. There the narrower one is transposed in memory first: alone up to 1.4 times as fast.
    """
    return x @ kernel


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return x @ kernel, (x, kernel)


def _backward(saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved
    return g @ kernel.T, _transposed_product(x, g)


rows_product.defvjp(_forward, _backward)


def _transposed_product(x: Array, g: Array) -> Array:
    """x.T @ g of x [n d] and g [n f]: [d f]."""
    (n, d), f = x.shape, g.shape[1]
    if d * f < _SMALL or min(d, f) > _WIDE or n > _LONG:
        return x.T @ g
    keep = jax.lax.optimization_barrier  # else XLA takes the transpose back into the product
    return keep(x.T) @ g if d <= f else keep(keep(g.T) @ x).T
