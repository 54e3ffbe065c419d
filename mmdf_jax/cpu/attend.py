"""Scaled dot-product attention one image at a time: all the weights of a batch would not fit a CPU's cache."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from mmdf_jax.typing import Array

# weights per image from which one image at a time is the faster; below, the loop costs more than it saves
_LARGE = 2**16


@jax.custom_vjp
def attend(q: Array, k: Array, v: Array, mask: Array | None = None) -> tuple[Array, Array]:
    """softmax(q k' / sqrt(d)) v. q [b n h d], k and v [b m h d]; returns [b n h d] and the weights [b h n m] in fp32.

    mask: bool, [b|1 h|1 n|1 m|1], True where attention may look; a query that may look nowhere gets zeros.
    """
    return _one_by_one(_attend, q, k, v, mask)


def _forward(*inputs: Any) -> tuple[tuple[Array, Array], tuple[Any, ...]]:
    q, k, v, mask = (x if x is None else x.value for x in inputs)
    out, weights = attend(q, k, v, mask)
    return (out, weights), (q, k, v, weights)


def _backward(saved: tuple[Array, ...], cotangents: tuple[Any, Any]) -> tuple[Any, ...]:
    q, k, v, weights = saved
    g, g_weights = (None if isinstance(c, SymbolicZero) else c for c in cotangents)
    g = jnp.zeros_like(q) if g is None else g
    return *_one_by_one(_gradient, q, k, v, weights, g, g_weights), None


attend.defvjp(_forward, _backward, symbolic_zeros=True)


def _one_by_one(function: Callable[..., Any], *arrays: Array | None) -> Any:
    (b, n, h, _), m = arrays[0].shape, arrays[1].shape[1]
    if h * n * m < _LARGE:
        return function(*arrays)
    arrays = jax.tree.map(lambda x: jnp.broadcast_to(x, (b, *x.shape[1:])), arrays)
    return jax.lax.map(lambda slices: function(*slices), arrays)


_dot = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)


def _heads(x: Array) -> Array:
    return jnp.swapaxes(x, -3, -2)


def _attend(q: Array, k: Array, v: Array, mask: Array | None) -> tuple[Array, Array]:
    logits = _dot("...nd,...md->...nm", _heads(q * q.shape[-1] ** -0.5), _heads(k))
    if mask is not None:
        logits = jnp.where(mask, logits, jnp.finfo(jnp.float32).min)
    weights = jax.nn.softmax(logits, axis=-1)
    if mask is not None:
        weights = jnp.where(mask, weights, 0.0)
    out = _dot("...nm,...md->...nd", weights.astype(v.dtype), _heads(v))
    return _heads(out).astype(v.dtype), weights


def _gradient(
    q: Array, k: Array, v: Array, weights: Array, g: Array, g_weights: Array | None
) -> tuple[Array, Array, Array]:
    scale = q.shape[-1] ** -0.5
    q, k, v, g = (_heads(x) for x in (q, k, v, g))
    dv = _dot("...nm,...nd->...md", weights.astype(g.dtype), g)
    dweights = _dot("...nd,...md->...nm", g, v)
    if g_weights is not None:
        dweights = dweights + g_weights
    # a masked weight is 0, and so is the gradient of its logit
    dlogits = weights * (dweights - (dweights * weights).sum(-1, keepdims=True)) * scale
    dlogits = dlogits.astype(q.dtype)
    dq, dk = _dot("...nm,...md->...nd", dlogits, k), _dot("...nm,...nd->...md", dlogits, q)
    return _heads(dq).astype(q.dtype), _heads(dk).astype(k.dtype), _heads(dv).astype(v.dtype)
