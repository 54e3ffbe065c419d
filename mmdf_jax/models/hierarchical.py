"""One detector that answers in three stages: fake or not, of which type, and where, in time and in the picture.

All heads read the same tokens, 25 a second: each stream's own with its time kept, the absolute difference of two
streams' features (Koutlis and Papadopoulos 2025, AuViRe, whose differences are of reconstructions) and the tokens of
their comparison (fusion/comparison.py). Localisation in time follows ActionFormer (Zhang et al. 2022): each step says
how broken it is and how far the segment's ends are.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax.fusion.comparison import Comparison
from mmdf_jax.layers.pool import max_over
from mmdf_jax.layers.time_steps import to_steps, valid_steps
from mmdf_jax.models.encode import encode
from mmdf_jax.models.multimodal import TimeEmbedding, hide_streams
from mmdf_jax.typing import Array, Batch, Dtype, Outputs

CUES = ("video", "audio", "sync")  # what can be broken, by itself, in each step


class Model(nn.Module):
    """A hierarchical detector over several streams of one clip.

    encoders: {stream: encoder}, streams among image, video, mouth, audio (data_pipelines.batch).
    fusion: {stream: [b t … d]}, {stream: [b] bool} -> {"fused": [b d]}.
    vocabulary: the types, `real` first, each a name or several methods that are one (data_pipelines.batch).
    compare: two of the streams, whose difference and comparison the trunk sees too; (): none.
    width: d of the common tokens. depth: residual convolutions over time in the trunk.
    levels: of the pyramid over time; each has half the steps of the one before.
    dropout: on the vector of the first two stages, and in the trunk. modality_dropout: as in models/multimodal.py.
    detached: the rows beside the design (`flat_logits`, `cue_logits`) read the trunk but do not train it.
    frozen: the encoders always run as in evaluation.
    """

    encoders: dict[str, nn.Module]
    fusion: nn.Module
    vocabulary: Sequence[str | Sequence[str]]
    compare: tuple[str, ...] = ()
    width: int = 96
    depth: int = 2
    levels: int = 1
    dropout: float = 0.0
    modality_dropout: float = 0.0
    detached: bool = True
    frozen: bool = False
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool = False, capture: Sequence[str] = ()) -> Outputs:
        """Batch -> named outputs; T steps of 40 ms, k types, levels l of T / 2^l steps.

        Returns
          `logits [b]`: log-odds of fake; `type_logits [b k]`: of each type, given that it is fake (`real`: -1e9);
          `flat_logits [b k]`: of one softmax over all types; `cue_logits [b 3]`: log-odds that CUES are broken;
          `frame_logits` (per level [b t 3]): the same for each step; `distances` (per level [b t 2]): s from the step's
            middle back to the start and on to the end of the fake segment around it; `frame_valid [b T]` bool;
          `map_logits [b n h w]`: log-odds that a region of each sparse frame was manipulated, and, in evaluation from
            pixels, `grad_cam [b n h w]`: Grad-CAM (Selvaraju et al. 2017) of `logits`, at least 0; both with images;
          and `stream_logits`, `embeddings`, `encoders`, `present`, `alignment` and `attention` as models/multimodal.py.

        Raises:
          ValueError: `compare` is not two streams of the model; the vocabulary does not begin with `real`, or the steps
            do not halve as often as there are levels.
        """
        if not set(self.compare) <= set(self.encoders) or len(self.compare) not in (0, 2):
            streams = ", ".join(sorted(self.encoders))
            raise ValueError(f"config.model.compare={self.compare}: expected two of the streams {streams}, or ()")
        if len(self.vocabulary) < 2 or self.vocabulary[0] != "real":
            raise ValueError(f"config.model.vocabulary={self.vocabulary}: expected `real` and then types of fakes")
        encoded = {
            stream: encode(encoder, stream, batch, train=train and not self.frozen, capture=capture)
            for stream, encoder in sorted(self.encoders.items())
        }
        if "image" in encoded and not (train or self.is_initializing() or isinstance(batch["image"], Mapping)):
            return self._with_grad_cam({**batch, **encoded}, capture)
        present = {stream: batch[f"{stream}_mask"] for stream in encoded}
        keep, alignment = dict(present), {}
        if train and self.modality_dropout:
            keep = hide_streams(self.make_rng("dropout"), present, self.modality_dropout)
        grids = {stream: out["tokens"] for stream, out in encoded.items()}
        pooled = {stream: out["pooled"] for stream, out in encoded.items()}
        valid = {stream: batch.get(f"{stream}_valid", jnp.ones(grid.shape[:2], bool)) for stream, grid in grids.items()}
        dropout = nn.Dropout(self.dropout, deterministic=not train)

        def dense(name: str, x: Array) -> Array:
            return nn.Dense(self.width, dtype=self.dtype, name=name)(x)

        def head(name: str, x: Array, width: int) -> Array:
            return nn.Dense(width, dtype=jnp.float32, name=name)(dropout(x).astype(jnp.float32))

        # What goes on over time, a vector a step; and what the fusion looks at: of pictures, all their positions.
        over_time = {stream: dense(f"steps_{stream}", _over_space(grid)) for stream, grid in grids.items()}
        looked_at = {s: dense("project_image", grids[s]) if s == "image" else x for s, x in over_time.items()}
        if self.compare:
            one, other = self.compare
            comparison = Comparison(self.width, dtype=self.dtype, name="comparison")
            alignment = comparison(grids[one], grids[other], valid[one], valid[other])
            for known in (present, keep):
                known["sync"] = known[one] & known[other] & alignment["valid"].any(1)
            looked_at["sync"] = over_time["sync"] = alignment["tokens"]
            pooled["sync"] = alignment["pooled"]
            apart = jnp.abs(alignment["x"] - alignment["y"]) * alignment["x"].shape[-1] ** 0.5
            over_time["difference"] = dense("steps_difference", apart)

        steps = max(x.shape[1] for stream, x in over_time.items() if stream != "image")
        if "audio" in valid:
            steps = valid["audio"].shape[1]  # 25 a second, whatever the encoders give
        if steps % 2 ** (self.levels - 1):
            raise ValueError(f"config.model.levels={self.levels}: {steps} steps cannot be halved so often")
        frame_valid = jnp.stack([valid_steps(of, steps) for s, of in valid.items() if s != "image"]).any(0)
        parts = [
            jnp.where(keep["sync" if s == "difference" else s][:, None, None], to_steps(x, steps), 0)
            for s, x in sorted(over_time.items())
        ]
        trunk = nn.gelu(nn.LayerNorm(dtype=self.dtype, name="norm_trunk")(dense("join", jnp.concatenate(parts, -1))))
        for i in range(self.depth):
            block = Block(self.width, dtype=self.dtype, name=f"trunk{i}")
            trunk = trunk + dropout(block(trunk, frame_valid))

        embed_time = TimeEmbedding(self.width, dtype=self.dtype, name="time")
        tokens = {}
        for stream, x in looked_at.items():
            modality = self.param(f"modality_{stream}", nn.initializers.normal(0.02), (self.width,))
            time = embed_time(x.shape[1]).reshape(1, x.shape[1], *[1] * (x.ndim - 3), self.width)
            tokens[stream] = x + time + modality.astype(x.dtype)
        fused = self.fusion(tokens, keep, train=train, capture=capture)
        real = jnp.where(frame_valid[..., None], trunk, 0)
        mean = real.sum(1, dtype=jnp.float32) / jnp.maximum(frame_valid.sum(1, keepdims=True), 1)
        whole = jnp.concatenate([fused["fused"], mean.astype(self.dtype), max_over(real, 1)], -1)
        beside, types = jax.lax.stop_gradient(whole) if self.detached else whole, len(self.vocabulary)

        out: Outputs = {
            "logits": head("head", whole, 1)[:, 0],
            "type_logits": head("head_type", whole, types).at[:, 0].set(-1e9),
            "flat_logits": head("head_flat", beside, types),
            "cue_logits": head("head_cues", beside, len(CUES)),
            "stream_logits": {stream: head(f"head_{stream}", x, 1)[:, 0] for stream, x in pooled.items()},
            "frame_valid": frame_valid,
            **self._localised(trunk, frame_valid),
            "embeddings": {**pooled, "fused": whole},
            "encoders": encoded,
            "present": present,
        }
        if "image" in grids:
            out["map_logits"] = head("head_map", grids["image"], 1)[..., 0]
        if alignment:
            out["alignment"] = alignment
        return out | {name: fused[name] for name in ("attention", "cross_attention") if name in fused}

    def _with_grad_cam(self, batch: Batch, capture: Sequence[str]) -> Outputs:
        """All outputs of a batch whose streams are encoded, and how `logits` follows the image encoder's tokens."""
        model, variables = self.unbind()
        tokens = batch["image"]["tokens"]

        def read(tokens: Array) -> tuple[Array, Outputs]:
            given = {**batch, "image": {**batch["image"], "tokens": tokens}}
            out = model.apply(variables, given, capture=capture)
            return out["logits"], out

        logits, pull, out = jax.vjp(read, tokens, has_aux=True)
        (gradient,) = pull(jnp.ones_like(logits))
        weights = gradient.mean((2, 3), keepdims=True, dtype=jnp.float32)
        return {**out, "grad_cam": nn.relu((weights * tokens).sum(-1, dtype=jnp.float32))}

    def _localised(self, x: Array, valid: Array) -> Outputs:
        """`frame_logits` and `distances` of all levels; the heads are the same on all."""
        # Far enough apart that a step sees the ends of a segment of a second and more.
        blocks = [Block(self.width, reach, dtype=self.dtype, name=f"localise{i}") for i, reach in enumerate((4, 8))]
        # Begins sure of little: focal loss is unsteady where all steps begin as likely broken.
        broken = nn.Dense(len(CUES), bias_init=nn.initializers.constant(-1.0), name="head_frames")
        ends = nn.Dense(2, name="head_distances")
        logits, distances = [], []
        for level in range(self.levels):
            if level:
                # An even kernel keeps each step over the middle of the two that it covers.
                shrink = nn.Conv(self.width, (4,), (2,), padding=((1, 1),), dtype=self.dtype, name=f"shrink{level}")
                x, valid = nn.gelu(shrink(x)), valid_steps(valid, x.shape[1] // 2)
            y = x
            for block in blocks:
                y = y + block(y, valid)
            y = y.astype(jnp.float32)
            logits.append(broken(y))
            # On a logarithmic scale a tenth of a short distance and of a long one are learnt alike.
            distances.append(jnp.exp(jnp.clip(ends(y), -4.0, 4.0)) * 0.2 * 2**level)
        return {"frame_logits": tuple(logits), "distances": tuple(distances)}


class Block(nn.Module):
    """Norm, a convolution over five steps that lie `apart`, GELU: x [b t d]; steps not `valid [b t]` are seen as 0."""

    width: int
    apart: int = 1
    kernel: int = 5
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, valid: Array) -> Array:
        x = jnp.where(valid[..., None], nn.LayerNorm(dtype=self.dtype, name="norm")(x), 0)
        convolve = nn.Conv(self.width, (self.kernel,), kernel_dilation=self.apart, dtype=self.dtype, name="conv")
        return nn.gelu(convolve(x))


def _over_space(grid: Array) -> Array:
    """Tokens [b t … c] to a vector a step: as they are, or mean and maximum over the positions [b t 2c]."""
    if grid.ndim == 3:
        return grid
    flat = grid.reshape(*grid.shape[:2], -1, grid.shape[-1])
    return jnp.concatenate([flat.mean(2, dtype=jnp.float32).astype(grid.dtype), max_over(flat, 2)], -1)
