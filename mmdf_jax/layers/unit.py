"""Vectors of length 1."""

import jax.numpy as jnp

from mmdf_jax.typing import Array


def unit(x: Array) -> Array:
    """x [… d] in fp32 with Euclidean length 1; zero stays zero, and has a gradient."""
    x = x.astype(jnp.float32)
    return x / jnp.sqrt(jnp.maximum(jnp.sum(x**2, -1, keepdims=True), 1e-12))
