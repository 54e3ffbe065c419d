"""Dense layer."""

import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax import cpu
from mmdf_jax.cpu.dense import rows_product
from mmdf_jax.typing import Array, Dtype


class Dense(nn.Module):
    """x W + b over the last axis: [... d] -> [... features]. Parameters are named and shaped as flax.linen.Dense's."""

    features: int
    use_bias: bool = True
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], self.features))
        x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        if cpu.enabled():
            y = rows_product(x.reshape(-1, x.shape[-1]), kernel).reshape(*x.shape[:-1], self.features)
        else:
            y = x @ kernel
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        return y
