"""Losses: pure functions of arrays."""

import jax.numpy as jnp
import optax

from mmdf_jax.typing import Array


def masked_mean(values: Array, mask: Array) -> Array:
    """Mean of `values [b]` where `mask [b]`; 0 where nothing is masked in."""
    mask = mask.astype(values.dtype)
    return jnp.sum(values * mask) / jnp.maximum(jnp.sum(mask), 1.0)


def binary_cross_entropy(
    logits: Array, labels: Array, mask: Array, *, smoothing: float = 0.0, balanced: bool = False
) -> Array:
    """Mean sigmoid cross-entropy in nats over the rows where `mask [b]` is True and `labels [b]` is 0 or 1, not -1.

    smoothing: moves the targets from 0/1 to smoothing/2 and 1 - smoothing/2 (Szegedy et al. 2016, section 7).
    balanced: takes the mean of the two classes' means, so that both classes weigh the same.
    """
    known = mask & (labels >= 0)
    targets = jnp.clip(labels, 0, 1).astype(jnp.float32) * (1 - smoothing) + smoothing / 2
    losses = optax.sigmoid_binary_cross_entropy(logits.astype(jnp.float32), targets)
    if not balanced:
        return masked_mean(losses, known)
    fake, real = known & (labels == 1), known & (labels == 0)
    classes = jnp.maximum(fake.any().astype(jnp.float32) + real.any(), 1.0)
    return (masked_mean(losses, fake) + masked_mean(losses, real)) / classes
