"""A residual CNN over a spectral front end: log-mel, MFCC or LFCC, chosen by a field.

Residual networks over such features are the usual baselines of spoofed-speech detection (Alzantot et al. 2019).
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax import flops
from mmdf_jax.layers import spectrogram
from mmdf_jax.layers.conv import Conv2D
from mmdf_jax.layers.dense import Dense
from mmdf_jax.layers.norm import BatchNorm, GroupNorm
from mmdf_jax.layers.pool import max_over
from mmdf_jax.layers.spec_augment import spec_augment
from mmdf_jax.layers.transformer import call
from mmdf_jax.layers.valid import valid_frames, valid_samples
from mmdf_jax.typing import Array, Dtype, Outputs

# Function, and about the mean and standard deviation of its features over speech.
FRONT_ENDS = {
    "log_mel": (spectrogram.log_mel, -45.0, 20.0),
    "mfcc": (spectrogram.mfcc, 0.0, 60.0),
    "lfcc": (spectrogram.lfcc, 0.0, 60.0),
}


class Model(nn.Module):
    """Audio [b s] (int16, or float in [-1, 1], 16 kHz) to features over time.

    valid: [b s'] bool, True on real samples (a prefix), s' dividing s. Padding changes nothing: the frames, statistics
    and averages of a padded sample are those of the sample alone.
    Returns tokens [b t d], pooled [b d] (mean plus maximum over time, Kong et al. 2020), tokens_mask [b t], and
    spectrogram [b t' bins], what the network looks at.

    front_end, front_end_options: a name of FRONT_ENDS and the options of that function.
    width: channels of the first stage; doubled by each later one. d is that of the last.
    strides: (time, frequency) of the stem and of each stage.
    mean, std: of the features; None takes the front end's. dropout: on the tokens.
    augment: options of layers.spec_augment, which strikes blocks out of the features in training; None: nothing.

    norm: "group" takes its statistics over the sample's own time, which makes padding harmless in training too; "batch"
      keeps what a token sees within its convolutions, as lip-sync needs it.
    """

    front_end: str = "log_mel"
    front_end_options: Mapping[str, Any] | None = None
    width: int = 64
    stage_sizes: tuple[int, ...] = (2, 2, 2, 2)
    strides: tuple[tuple[int, int], ...] = ((2, 2), (1, 1), (2, 2), (2, 2), (1, 2))
    mean: float | None = None
    std: float | None = None
    dropout: float = 0.0
    augment: Mapping[str, Any] | None = None
    norm: str = "group"
    remat: bool = False
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Array, *, valid: Array | None = None, train: bool = False, capture: Sequence[str] = ()
    ) -> Outputs:
        del capture  # nothing here takes memory to keep
        if self.front_end not in FRONT_ENDS:
            raise ValueError(
                f"spectrogram_cnn: front_end must be one of {', '.join(FRONT_ENDS)}, not {self.front_end!r}"
            )
        if len(self.strides) != len(self.stage_sizes) + 1:
            raise ValueError(
                f"spectrogram_cnn: {len(self.stage_sizes)} stages need {len(self.stage_sizes) + 1} strides "
                f"(the stem's first), got {self.strides}"
            )
        function, mean, std = FRONT_ENDS[self.front_end]
        options = dict(self.front_end_options or {})
        x, mask = spectrogram.to_float(x), valid_samples(valid, x.shape[-1])
        if mask is not None:
            x = jnp.where(mask, x, 0.0)
        features = function(x, **options)
        if mask is not None:
            mask = valid_frames(mask, features.shape[1], hop=options.get("hop", 160))

        mean = mean if self.mean is None else self.mean
        std = std if self.std is None else self.std
        x = (features - mean) / std
        if train and self.augment is not None:
            x = spec_augment(self.make_rng("dropout"), x, **self.augment)
        x = (x if mask is None else jnp.where(mask[..., None], x, 0)).astype(self.dtype)[..., None]

        x = Conv2D(self.width, (3, 3), self.strides[0], dtype=self.dtype, name="stem")(x)
        mask = _stride(mask, self.strides[0])
        x = nn.relu(_norm(self.norm, x, mask, self.dtype, "stem_norm", train=train))
        for i, (blocks, strides) in enumerate(zip(self.stage_sizes, self.strides[1:], strict=True)):
            for j in range(blocks):
                strides = tuple(strides) if j == 0 else (1, 1)
                block = Block(self.width * 2**i, strides, self.norm, dtype=self.dtype, name=f"stage{i}_block{j}")
                x = call(block, x, mask, train=train, remat=self.remat)
                mask = _stride(mask, strides)

        # Frequencies are told apart to the end: a vocoder's traces lie in particular bands.
        d = x.shape[-1]
        x = Dense(d, dtype=self.dtype, name="bins")(x.reshape(*x.shape[:2], -1))
        x = nn.relu(nn.LayerNorm(dtype=self.dtype, name="norm")(x))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        mask = jnp.ones(x.shape[:2], bool) if mask is None else mask
        real = jnp.where(mask[..., None], x, 0)  # at least 0 after the ReLU, so the maximum needs no other filler
        total = real.sum(1, dtype=jnp.float32) / jnp.maximum(mask.sum(1, keepdims=True), 1)
        pooled = total.astype(x.dtype) + max_over(real, 1)
        return {"tokens": real, "pooled": pooled, "tokens_mask": mask, "spectrogram": features}


class Block(nn.Module):
    """Two 3x3 convolutions and a skip over x [b t f c], projected where the shape changes; mask [b t] of x, or None."""

    features: int
    strides: tuple[int, int]
    norm: str = "group"
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, mask: Array | None, *, train: bool) -> Array:
        mask = _stride(mask, self.strides)
        y = Conv2D(self.features, (3, 3), self.strides, dtype=self.dtype, name="conv1")(x)
        y = nn.relu(_norm(self.norm, y, mask, self.dtype, "norm1", train=train))
        y = Conv2D(self.features, (3, 3), dtype=self.dtype, name="conv2")(y)
        y = _norm(self.norm, y, mask, self.dtype, "norm2", train=train)
        if x.shape != y.shape:
            x = Conv2D(self.features, (1, 1), self.strides, dtype=self.dtype, name="skip")(x)
        return nn.relu(x + y)


def _norm(kind: str, x: Array, mask: Array | None, dtype: Dtype, name: str, *, train: bool) -> Array:
    """A norm over the real frames; padded ones become 0, as the convolutions' own padding is."""
    if kind not in ("group", "batch"):
        raise ValueError(f"spectrogram_cnn: norm must be 'group' or 'batch', not {kind!r}")
    if kind == "batch":  # in training padded frames enter the statistics as zeros
        x = BatchNorm(momentum=0.9, dtype=dtype, name=name)(x, train=train)
    else:
        x = GroupNorm(dtype=dtype, name=name)(x, None if mask is None else mask[..., None])
    return x if mask is None else jnp.where(mask[..., None, None], x, 0)


def _stride(mask: Array | None, strides: tuple[int, int]) -> Array | None:
    return None if mask is None else mask[:, :: strides[0]]


def macs(model: Model, shape: Sequence[int]) -> flops.Macs:
    """Multiply-adds on one input of this shape, see `mmdf_jax.flops`."""
    front_end = functools.partial(FRONT_ENDS[model.front_end][0], **(model.front_end_options or {}))
    size = jax.eval_shape(front_end, jax.ShapeDtypeStruct((1, *shape), jnp.float32)).shape[1:]
    c, rest = model.width, 0
    first, size = flops.conv(size, model.strides[0], (3, 3), 1, c)
    for i, (blocks, strides) in enumerate(zip(model.stage_sizes, model.strides[1:], strict=True)):
        work, size, c = flops.residual(size, strides, (3, 3), c, model.width * 2**i, blocks)
        rest += work
    return flops.Macs(first, rest + math.prod(size) * c**2)


VARIANTS: dict[str, dict[str, Any]] = {
    "tiny": dict(
        front_end_options={"bins": 64, "n_fft": 512, "win_length": 400, "hop": 160},
        width=16,
        stage_sizes=(1, 1, 1, 1),
        strides=((2, 2), (1, 1), (2, 2), (2, 2), (1, 2)),
    ),
    # 25 tokens a second, each of which sees 0.24 s, for comparison with pictures of mouths
    "tiny_25hz": dict(
        front_end_options={"bins": 40, "n_fft": 512, "win_length": 400, "hop": 160, "center": False},
        width=32,
        stage_sizes=(1, 1),
        strides=((1, 2), (2, 2), (2, 2)),
        norm="batch",
    ),
    "resnet18": dict(),
    "resnet34": dict(stage_sizes=(3, 4, 6, 3)),
}

EXAMPLE = jax.ShapeDtypeStruct((1, 4000), jnp.float32)
SHALLOW: dict[str, Any] = dict(stage_sizes=(1, 1, 1, 1))
BENCHMARK = ("resnet18",)
LAST = ("bins", "norm")
