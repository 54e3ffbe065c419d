"""An explicit comparison of two streams: the products of their features at the same time.

Attention by itself does not learn to report that two streams match. The product of what both say of a moment does: its
sum over features is their cosine, the measure of SyncNet (Chung and Zisserman 2016) and of CLIP.
"""

import math

import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax.layers.pool import max_over
from mmdf_jax.layers.time_steps import to_steps, valid_steps
from mmdf_jax.layers.unit import unit
from mmdf_jax.losses import MAX_SCALE
from mmdf_jax.typing import Array, Dtype, Outputs


class Comparison(nn.Module):
    """Compares tokens x [b t … c] and y [b t' … c'] of the same window, on steps as many as the fewer of both have.

    x_valid, y_valid: [b …] bool, which of equal steps of the window are no padding; any number of steps.
    Returns
      `tokens [b s d]`: of the products of both streams' features, with those of `kernel` steps around; and `pooled
        [b d]`, their mean plus maximum over the valid steps;
      `x`, `y` [b s features]: the features, of length 1; `valid [b s] bool`: steps that both have; `scale []`: of the
        cosines in a matching loss, learned. These are what `losses.time_matching` takes.
    """

    width: int
    features: int = 64
    kernel: int = 5
    scale: float = 10.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, y: Array, x_valid: Array, y_valid: Array) -> Outputs:
        steps = min(x.shape[1], y.shape[1])
        valid = valid_steps(x_valid, steps) & valid_steps(y_valid, steps)
        x, y = (self._features(name, tokens, steps) for name, tokens in (("x", x), ("y", y)))
        # Unit vectors of many features have small ones: their products are brought back to about 1.
        products = jnp.where(valid[..., None], x * y * self.features, 0).astype(self.dtype)
        tokens = nn.relu(nn.Conv(self.width, (self.kernel,), dtype=self.dtype, name="products")(products))
        real = jnp.where(valid[..., None], tokens, 0)  # at least 0, so the maximum needs no other filler
        mean = real.sum(1, dtype=jnp.float32) / jnp.maximum(valid.sum(1, keepdims=True), 1)
        log_scale = self.param("log_scale", nn.initializers.constant(math.log(self.scale)), ())
        return {
            "tokens": tokens,
            "pooled": mean.astype(tokens.dtype) + max_over(real, 1),
            "x": x,
            "y": y,
            "valid": valid,
            "scale": jnp.minimum(jnp.exp(log_scale), MAX_SCALE),
        }

    def _features(self, name: str, tokens: Array, steps: int) -> Array:
        b, t, *_, c = tokens.shape
        mean = tokens.reshape(b, t, -1, c).mean(2, dtype=jnp.float32).astype(self.dtype)
        return unit(nn.Dense(self.features, dtype=self.dtype, name=name)(to_steps(mean, steps)))
