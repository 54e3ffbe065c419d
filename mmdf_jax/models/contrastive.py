"""Joint classification and alignment: two streams that should agree are compared step by step, beside the fusion."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax.layers.dense import Dense
from mmdf_jax.layers.mlp import gelu
from mmdf_jax.layers.norm import LayerNorm
from mmdf_jax.layers.time_steps import to_steps, valid_steps
from mmdf_jax.layers.unit import unit
from mmdf_jax.losses import MAX_SCALE
from mmdf_jax.models.encode import encode
from mmdf_jax.models.multimodal import hide_streams
from mmdf_jax.typing import Array, Batch, Dtype, Outputs

LOW = 0.1  # the quantile of the cosines that tells whether a part of the clip disagrees


class Model(nn.Module):
    """A detector over several streams, two of which are also projected into one space and compared.

    encoders: {stream: encoder}, streams among image, video, mouth, audio (data_pipelines.batch).
    fusion: {stream: [b 1 d]}, {stream: [b] bool} -> {"fused": [b d]}: over the encoders' pooled vectors, whose widths
      may differ.
    pair: the two streams that are compared. Each step of the first is compared with the same time of the second.
    features: of the common space (Radford et al. 2021, CLIP). A vector of every step, and one of the window.
    hidden: of the classifier over the fused vector and the statistics of the cosines.
    dropout: on what the classifiers see. modality_dropout, frozen: as in `models.multimodal`.
    """

    encoders: dict[str, nn.Module]
    fusion: nn.Module
    pair: tuple[str, str] = ("mouth", "audio")
    features: int = 64
    hidden: int = 64
    dropout: float = 0.0
    modality_dropout: float = 0.0
    frozen: bool = False
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool = False, capture: Sequence[str] = ()) -> Outputs:
        """Batch -> named outputs: `logits`, `stream_logits`, `embeddings`, `encoders`, `present` of `models.multimodal`
        and `alignment`:

          `steps {stream: [b t k]}`, `pooled {stream: [b k]}`: of the two streams, L2-normalised, fp32;
          `cosines [b t]`: of equal times; `valid [b t]`: steps that both streams have;
          `scale`: of cosines in a softmax, at most 100, learned.
        `similarity [b t t]`, where `capture` names it: cosines of each step of the first stream with all of the second.

        Raises:
          ValueError: the encoders lack a stream of the pair.
        """
        if missing := [stream for stream in self.pair if stream not in self.encoders]:
            raise ValueError(
                f"config.model.pair={','.join(self.pair)}: there is no encoder of {missing[0]!r}; "
                f"config.model.encoders has {', '.join(sorted(self.encoders))}"
            )
        streams = sorted(self.encoders)
        present = {stream: batch[f"{stream}_mask"] for stream in streams}
        encoded = {
            stream: encode(self.encoders[stream], stream, batch, train=train and not self.frozen, capture=capture)
            for stream in streams
        }
        pooled = {stream: out["pooled"] for stream, out in encoded.items()}
        keep = present
        if train and self.modality_dropout:
            keep = hide_streams(self.make_rng("dropout"), present, self.modality_dropout)

        def project(name: str, x: Array) -> Array:
            return unit(Dense(self.features, dtype=self.dtype, name=name)(x))

        t = encoded[self.pair[0]]["tokens"].shape[1]
        steps, valid = {}, jnp.ones((), bool)
        for stream in self.pair:
            grid = encoded[stream]["tokens"]
            x = to_steps(grid.reshape(*grid.shape[:2], -1, grid.shape[-1]).mean(2), t)
            steps[stream] = project(f"align_{stream}", LayerNorm(dtype=self.dtype, name=f"align_norm_{stream}")(x))
            seen = batch.get(f"{stream}_valid", jnp.ones((len(x), t), bool))
            valid = valid & valid_steps(seen, t) & present[stream][:, None]
        first, second = (steps[stream] for stream in self.pair)
        cosines = jnp.sum(first * second, -1)
        log_scale = self.param("log_scale", nn.initializers.constant(jnp.log(10.0)), ())
        alignment = {
            "steps": steps,
            "pooled": {stream: project(f"align_pooled_{stream}", pooled[stream]) for stream in self.pair},
            "cosines": cosines,
            "valid": valid,
            "scale": jnp.minimum(jnp.exp(log_scale), MAX_SCALE),
        }

        dropout = nn.Dropout(self.dropout, deterministic=not train)
        compared = valid & (keep[self.pair[0]] & keep[self.pair[1]])[:, None]
        fused = self.fusion({stream: x[:, None] for stream, x in pooled.items()}, keep, train=train)["fused"]
        known = compared.any(1, keepdims=True)
        statistics = jnp.concatenate([cosine_statistics(cosines, compared), known], axis=-1)
        evidence = jnp.concatenate([dropout(fused).astype(jnp.float32), statistics], axis=-1)
        hidden = gelu(Dense(self.hidden, dtype=self.dtype, name="classifier")(evidence))

        def head(name: str, x: Array) -> Array:
            return nn.Dense(1, dtype=jnp.float32, name=name)(dropout(x).astype(jnp.float32))[:, 0]

        out = {
            "logits": head("head", hidden),
            "stream_logits": {stream: head(f"head_{stream}", pooled[stream]) for stream in streams},
            "embeddings": {**pooled, "fused": fused},
            "encoders": encoded,
            "present": present,
            "alignment": alignment,
        }
        if "similarity" in capture:
            out["similarity"] = jnp.einsum("btk,bsk->bts", first, second)
        return out


def cosine_statistics(cosines: Array, valid: Array) -> Array:
    """Mean, low quantile (0.1, interpolated linearly) and standard deviation over the valid steps of [b t]: [b 3].

    Zeros where no step is valid.
    """
    count = valid.sum(1)
    n = jnp.maximum(count, 1)
    mean = jnp.where(valid, cosines, 0).sum(1) / n
    variance = jnp.where(valid, jnp.square(cosines - mean[:, None]), 0).sum(1) / n
    ordered = jnp.sort(jnp.where(valid, cosines, jnp.inf), axis=1)
    place = LOW * (n - 1)
    below = jnp.floor(place).astype(jnp.int32)
    pick = lambda i: jnp.take_along_axis(ordered, i[:, None], axis=1)[:, 0]  # noqa: E731
    low, high = pick(below), pick(jnp.minimum(below + 1, n - 1))
    quantile = low + (place - below) * (high - low)
    # The root's gradient is infinite at 0, where all cosines are equal.
    statistics = jnp.stack([mean, quantile, jnp.sqrt(variance + 1e-8)], axis=1)
    return jnp.where((count > 0)[:, None], statistics, 0)


def retrieval_at_1(x: Array, y: Array, valid: Array) -> Array:
    """The share of valid steps of x [b t k] whose nearest valid step of y is their own, mean with the reverse: [b].

    x, y: L2-normalised. NaN where no step is valid.
    """
    similarity = jnp.einsum("btk,bsk->bts", x, y)
    own = jnp.arange(x.shape[1])
    count = valid.sum(1)

    def share(similarity: Array) -> Array:
        best = jnp.where(valid[:, None, :], similarity, -jnp.inf).argmax(2)
        return ((best == own) & valid).sum(1) / jnp.maximum(count, 1)

    both = (share(similarity) + share(similarity.swapaxes(1, 2))) / 2
    return jnp.where(count > 0, both, jnp.nan)
