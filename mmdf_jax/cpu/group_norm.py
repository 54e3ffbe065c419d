"""Group normalisation that sums per channel first, with its gradient in closed form."""

import functools

import jax
import jax.numpy as jnp

from mmdf_jax.typing import Array


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def normalize_groups(x: Array, count: Array, scale: Array, bias: Array, size: int, eps: float) -> Array:
    """Each sample of x [b … c] to zero mean and unit variance over its positions and groups of `size` channels, times
    scale [c] plus bias [c], in the dtype of x.

    count: [b] positions of each sample that count; the others must be 0.
    """
    return _groups_forward(x, count, scale, bias, size, eps)[0]


def _position_sum(x: Array) -> Array:
    return x.sum(tuple(range(1, x.ndim - 1)))


def _group_sum(x: Array, size: int) -> Array:
    """x [b c], every channel the sum of its group's."""
    total = x.reshape(len(x), -1, size).sum(-1, keepdims=True)
    return jnp.broadcast_to(total, (*total.shape[:2], size)).reshape(x.shape)


def _along(x: Array, like: Array) -> Array:
    """x [b c] beside the positions of `like` [b … c]."""
    return x.reshape(len(x), *[1] * (like.ndim - 2), x.shape[-1])


def _groups_forward(
    x: Array, count: Array, scale: Array, bias: Array, size: int, eps: float
) -> tuple[Array, tuple[Array, ...]]:
    values = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    members = (count * size)[:, None]
    mean = _group_sum(_position_sum(values), size) / members
    var = jnp.maximum(_group_sum(_position_sum(values * values), size) / members - mean * mean, 0.0)
    inverse = jax.lax.rsqrt(var + eps)
    gain = inverse * scale
    y = values * _along(gain, x) + _along(bias - mean * gain, x)
    return y.astype(x.dtype), (x, members, scale, mean, inverse)


def _groups_backward(size: int, eps: float, saved: tuple[Array, ...], g: Array) -> tuple[Array | None, ...]:
    x, members, scale, mean, inverse = saved
    values, g = (v.astype(jnp.promote_types(x.dtype, jnp.float32)) for v in (x, g))
    total = _position_sum(g)
    weighted = (_position_sum(g * values) - mean * total) * inverse
    # dx = inverse (g scale - mean(g scale) - x^ mean(g scale x^)), x^ the normalised x, one multiply-add per operand
    slope = -_group_sum(weighted * scale, size) / members * inverse * inverse
    shift = -_group_sum(total * scale, size) / members * inverse - mean * slope
    dx = g * _along(inverse * scale, x) + (values * _along(slope, x) + _along(shift, x))
    return dx.astype(x.dtype), None, weighted.sum(0).astype(scale.dtype), total.sum(0).astype(scale.dtype)


normalize_groups.defvjp(_groups_forward, _groups_backward)
