"""Tokens of different rates on common time steps."""

import jax.numpy as jnp
import numpy as np

from mmdf_jax.typing import Array


def to_steps(x: Array, steps: int) -> Array:
    """x [b t d], t equal steps of a window, on `steps` equal steps of it: [b steps d].

    Step i stands for time (i + 0.5) / t. Where steps are fewer, each is the mean of what it covers, by overlap; where
    they are more, they are interpolated linearly between the middles, and constant beyond the first and the last.
    """
    if x.shape[1] == steps:
        return x
    return jnp.einsum("btd,st->bsd", x, jnp.asarray(_weights(x.shape[1], steps), x.dtype))


def valid_steps(valid: Array, steps: int) -> Array:
    """valid [b t] bool, said of t equal steps of a window, said of `steps` of it: those of which more than half is."""
    return valid if valid.shape[1] == steps else to_steps(valid.astype(jnp.float32)[..., None], steps)[..., 0] > 0.5


def _weights(t: int, steps: int) -> np.ndarray:
    """[steps t], rows sum to 1."""
    if steps < t:
        edges, old = np.arange(steps + 1) / steps, np.arange(t + 1) / t
        overlap = np.minimum(edges[1:, None], old[1:]) - np.maximum(edges[:-1, None], old[:-1])
        return np.maximum(overlap, 0) * steps
    place = np.clip((np.arange(steps) + 0.5) / steps * t - 0.5, 0, t - 1)
    return np.maximum(1 - np.abs(place[:, None] - np.arange(t)), 0)
