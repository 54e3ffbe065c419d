"""Maximum over positions with a gradient that is always finite."""

import jax
import jax.numpy as jnp

from mmdf_jax.typing import Array


def max_over(x: Array, axis: int) -> Array:
    """The maximum of x over `axis`; its gradient goes to the first place that holds it.

    The gradient that JAX derives for `x.max(axis)` divides by how many values equal the maximum. Where XLA computes x
    twice, once for each side of that comparison, and rounds differently, none does, and 0 / 0 is NaN.
    """
    place = jax.lax.stop_gradient(x).argmax(axis, keepdims=True)
    return jnp.take_along_axis(x, place, axis).squeeze(axis)
