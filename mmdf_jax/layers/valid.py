"""Which samples and which frames of a sound are no padding."""

import jax.numpy as jnp

from mmdf_jax.typing import Array


def valid_samples(valid: Array | None, samples: int) -> Array | None:
    """valid [b t] bool, in t equal steps of the sound, said of every sample: [b samples].

    Raises ValueError where the samples do not divide into t steps.
    """
    if valid is None:
        return None
    steps = valid.shape[1]
    if samples % steps:
        raise ValueError(f"valid: expected steps that divide {samples} samples, found {steps}")
    return jnp.repeat(valid, samples // steps, axis=1)


def valid_frames(valid: Array, frames: int, *, hop: int) -> Array:
    """Which of the centred frames a sound has: valid [b s] (True on real samples, a prefix) to [b frames] bool."""
    return jnp.arange(frames) * hop <= valid.sum(-1, keepdims=True)
