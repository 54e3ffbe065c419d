"""Encoders over the streams of a batch: {stream: all that its encoder returns}."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax.typing import Array, Batch, Outputs


def encode(encoder: nn.Module, stream: str, batch: Batch, *, train: bool, capture: Sequence[str] = ()) -> Outputs:
    """All that `encoder` returns for a stream of the batch; `pooled [b d]` is zero where the stream is absent.

    Sparse frames `image [b n h w 3]` are encoded one by one: each output is [b n …], and `pooled` the mean over those
    that are valid. Where the batch has `<stream>_valid`, the encoder does not look at what is padding. A stream that
    holds an encoder's outputs already (experiments.features) is taken as it is. `encoder_attention` in `capture` keeps
    the encoder's attention weights.
    """
    x, present, valid = batch[stream], batch[f"{stream}_mask"], batch.get(f"{stream}_valid")
    if isinstance(x, Mapping):
        return dict(x)
    capture = ("attention",) if "encoder_attention" in capture else ()
    if stream == "image":
        b, n = x.shape[:2]
        out = encoder(x.reshape(b * n, *x.shape[2:]), train=train, capture=capture)
        out = jax.tree.map(lambda y: y.reshape(b, n, *y.shape[1:]), out)
        out["pooled"] = _mean_over_valid(out["pooled"], valid)
    else:
        out = dict(encoder(x, valid=valid, train=train, capture=capture))
    return {**out, "pooled": out["pooled"] * present[:, None].astype(out["pooled"].dtype)}


def _mean_over_valid(x: Array, valid: Array | None) -> Array:
    """The mean of x [b n d] over the frames where `valid [b n]`, over all of them where none is: [b d]."""
    if valid is None:
        return jnp.mean(x, axis=1)
    weights = jnp.where(valid.any(1, keepdims=True), valid, True).astype(x.dtype)
    return jnp.einsum("bnd,bn->bd", x, weights / weights.sum(1, keepdims=True))
