"""From stored pixels to what an encoder was trained on."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from mmdf_jax.typing import Array, Dtype

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalize(x: Array, mean: Sequence[float], std: Sequence[float], dtype: Dtype = jnp.float32) -> Array:
    """(x - mean) / std per channel. x [... c]: uint8, or float in [0, 1]. Returns [... c] in `dtype`.

    Computed in fp32 as one multiply-add, so that XLA fuses it into whatever reads the pixels. Raises ValueError
    if the channels of x, mean and std disagree.
    """
    if not x.shape[-1] == len(mean) == len(std):
        raise ValueError(
            f"normalize: x has {x.shape[-1]} channels, mean {len(mean)} and std {len(std)}: they must agree"
        )
    scale = 1.0 / np.asarray(std, np.float32)
    shift = -np.asarray(mean, np.float32) * scale
    if x.dtype == jnp.uint8:
        scale = scale / np.float32(255)
    elif not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"normalize: expected uint8 or float pixels in [0, 1], got {x.dtype}")
    return (x.astype(jnp.float32) * scale + shift).astype(dtype)
