"""What stands where a stream is missing."""

import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax.typing import Array


class FillMissing(nn.Module):
    """x [b … d] where `present [b]` is True, elsewhere one learned vector [d] at every position."""

    @nn.compact
    def __call__(self, x: Array, present: Array) -> Array:
        missing = self.param("missing", nn.initializers.normal(0.02), (x.shape[-1],)).astype(x.dtype)
        return jnp.where(present.reshape(-1, *[1] * (x.ndim - 1)), x, missing)
