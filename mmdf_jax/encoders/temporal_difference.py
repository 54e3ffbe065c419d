"""A temporal difference network: frames, and what changes between them, at short and at long range.

After TDN (Wang et al. 2021), on residual blocks of two 3x3 convolutions. Short range: what convolutions make of the
differences of pixels to both neighbours joins the frame's features, twice. Long range: differences of deep features
between frames tell which of a frame's features to strengthen.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax import flops
from mmdf_jax.layers.conv import Conv3D
from mmdf_jax.layers.norm import Norm
from mmdf_jax.layers.pixels import IMAGENET_MEAN, IMAGENET_STD, normalize
from mmdf_jax.layers.transformer import call
from mmdf_jax.typing import Array, Dtype, Outputs


class Model(nn.Module):
    """Video [b t h w c] (uint8, or float in [0, 1]) to features; time keeps its resolution.

    valid: [b t] bool, True on real frames (a prefix); the others are blanked and left out of `pooled`.
    Returns tokens [b t h' w' d], pooled [b d], their mean, tokens_mask [b t] and change [b t h w], the magnitude of
    the differences to both neighbours in standard deviations of a pixel: a picture of what moved.

    width: channels of the first stage; doubled by each later one. stem_kernel, strides: of the stem and of each stage.
    span: frames between those whose deep features are compared (long range).
    squeeze: by how much the long-range branch narrows the channels.
    norm: "group" (statistics of each frame alone) or "batch".
    """

    width: int = 64
    stage_sizes: tuple[int, ...] = (2, 2, 2, 2)
    stem_kernel: int = 7
    strides: tuple[int, ...] = (2, 2, 2, 2, 2)
    span: int = 4
    squeeze: int = 4
    norm: str = "group"
    remat: bool = False
    dtype: Dtype = jnp.float32
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    @nn.compact
    def __call__(
        self, x: Array, *, valid: Array | None = None, train: bool = False, capture: Sequence[str] = ()
    ) -> Outputs:
        del capture  # nothing here takes memory to keep
        if len(self.strides) != len(self.stage_sizes) + 1:
            raise ValueError(
                f"temporal_difference: {len(self.stage_sizes)} stages need {len(self.stage_sizes) + 1} strides "
                f"(the stem's first), got {self.strides}"
            )
        mask = jnp.ones(x.shape[:2], bool) if valid is None else valid

        def convolve(name: str, x: Array, features: int, kernel: int, stride: int) -> Array:
            x = Conv3D(features, (1, kernel, kernel), (1, stride, stride), dtype=self.dtype, name=name)(x)
            x = nn.relu(normalize_frames(self.norm, x, self.dtype, f"{name}_norm", train=train))
            return blank(x, mask)

        x = blank(normalize(x, self.mean, self.std, self.dtype), mask)
        back, ahead = neighbours(x, 1, mask)
        change = jnp.concatenate([back, ahead], axis=-1)
        magnitude = jnp.abs(change.astype(jnp.float32)).mean(-1)

        frame = convolve("stem", x, self.width, self.stem_kernel, self.strides[0])
        moved = convolve("change_stem", change, self.width // 2, self.stem_kernel, self.strides[0])
        x = frame + Conv3D(self.width, (1, 1, 1), dtype=self.dtype, name="change_join0")(moved)

        for i, (blocks, stride) in enumerate(zip(self.stage_sizes, self.strides[1:], strict=True), 1):
            for j in range(blocks):
                block = Block(
                    self.width * 2 ** (i - 1),
                    stride if j == 0 else 1,
                    # The first stage sees short-range changes; later ones compare frames further apart.
                    span=0 if i == 1 else self.span,
                    squeeze=self.squeeze,
                    norm=self.norm,
                    dtype=self.dtype,
                    name=f"stage{i}_block{j}",
                )
                x = call(block, x, mask, train=train, remat=self.remat)
            if i == 1:
                moved = convolve("change_stage", moved, self.width // 2, 3, stride)
                x = x + Conv3D(self.width, (1, 1, 1), dtype=self.dtype, name="change_join1")(moved)

        weights = mask / jnp.maximum(mask.sum(1, keepdims=True), 1)
        pooled = jnp.einsum("btd,bt->bd", x.mean((2, 3), dtype=jnp.float32), weights)
        return {"tokens": x, "pooled": pooled.astype(x.dtype), "tokens_mask": mask, "change": magnitude}


class Block(nn.Module):
    """Long-range excitation, channel-wise mixing over three frames, two convolutions and a skip: [b t h w c]."""

    features: int
    stride: int
    span: int
    squeeze: int
    norm: str
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, mask: Array, *, train: bool) -> Array:
        def convolve(name: str, x: Array, kernel: int, stride: int) -> Array:
            x = Conv3D(self.features, (1, kernel, kernel), (1, stride, stride), dtype=self.dtype, name=name)(x)
            return normalize_frames(self.norm, x, self.dtype, f"{name}_norm", train=train)

        y = x
        if self.span:
            y = Excitation(self.span, self.squeeze, dtype=self.dtype, name="excite")(y, mask)
        y = blank(nn.relu(convolve("conv1", mix(self, y, self.dtype), 3, self.stride)), mask)
        y = convolve("conv2", y, 3, 1)
        if x.shape != y.shape:
            x = convolve("skip", x, 1, self.stride)
        return blank(nn.relu(x + y), mask)


class Excitation(nn.Module):
    """x (1 + gate), the gate in (0, 1) from squeezed differences to the frames `span` before and after."""

    span: int
    squeeze: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, mask: Array) -> Array:
        c = x.shape[-1]
        small = Conv3D(max(c // self.squeeze, 8), (1, 1, 1), dtype=self.dtype, name="squeeze")(x)
        look = Conv3D(small.shape[-1], (1, 3, 3), dtype=self.dtype, name="look")
        expand = Conv3D(c, (1, 1, 1), dtype=self.dtype, name="expand")
        # The other frame is convolved before the difference, which lets it be aligned (TDN, equation 7).
        back, ahead = neighbours(small, self.span, mask, look(small))
        gate = (jax.nn.sigmoid(expand(back)) + jax.nn.sigmoid(expand(ahead))) / 2
        return x + x * gate


def neighbours(x: Array, span: int, mask: Array, other: Array | None = None) -> tuple[Array, Array]:
    """Differences of each frame of x [b t ...] to `other` (x itself) `span` frames before and after; 0 where none is.

    A clip shorter than `span` is compared at the longest distance it has.
    """
    other = x if other is None else other
    t = x.shape[1]
    span = min(span, max(t - 1, 1))
    both = blank(jnp.ones_like(x[..., :1]), mask)
    pad = [(0, 0)] * (x.ndim - 2)

    def shift(y: Array, before: bool) -> Array:
        sides = (span, 0) if before else (0, span)
        y = jnp.pad(y, ((0, 0), sides, *pad))
        return y[:, :t] if before else y[:, span:]

    return tuple((x - shift(other, before)) * both * shift(both, before) for before in (True, False))


def mix(module: nn.Module, x: Array, dtype: Dtype) -> Array:
    """Channel-wise convolution over three frames; starts as the identity."""
    taps = module.param("mix", lambda *_: jnp.zeros((3, x.shape[-1])).at[1].set(1)).astype(dtype)
    t = x.shape[1]
    padded = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0), (0, 0)))
    return sum(padded[:, i : i + t] * taps[i] for i in range(3))


def normalize_frames(kind: str, x: Array, dtype: Dtype, name: str, *, train: bool) -> Array:
    """Norm over each frame as a sample of its own: what else is in the clip, padding too, does not matter."""
    folded = x.reshape(-1, *x.shape[2:])
    return Norm(kind, dtype=dtype, name=name)(folded, train=train).reshape(x.shape)


def blank(x: Array, mask: Array) -> Array:
    """x [b t h w c] with 0 where mask [b t] is False."""
    return jnp.where(mask[:, :, None, None, None], x, 0)


def macs(model: Model, shape: Sequence[int]) -> flops.Macs:
    """Multiply-adds on one input of this shape, see `mmdf_jax.flops`."""
    size, width, k = tuple(shape[:3]), model.width, model.stem_kernel
    stride = (1, model.strides[0], model.strides[0])
    frame, out = flops.conv(size, stride, (1, k, k), shape[3], width)
    change, _ = flops.conv(size, stride, (1, k, k), 2 * shape[3], width // 2)
    rest, size, c = math.prod(out) * (width // 2) * width, out, width
    for i, (blocks, stride) in enumerate(zip(model.stage_sizes, model.strides[1:], strict=True)):
        for j in range(blocks):
            if i:
                small = max(c // model.squeeze, 8)
                rest += math.prod(size) * (3 * c * small + 9 * small**2)
            step = (1, stride, stride) if j == 0 else (1, 1, 1)
            work, size, c = flops.residual(size, step, (1, 3, 3), c, width * 2**i, 1)
            rest += work
        if i == 0:
            moved, _ = flops.conv(out, (1, stride, stride), (1, 3, 3), width // 2, width // 2)
            rest += moved + math.prod(size) * (width // 2) * width
    return flops.Macs(frame + change, rest)


VARIANTS: dict[str, dict[str, Any]] = {
    "tiny": dict(
        width=16,
        stage_sizes=(1, 1, 1, 1),
        stem_kernel=3,
        strides=(2, 2, 2, 2, 1),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    ),
    "resnet18": dict(),
    "resnet34": dict(stage_sizes=(3, 4, 6, 3)),
    # Of two channels that are differences themselves. How large they are tells something: no statistics of a frame.
    "tiny_differences": dict(
        width=16,
        stage_sizes=(1, 1, 1),
        stem_kernel=3,
        strides=(2, 2, 2, 2),
        norm="batch",
        mean=(0.0, 0.0),
        std=(1.0, 1.0),
    ),
    "resnet18_differences": dict(norm="batch", mean=(0.0, 0.0), std=(1.0, 1.0)),
}

EXAMPLE = jax.ShapeDtypeStruct((1, 4, 64, 64, 3), jnp.uint8)
SHALLOW: dict[str, Any] = dict(stage_sizes=(1, 1, 1, 1))
BENCHMARK = ("resnet18",)
