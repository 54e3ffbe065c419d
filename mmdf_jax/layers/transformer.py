"""Transformer layers shared by the encoders and the fusions: attention, MLP, pre- or post-norm block.

Parameters are fp32; `dtype` is the dtype of the computation, and softmax and LayerNorm statistics stay fp32.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax.layers.attend import attend
from mmdf_jax.layers.dense import Dense
from mmdf_jax.layers.norm import LayerNorm
from mmdf_jax.typing import Array, Dtype


def quick_gelu(x: Array) -> Array:
    """x * sigmoid(1.702 x), the GELU of CLIP (Radford et al. 2021)."""
    return x * jax.nn.sigmoid(1.702 * x)


@jax.custom_vjp
def gelu(x: Array) -> Array:
    """The exact, erf-based GELU (torch's default), computed in fp32; `jax.nn.gelu` defaults to the tanh approximation.

    Its exact form there is written with erfc, which takes a CPU almost three times as long. Below -10 the value is 0 to
    any precision; that this is said with a `where` also keeps XLA's CPU backend from drawing the products into the
    matrix product that follows, for which it would first write their constants to memory at full size. The gradient
    needs x alone: the derived one keeps erf(x) as well, in a network's largest arrays.
    """
    return _gelu_forward(x)[0]


def _gelu_forward(x: Array) -> tuple[Array, Array]:
    values = x.astype(jnp.float32)
    return jnp.where(values > -10, values * _normal_cdf(values), 0).astype(x.dtype), x


def _gelu_backward(x: Array, g: Array) -> tuple[Array]:
    # Without the barrier XLA would recognise erf(x), and keep it since the forward pass.
    values = jax.lax.optimization_barrier(x).astype(jnp.float32)
    density = jnp.exp(-0.5 * values * values) * (2 * jnp.pi) ** -0.5
    slope = jnp.where(values > -10, _normal_cdf(values) + values * density, 0)
    return ((g.astype(jnp.float32) * slope).astype(x.dtype),)


def _normal_cdf(x: Array) -> Array:
    return 0.5 * (1 + jax.lax.erf(x * 2**-0.5))


gelu.defvjp(_gelu_forward, _gelu_backward)


class Attention(nn.Module):
    """Multi-head attention of `x [b n d]` over `context [b m d]` (itself by default).

    mask: bool, broadcastable to [b heads n m], True where attention may look. A query that may look nowhere gets
    zeros, not NaN. Returns the output [b n d] and the weights [b heads n m] in fp32 before dropout.
    """

    heads: int
    qkv_bias: bool = True
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Array, context: Array | None = None, mask: Array | None = None, *, train: bool = False
    ) -> tuple[Array, Array]:
        context = x if context is None else context
        d = x.shape[-1]
        if d % self.heads:
            raise ValueError(f"Attention: width {d} is not divisible by heads={self.heads}")

        def project(name: str, inputs: Array) -> Array:
            y = Dense(d, use_bias=self.qkv_bias, dtype=self.dtype, name=name)(inputs)
            return y.reshape(*y.shape[:-1], self.heads, d // self.heads)

        q, k, v = project("query", x), project("key", context), project("value", context)
        y, weights = attend(q, k, v, mask)
        if train and self.dropout:
            dropped = nn.Dropout(self.dropout, deterministic=False)(weights)
            y = jnp.einsum("bhnm,bmhd->bnhd", dropped.astype(self.dtype), v)
        return Dense(d, dtype=self.dtype, name="out")(y.reshape(*y.shape[:-2], d)), weights


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


class Block(nn.Module):
    """A transformer encoder block over `x [b n d]`; returns the output and the attention weights [b heads n n].

    pre_norm: normalise before each branch (ViT), or after each sum (BERT, wav2vec2 base).
    layer_scale: initial value of the per-channel gain on each branch (CaiT, DINOv2); None leaves it out.
    gated: SwiGLU instead of Dense, `act`, Dense.
    dropout: on both branches, and inside the MLP unless `mlp_dropout` says otherwise.
    """

    heads: int
    mlp_hidden: int
    act: Callable[[Array], Array] = gelu
    pre_norm: bool = True
    eps: float = 1e-6
    layer_scale: float | None = None
    gated: bool = False
    qkv_bias: bool = True
    dropout: float = 0.0
    attention_dropout: float = 0.0
    mlp_dropout: float | None = None
    drop_path: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, mask: Array | None = None, *, train: bool = False) -> tuple[Array, Array]:
        def norm(name: str) -> LayerNorm:
            return LayerNorm(epsilon=self.eps, dtype=self.dtype, name=name)

        def finish(y: Array, name: str) -> Array:
            y = nn.Dropout(self.dropout, deterministic=not train)(y)
            if self.layer_scale is not None:
                y = y * self.param(name, nn.initializers.constant(self.layer_scale), (y.shape[-1],)).astype(y.dtype)
            return DropPath(self.drop_path)(y, train=train)

        attention = Attention(
            self.heads, qkv_bias=self.qkv_bias, dropout=self.attention_dropout, dtype=self.dtype, name="attn"
        )
        inner = self.dropout if self.mlp_dropout is None else self.mlp_dropout
        if self.gated:
            mlp = SwiGlu(self.mlp_hidden, dropout=inner, dtype=self.dtype, name="mlp")
        else:
            mlp = Mlp(self.mlp_hidden, act=self.act, dropout=inner, dtype=self.dtype, name="mlp")
        if self.pre_norm:
            y, weights = attention(norm("norm1")(x), mask=mask, train=train)
            x = x + finish(y, "scale1")
            x = x + finish(mlp(norm("norm2")(x), train=train), "scale2")
        else:
            y, weights = attention(x, mask=mask, train=train)
            x = norm("norm1")(x + finish(y, "scale1"))
            x = norm("norm2")(x + finish(mlp(x, train=train), "scale2"))
        return x, weights


def call(block: nn.Module, *inputs: Array | None, train: bool, remat: bool) -> Any:
    """block(*inputs, train=train); with `remat` its activations are computed again in the backward pass."""

    def apply(block: nn.Module, *inputs: Array | None) -> Any:
        return block(*inputs, train=train)

    return (nn.remat(apply) if remat else apply)(block, *inputs)
