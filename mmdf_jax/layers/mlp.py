"""Activations, the MLPs of transformers, and stochastic depth.

Parameters are fp32; `dtype` is the dtype of the computation.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax import cpu
from mmdf_jax.cpu.gelu import gelu as cpu_gelu
from mmdf_jax.layers.dense import Dense
from mmdf_jax.typing import Array, Dtype


def quick_gelu(x: Array) -> Array:
    """x * sigmoid(1.702 x), the GELU of CLIP (Radford et al. 2021)."""
    return x * jax.nn.sigmoid(1.702 * x)


def gelu(x: Array) -> Array:
    """The exact, erf-based GELU (torch's default); `jax.nn.gelu` defaults to the tanh approximation."""
    return cpu_gelu(x) if cpu.enabled() else jax.nn.gelu(x, approximate=False)


class Mlp(nn.Module):
    """Dense, activation, Dense: [... d] -> [... d]."""

    hidden: int
    act: Callable[[Array], Array] = gelu
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        d = x.shape[-1]
        x = self.act(Dense(self.hidden, dtype=self.dtype, name="fc1")(x))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return Dense(d, dtype=self.dtype, name="fc2")(x)


class SwiGlu(nn.Module):
    """Gated MLP (Shazeer 2020), silu(gate x) * up x, then down: [... d] -> [... d]."""

    hidden: int
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        d = x.shape[-1]
        gate = Dense(self.hidden, dtype=self.dtype, name="gate")(x)
        x = jax.nn.silu(gate) * Dense(self.hidden, dtype=self.dtype, name="up")(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return Dense(d, dtype=self.dtype, name="down")(x)


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): in training drops a whole sample's branch with probability `rate`."""

    rate: float = 0.0

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        return nn.Dropout(self.rate, broadcast_dims=tuple(range(1, x.ndim)), deterministic=not train)(x)
