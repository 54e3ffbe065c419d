"""An image encoder on every frame and an LSTM over the frames (Guera and Delp 2018)."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax import flops
from mmdf_jax.encoders import convnext, efficientnet
from mmdf_jax.layers.lstm import LSTM
from mmdf_jax.typing import Array, Dtype, Outputs


class Model(nn.Module):
    """Video [b t h w c] (as `encoder` takes images) to features per frame.

    valid: [b t] bool, True on real frames; the others change nothing.
    Returns tokens [b t 1 1 d], pooled [b d] (mean over real frames), tokens_mask [b t] and frames [b t d'], what the
    encoder pools of each frame. d = hidden, or 2 hidden if bidirectional.

    encoder: any image encoder, in a config its spec: {"name": "mmdf_jax.encoders.dinov2", "variant": "s14"}.
    layers: LSTM layers; dropout: on what enters each of them.
    """

    encoder: nn.Module = dataclasses.field(default_factory=efficientnet.Model)
    hidden: int = 512
    layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Array, *, valid: Array | None = None, train: bool = False, capture: Sequence[str] = ()
    ) -> Outputs:
        del capture  # nothing here takes memory to keep
        b, t = x.shape[:2]
        frames = self.encoder(x.reshape(b * t, *x.shape[2:]), train=train)["pooled"].reshape(b, t, -1)
        x = frames.astype(self.dtype)
        for i in range(self.layers):
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
            ways = [LSTM(self.hidden, dtype=self.dtype, name=f"lstm{i}")(x, valid)]
            if self.bidirectional:
                ways.append(LSTM(self.hidden, reverse=True, dtype=self.dtype, name=f"lstm{i}_reverse")(x, valid))
            x = jnp.concatenate(ways, axis=-1)
        valid = jnp.ones((b, t), bool) if valid is None else valid
        real = jnp.where(valid[..., None], x, 0)
        pooled = real.sum(1, dtype=jnp.float32) / jnp.maximum(valid.sum(1, keepdims=True), 1)
        return {
            "tokens": real[:, :, None, None],
            "pooled": pooled.astype(x.dtype),
            "tokens_mask": valid,
            "frames": frames,
        }


def macs(model: Model, shape: Sequence[int]) -> flops.Macs:
    """Multiply-adds on one input of this shape, see `mmdf_jax.flops`."""
    t = shape[0]
    frame = jax.ShapeDtypeStruct((1, *shape[1:]), jnp.uint8)
    pooled = jax.eval_shape(lambda x: model.encoder.init_with_output(jax.random.key(0), x, train=False)[0], frame)
    d, ways, gates = pooled["pooled"].shape[-1], 2 if model.bidirectional else 1, 4 * model.hidden
    rest = 0
    for _ in range(model.layers):
        rest += t * ways * gates * (d + model.hidden)
        d = ways * model.hidden
    return flops.macs(model.encoder, shape[1:]) * t + flops.Macs(0, rest)


VARIANTS: dict[str, dict[str, Any]] = {
    "tiny": dict(encoder=convnext.Model(**convnext.VARIANTS["tiny"]), hidden=128),
    "efficientnet_b0": dict(),
    "convnext_t": dict(encoder=convnext.Model()),
}

EXAMPLE = jax.ShapeDtypeStruct((1, 2, 64, 64, 3), jnp.uint8)
SHALLOW: dict[str, Any] = dict(encoder={"name": "mmdf_jax.encoders.convnext", **convnext.SHALLOW})
BENCHMARK = ("efficientnet_b0",)
LAST = (r"lstm\d+(_reverse)?",)
