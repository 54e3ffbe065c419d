"""Encoders over the streams of a batch: {stream: all that its encoder returns}."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax.typing import Array, Batch, Outputs


def encode(encoder: nn.Module, stream: str, batch: Batch, *, train: bool, capture: Sequence[str] = ()) -> Outputs:
    """All that `encoder` returns for a stream of the batch; `pooled [b d]` is zero where the stream is absent.

    Sparse frames `image [b n h w 3]` are encoded one by one: each output is [b n …], and `pooled` their mean. A stream
    that holds an encoder's outputs already (experiments.features) is taken as it is.
    """
    x, present = batch[stream], batch[f"{stream}_mask"]
    if isinstance(x, Mapping):
        return dict(x)
    if stream == "image":
        b, n = x.shape[:2]
        out = encoder(x.reshape(b * n, *x.shape[2:]), train=train)
        out = jax.tree.map(lambda y: y.reshape(b, n, *y.shape[1:]), out)
        out["pooled"] = jnp.mean(out["pooled"], axis=1)
    else:
        out = dict(encoder(x, train=train))
    return {**out, "pooled": masked(out["pooled"], present)}


def masked(x: Array, present: Array) -> Array:
    """x [b d], zero where `present [b]` is False."""
    return x * present[:, None].astype(x.dtype)
