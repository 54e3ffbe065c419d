"""A toy fusion: the mean of all tokens of the streams that are there."""

import jax.numpy as jnp
from flax import linen as nn


class Model(nn.Module):
    """{stream: [b t … d]}, {stream: [b]} -> fused [b d]."""

    dtype: str = "float32"

    @nn.compact
    def __call__(self, tokens, present, *, train=False, capture=()):
        means = [x.mean(range(1, x.ndim - 1)) * present[stream][:, None] for stream, x in sorted(tokens.items())]
        return {"fused": nn.Dense(8, dtype=self.dtype)(jnp.concatenate(means, axis=1))}
