"""A toy fusion: the mean of all tokens of the streams that are there."""

import jax.numpy as jnp
from flax import linen as nn


class Model(nn.Module):
    """{stream: [b n d]}, {stream: [b]} -> fused [b d]."""

    dtype: str = "float32"

    @nn.compact
    def __call__(self, tokens, present, *, train=False, capture=()):
        means = [tokens[stream].mean(1) * present[stream][:, None] for stream in sorted(tokens)]
        return {"fused": nn.Dense(8, dtype=self.dtype)(jnp.concatenate(means, axis=1))}
