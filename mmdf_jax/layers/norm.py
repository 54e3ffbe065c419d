"""Normalisation: LayerNorm; BatchNorm for published convolutional networks, GroupNorm for training from scratch.

GroupNorm (Wu and He 2018) is the choice where batches are small: its statistics are the sample's own, so that a network
computes the same function in training and evaluation, on a batch of one, and whatever else is in the batch. Statistics
and parameters are fp32, and named as flax.linen's.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax import cpu
from mmdf_jax.cpu.batch_norm import normalize_batch
from mmdf_jax.cpu.group_norm import normalize_groups
from mmdf_jax.cpu.row_norm import normalize_rows
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


class BatchNorm(nn.Module):
    """Over the last axis of [... c]: the batch's own statistics in training, running ones otherwise.

    `momentum` weighs the running value; the running variance is the biased one.
    """

    momentum: float = 0.99
    eps: float = 1e-5
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        c = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (c,))
        bias = self.param("bias", nn.initializers.zeros, (c,))
        mean = self.variable("batch_stats", "mean", jnp.zeros, (c,))
        var = self.variable("batch_stats", "var", jnp.ones, (c,))
        if not train:
            gain = jax.lax.rsqrt(var.value + self.eps) * scale
            return (x.astype(jnp.float32) * gain + (bias - mean.value * gain)).astype(self.dtype)
        if cpu.enabled():
            y, batch_mean, batch_var = normalize_batch(x, scale, bias, self.eps)
        else:
            values, axes = x.astype(jnp.float32), tuple(range(x.ndim - 1))
            batch_mean, batch_var = values.mean(axes), values.var(axes)
            y = (values - batch_mean) * (jax.lax.rsqrt(batch_var + self.eps) * scale) + bias
        if not self.is_initializing():
            mean.value = self.momentum * mean.value + (1 - self.momentum) * batch_mean
            var.value = self.momentum * var.value + (1 - self.momentum) * batch_var
        return y.astype(self.dtype)


class GroupNorm(nn.Module):
    """Normalises each sample over its positions and a group of channels; statistics in fp32, or float64 of float64.

    Groups have `group_size` channels, or the largest divisor of the channels below that.
    """

    group_size: int = 8
    eps: float = 1e-5
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, mask: Array | None = None) -> Array:
        """x [b … c]; mask: bool, broadcastable to x without channels, False is left out of the statistics."""
        b, *positions, c = x.shape
        size = next(n for n in range(min(self.group_size, c), 0, -1) if c % n == 0)
        scale = self.param("scale", nn.initializers.ones, (c,))
        bias = self.param("bias", nn.initializers.zeros, (c,))
        if mask is None:
            count = jnp.full((b,), math.prod(positions), jnp.float32)
        else:
            mask = jnp.broadcast_to(mask, x.shape[:-1])
            x = jnp.where(mask[..., None], x, 0)
            count = jnp.maximum(mask.sum(range(1, mask.ndim)), 1).astype(jnp.float32)
        if cpu.enabled():
            return normalize_groups(x, count, scale, bias, size, self.eps).astype(self.dtype)
        groups = x.astype(jnp.promote_types(x.dtype, jnp.float32)).reshape(b, *positions, c // size, size)
        axes = (*range(1, x.ndim - 1), -1)
        members = (count * size).reshape(b, *[1] * x.ndim)
        centred = groups - groups.sum(axes, keepdims=True) / members
        if mask is not None:
            centred = jnp.where(mask[..., None, None], centred, 0)
        var = jnp.square(centred).sum(axes, keepdims=True) / members
        y = (centred * jax.lax.rsqrt(var + self.eps)).reshape(x.shape)
        return (y * scale + bias).astype(self.dtype)


class LayerNorm(nn.Module):
    """Over the last axis of [... d]."""

    epsilon: float = 1e-6
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        d = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (d,))
        bias = self.param("bias", nn.initializers.zeros, (d,))
        if cpu.enabled():
            return normalize_rows(x.reshape(-1, d), scale, bias, self.epsilon).reshape(x.shape).astype(self.dtype)
        values = x.astype(jnp.float32)
        mean, var = values.mean(-1, keepdims=True), values.var(-1, keepdims=True)
        return ((values - mean) * jax.lax.rsqrt(var + self.epsilon) * scale + bias).astype(self.dtype)
