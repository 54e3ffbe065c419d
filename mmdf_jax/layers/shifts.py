"""Similarities of two streams at every shift of one against the other, without invented frames."""

import jax.numpy as jnp
import numpy as np
from jax import lax

from mmdf_jax.typing import Array


def band(x: Array, y: Array, valid: Array, reach: int) -> tuple[Array, Array]:
    """Cosines of x at step t and y at step t + k, for k from -reach to reach, and which of them exist.

    x, y: [b t d], L2-normalised; valid: [b t] bool, steps that both streams have. Returns similarity [b t 2 reach + 1]
    float32, 0 where there is none, and possible [b t 2 reach + 1] bool. Shifts that leave the window, or meet a step
    that is not valid, are no pairs: zeros there would mix invented frames in.
    """
    t = x.shape[1]
    places = np.arange(t)[:, None] + np.arange(-reach, reach + 1)  # of y, [t k]
    inside, places = (places >= 0) & (places < t), np.clip(places, 0, t - 1)
    every = jnp.einsum("btd,bsd->bts", x.astype(jnp.float32), y.astype(jnp.float32))
    similarity = jnp.take_along_axis(every, jnp.asarray(places)[None], axis=2)
    possible = inside & valid[:, :, None] & valid[:, places]
    return jnp.where(possible, similarity, 0), possible


def averaged(values: Array, possible: Array, run: int) -> tuple[Array, Array]:
    """Means over `run` neighbouring steps: of values [b t k] where possible, to curves [b t - run + 1 k].

    Also returns usable [b t - run + 1]: whether every shift of the curve has at least a third of the run's pairs.
    Raises ValueError where the window is shorter than the run.
    """
    if run > values.shape[1]:
        raise ValueError(f"averaged: expected a run of at most {values.shape[1]} steps, found {run}")
    sums, counts = (
        lax.reduce_window(x.astype(jnp.float32), 0.0, lax.add, (1, run, 1), (1, 1, 1), "VALID")
        for x in (jnp.where(possible, values, 0), possible)
    )
    return sums / jnp.maximum(counts, 1), (counts >= max(1, run / 3)).all(-1)
