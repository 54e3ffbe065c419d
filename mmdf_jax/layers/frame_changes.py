"""What changes from frame to frame of a video, apart from the exposure: each frame is judged by its own mean."""

import jax.numpy as jnp

from mmdf_jax.typing import Array

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
TYPICAL = 0.03  # size of a change, in parts of the brightness


def luminance(video: Array) -> Array:
    """Video [b t h w c], uint8 or float in [0, 1], of colours or grey -> float32 [b t h w] in [0, 1]."""
    x = video.astype(jnp.float32) / (255 if video.dtype == jnp.uint8 else 1)
    return x @ jnp.array(LUMA) if x.shape[-1] == 3 else x.mean(-1)


def relative(grey: Array) -> Array:
    """Grey frames [b t h w] over their own mean, less 1: a gain of a whole frame changes nothing."""
    return grey / jnp.maximum(grey.mean((2, 3), keepdims=True), 1e-3) - 1


def differences(x: Array, valid: Array | None = None) -> Array:
    """First and second differences over time of x [b t …]: [b t … 2], of each frame to the one before and to both.

    0 where one of the frames compared is missing: at the ends, and where not valid [b t].
    """
    first = x[:, 1:] - x[:, :-1]
    second = first[:, 1:] - first[:, :-1]
    gap = jnp.zeros_like(x[:, :1])
    both = jnp.stack([jnp.concatenate([gap, first], 1), jnp.concatenate([gap, second, gap], 1)], axis=-1)
    if valid is None:
        return both
    pair = jnp.concatenate([jnp.zeros_like(valid[:, :1]), valid[:, 1:] & valid[:, :-1]], 1)
    triple = pair & jnp.concatenate([pair[:, 1:], jnp.zeros_like(pair[:, :1])], 1)
    counted = jnp.stack([pair, triple], axis=-1)
    return jnp.where(counted.reshape(*valid.shape, *[1] * (x.ndim - 2), 2), both, 0)


def changes(grey: Array, valid: Array | None = None) -> Array:
    """What changes in grey frames [b t h w], whatever the exposure: `differences` of `relative`, in TYPICAL sizes.

    Returns [b t h w 2].
    """
    return differences(relative(grey), valid) / TYPICAL
