"""Transformer layers shared by the encoders and the fusions: attention, and the pre- or post-norm block.

Parameters are fp32; `dtype` is the dtype of the computation, and softmax and LayerNorm statistics stay fp32.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax.layers.attend import attend, attend_with_weights
from mmdf_jax.layers.dense import Dense
from mmdf_jax.layers.mlp import DropPath, Mlp, SwiGlu, gelu
from mmdf_jax.layers.norm import LayerNorm
from mmdf_jax.typing import Array, Dtype


class Attention(nn.Module):
    """Multi-head attention of `x [b n d]` over `context [b m d]` (itself by default).

    mask: bool, broadcastable to [b heads n m], True where attention may look. A query that may look nowhere gets
    zeros, not NaN. bias: [1 heads n m], added to the logits.

    Returns the output [b n d] and, with `capture`, the weights [b heads n m] in fp32 before dropout (else None: they
    take memory).
    """

    heads: int
    qkv_bias: bool = True
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Array,
        context: Array | None = None,
        mask: Array | None = None,
        bias: Array | None = None,
        *,
        train: bool = False,
        capture: bool = False,
    ) -> tuple[Array, Array | None]:
        context = x if context is None else context
        d = x.shape[-1]
        if d % self.heads:
            raise ValueError(f"Attention: width {d} is not divisible by heads={self.heads}")

        def project(name: str, inputs: Array) -> Array:
            y = Dense(d, use_bias=self.qkv_bias, dtype=self.dtype, name=name)(inputs)
            return y.reshape(*y.shape[:-1], self.heads, d // self.heads)

        q, k, v = project("query", x), project("key", context), project("value", context)
        drop = train and self.dropout > 0
        if drop or capture:
            y, weights = attend_with_weights(q, k, v, mask, bias)
        else:
            y, weights = attend(q, k, v, mask, bias), None
        if drop:
            dropped = nn.Dropout(self.dropout, deterministic=False)(weights)
            y = jnp.einsum("bhnm,bmhd->bnhd", dropped.astype(self.dtype), v)
        return Dense(d, dtype=self.dtype, name="out")(y.reshape(*y.shape[:-2], d)), weights if capture else None


class Block(nn.Module):
    """A transformer encoder block over `x [b n d]`; returns the output and, with `capture`, the weights [b heads n n].

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
    def __call__(
        self, x: Array, mask: Array | None = None, *, train: bool = False, capture: bool = False
    ) -> tuple[Array, Array | None]:
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
            y, weights = attention(norm("norm1")(x), mask=mask, train=train, capture=capture)
            x = x + finish(y, "scale1")
            x = x + finish(mlp(norm("norm2")(x), train=train), "scale2")
        else:
            y, weights = attention(x, mask=mask, train=train, capture=capture)
            x = norm("norm1")(x + finish(y, "scale1"))
            x = norm("norm2")(x + finish(mlp(x, train=train), "scale2"))
        return x, weights


def call(block: nn.Module, *inputs: Array | None, remat: bool, **options: bool) -> Any:
    """block(*inputs, **options); with `remat` its activations are computed again in the backward pass."""

    def apply(block: nn.Module, *inputs: Array | None) -> Any:
        return block(*inputs, **options)

    return (nn.remat(apply) if remat else apply)(block, *inputs)
