"""Encoders, a comparison of two of them -> time and modality embeddings -> fusion -> heads, over any set of streams."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax.fusion.comparison import Comparison
from mmdf_jax.models.encode import encode
from mmdf_jax.typing import Array, Batch, Dtype, Outputs


class Model(nn.Module):
    """A detector over several streams of one clip.

    encoders: {stream: encoder}, streams among image, video, mouth, audio (data_pipelines.batch).
    fusion: {stream: [b t … d]}, {stream: [b] bool} -> {"fused": [b d], "attention": …}.
    compare: two of the streams, whose comparison (see fusion/comparison.py) is one stream more, `sync`; (): none.
    width: common width d of the tokens that the fusion sees.
    dropout: on the fused and the pooled vectors before their heads.
    modality_dropout: in training, the chance that a stream is hidden from the fusion; a sample always keeps one.
    frozen: the encoders always run as in evaluation: no dropout, running statistics.
    """

    encoders: dict[str, nn.Module]
    fusion: nn.Module
    compare: tuple[str, ...] = ()
    width: int = 128
    dropout: float = 0.0
    modality_dropout: float = 0.0
    frozen: bool = False
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool = False, capture: Sequence[str] = ()) -> Outputs:
        """Batch -> named outputs.

        Returns
          `logits [b]`: joint log-odds of fake; `stream_logits {stream: [b]}`: each stream's own;
          `embeddings {stream: [b d'], "fused": [b d]}`; `encoders {stream: all that the encoder returns}`;
          `present {stream: [b] bool}`: which streams the batch really has, `sync` where it has both that are compared;
          with `compare`, `alignment`: all that the comparison returns; and where `capture` names them
          `attention`: {stream: weights over its token grid: image [b n h w], video [b t h w], others [b t]};
          `cross_attention`: see the fusion.

        Raises:
          ValueError: `compare` is not two streams of the model.
        """
        streams = sorted(self.encoders)
        present = {stream: batch[f"{stream}_mask"] for stream in streams}
        encoded = {
            stream: encode(self.encoders[stream], stream, batch, train=train and not self.frozen, capture=capture)
            for stream in streams
        }
        grids = {stream: out["tokens"] for stream, out in encoded.items()}
        pooled = {stream: out["pooled"] for stream, out in encoded.items()}
        keep, alignment = dict(present), {}
        if train and self.modality_dropout:
            keep = hide_streams(self.make_rng("dropout"), present, self.modality_dropout)
        if self.compare:
            alignment = self._compare(batch, encoded)
            grids["sync"], pooled["sync"] = alignment["tokens"], alignment["pooled"]
            # Who is hidden from the fusion is hidden in the comparison too.
            for known in (present, keep):
                known["sync"] = known[self.compare[0]] & known[self.compare[1]] & alignment["valid"].any(1)

        # All streams share one embedding of the window's time, so that equal times look equal.
        embed_time = TimeEmbedding(self.width, dtype=self.dtype, name="time")
        tokens = {}
        for stream, grid in grids.items():
            t = grid.shape[1]
            x = nn.Dense(self.width, dtype=self.dtype, name=f"project_{stream}")(grid)
            modality = self.param(f"modality_{stream}", nn.initializers.normal(0.02), (self.width,))
            tokens[stream] = x + embed_time(t).reshape(1, t, *[1] * (x.ndim - 3), self.width) + modality.astype(x.dtype)

        fused = self.fusion(tokens, keep, train=train, capture=capture)
        dropout = nn.Dropout(self.dropout, deterministic=not train)

        def head(name: str, x: Array) -> Array:
            return nn.Dense(1, dtype=jnp.float32, name=name)(dropout(x).astype(jnp.float32))[:, 0]

        captured = {name: fused[name] for name in ("attention", "cross_attention") if name in fused}
        if alignment:
            captured["alignment"] = alignment
        return {
            "logits": head("head", fused["fused"]),
            "stream_logits": {stream: head(f"head_{stream}", x) for stream, x in pooled.items()},
            "embeddings": {**pooled, "fused": fused["fused"]},
            "encoders": encoded,
            "present": present,
            **captured,
        }

    def _compare(self, batch: Batch, encoded: dict[str, Outputs]) -> Outputs:
        if len(self.compare) != 2 or not set(self.compare) <= set(encoded):
            raise ValueError(
                f"config.model.compare={self.compare}: expected two of the streams {', '.join(encoded)}, or ()"
            )
        tokens = [encoded[stream]["tokens"] for stream in self.compare]
        valid = [
            encoded[stream].get("tokens_mask", batch.get(f"{stream}_valid", jnp.ones(x.shape[:2], bool)))
            for stream, x in zip(self.compare, tokens, strict=True)
        ]
        return Comparison(self.width, dtype=self.dtype, name="comparison")(*tokens, *valid)


def hide_streams(key: Array, present: dict[str, Array], rate: float) -> dict[str, Array]:
    """Modality dropout: {stream: [b] bool}, each hidden with the chance `rate`, but never all that a sample has."""
    streams = sorted(present)
    have = jnp.stack([present[stream] for stream in streams], axis=1)
    keep = have & jax.random.bernoulli(key, 1 - rate, have.shape)
    keep = jnp.where(keep.any(axis=1, keepdims=True), keep, have)
    return {stream: keep[:, i] for i, stream in enumerate(streams)}


class TimeEmbedding(nn.Module):
    """Embeds t equal steps of the window: [t d]. Step i stands for time (i + 0.5) / t of the window."""

    width: int
    frequencies: int = 16
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, t: int) -> Array:
        time = (jnp.arange(t, dtype=jnp.float32) + 0.5) / t
        angles = time[:, None] * math.pi * jnp.arange(1, self.frequencies + 1, dtype=jnp.float32)
        features = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
        return nn.Dense(self.width, dtype=self.dtype)(features)
