"""Normalisation: LayerNorm; BatchNorm for published convolutional networks, GroupNorm for training from scratch.

GroupNorm (Wu and He 2018) is the choice where batches are small: its statistics are the sample's own, so that a network
computes the same function in training and evaluation, on a batch of one, and whatever else is in the batch.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax.layers.batch_norm import BatchNorm
from mmdf_jax.typing import Array, Dtype


class Norm(nn.Module):
    """BatchNorm (`kind="batch"`, running averages in evaluation) or GroupNorm (`kind="group"`) over [b … c]."""

    kind: str
    eps: float = 1e-5
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        if self.kind == "group":
            return GroupNorm(eps=self.eps, dtype=self.dtype, name="norm")(x)
        if self.kind == "batch":
            return BatchNorm(momentum=0.9, eps=self.eps, dtype=self.dtype, name="norm")(x, train=train)
        raise ValueError(f"Norm: kind must be 'batch' or 'group', not {self.kind!r}")


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


class GroupNorm(nn.Module):
    """Normalises each sample over its positions and a group of channels; statistics in fp32, or float64 of float64.

    Groups have `group_size` channels, or the largest divisor of the channels below that. Sums are taken per channel
    first, which a CPU does three times as fast as linen's reduction over a split channel axis; the gradient is in
    closed form.
    """

    group_size: int = 8
    eps: float = 1e-5
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, mask: Array | None = None) -> Array:
        """x [b … c]; mask: bool, broadcastable to x without channels, False is left out of the statistics."""
        c = x.shape[-1]
        size = next(n for n in range(min(self.group_size, c), 0, -1) if c % n == 0)
        scale = self.param("scale", nn.initializers.ones, (c,))
        bias = self.param("bias", nn.initializers.zeros, (c,))
        count = jnp.full(len(x), x[0, ..., 0].size, jnp.float32)
        if mask is not None:
            mask = jnp.broadcast_to(mask, x.shape[:-1])
            x = jnp.where(mask[..., None], x, 0)
            count = jnp.maximum(mask.sum(range(1, mask.ndim)), 1).astype(jnp.float32)
        return normalize_groups(x, count, scale, bias, size, self.eps).astype(self.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalize_rows(x: Array, scale: Array, bias: Array, eps: float) -> Array:
    """Each row of x [n d] to zero mean and unit variance, times scale [d] plus bias [d], in the dtype of x."""
    return _rows_forward(x, scale, bias, eps)[0]


def _row_means(x: Array) -> Array:
    return x.mean(-1, keepdims=True)


def _rows_forward(x: Array, scale: Array, bias: Array, eps: float) -> tuple[Array, tuple[Array, ...]]:
    values = x.astype(jnp.float32)
    mean = _row_means(values)
    var = jnp.maximum(_row_means(values * values) - mean * mean, 0.0)
    inverse = jax.lax.rsqrt(var + eps)
    return ((values - mean) * (inverse * scale) + bias).astype(x.dtype), (x, scale, mean, inverse)


def _rows_backward(eps: float, saved: tuple[Array, ...], g: Array) -> tuple[Array, Array, Array]:
    x, scale, mean, inverse = saved
    normal, g = (x.astype(jnp.float32) - mean) * inverse, g.astype(jnp.float32)
    weighted = g * normal

    def scaled_means(values: Array) -> Array:
        # A product: for a sum over rows XLA's CPU backend would first write scale to memory once for every row.
        return jnp.matmul(values, scale[:, None], precision=jax.lax.Precision.HIGHEST) / len(scale)

    dx = (g * scale - scaled_means(g) - normal * scaled_means(weighted)) * inverse
    return dx.astype(x.dtype), weighted.sum(0), g.sum(0)


normalize_rows.defvjp(_rows_forward, _rows_backward)


class LayerNorm(nn.Module):
    """Over the last axis of [... d]; statistics and parameters are fp32, named as flax.linen.LayerNorm's.

    Its gradient is written out, over rows: a CPU takes half as long for it as for the derived one.
    """

    epsilon: float = 1e-6
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        d = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (d,))
        bias = self.param("bias", nn.initializers.zeros, (d,))
        return normalize_rows(x.reshape(-1, d), scale, bias, self.epsilon).reshape(x.shape).astype(self.dtype)
