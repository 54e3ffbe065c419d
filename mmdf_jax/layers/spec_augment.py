"""SpecAugment on the device: blocks of time and of frequency struck out of a spectrogram while training."""

import jax
import jax.numpy as jnp

from mmdf_jax.typing import Array


def spec_augment(
    key: Array,
    x: Array,
    *,
    time_masks: int = 2,
    time_share: float = 0.1,
    bin_masks: int = 2,
    bin_share: float = 0.15,
) -> Array:
    """Features [b t d] of mean 0 with up to so many blocks of frames and of bins set to 0 in each example.

    A block's width is uniform from 0 to the share of t or d, its place uniform; blocks may overlap. Park et al. 2019,
    arXiv 1904.08779, without its time warping, which they found to matter least.

    Raises:
      ValueError: a negative number of blocks, or a share outside [0, 1].
    """
    for name, count, share in (("time", time_masks, time_share), ("bin", bin_masks, bin_share)):
        if count < 0 or not 0 <= share <= 1:
            raise ValueError(
                f"spec_augment: expected {name}_masks >= 0 and {name}_share from 0 to 1, found {count} and {share}"
            )
    b, t, d = x.shape
    time_key, bin_key = jax.random.split(key)
    kept_frames = ~_blocks(time_key, b, t, time_masks, time_share)
    kept_bins = ~_blocks(bin_key, b, d, bin_masks, bin_share)
    return jnp.where(kept_frames[:, :, None] & kept_bins[:, None], x, 0)


def _blocks(key: Array, b: int, length: int, count: int, share: float) -> Array:
    """[b length] bool, True inside one of `count` blocks of up to `share` of the length."""
    width_key, place_key = jax.random.split(key)
    width = jax.random.uniform(width_key, (b, count, 1)) * share * length
    start = jax.random.uniform(place_key, (b, count, 1)) * (length - width)
    # A place is struck out if its middle lies in the block, so that widths are right on average.
    middle = jnp.arange(length) + 0.5
    return ((middle >= start) & (middle < start + width)).any(1)
