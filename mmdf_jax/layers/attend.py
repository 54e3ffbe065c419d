"""Scaled dot-product attention, softmax(q k' / sqrt(d)) v, with its weights or without.

Both functions take q [b n h d], k and v [b m h d], mask: bool, [b|1 h|1 n|1 m|1], True where attention may look, and
bias: [b|1 h|1 n m], added to the logits q k' / sqrt(d). A query that may look nowhere gets zeros.
"""

import jax
import jax.numpy as jnp

from mmdf_jax import cpu
from mmdf_jax.cpu.attend import attend as cpu_attend
from mmdf_jax.typing import Array


def attend(q: Array, k: Array, v: Array, mask: Array | None = None, bias: Array | None = None) -> Array:
    """The output [b n h d] alone: the one place for a fused kernel, which keeps no weights."""
    if cpu.enabled():
        return attend_with_weights(q, k, v, mask, bias)[0]
    y = jax.nn.dot_product_attention(q, k, v, bias=bias, mask=mask)
    if mask is None:
        return y
    anywhere = jnp.swapaxes(mask.any(-1), 1, 2)[..., None]
    return jnp.where(anywhere, y, 0)


def attend_with_weights(
    q: Array, k: Array, v: Array, mask: Array | None = None, bias: Array | None = None
) -> tuple[Array, Array]:
    """The output [b n h d], and the weights [b h n m] in fp32."""
    if cpu.enabled() and bias is None:
        return cpu_attend(q, k, v, mask)
    logits = jnp.einsum("bnhd,bmhd->bhnm", q, k, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
    if bias is not None:
        logits = logits + bias
    if mask is None:
        weights = jax.nn.softmax(logits)
    else:
        weights = jnp.where(mask, jax.nn.softmax(jnp.where(mask, logits, jnp.finfo(jnp.float32).min)), 0)
    return jnp.einsum("bhnm,bmhd->bnhd", weights.astype(v.dtype), v), weights
