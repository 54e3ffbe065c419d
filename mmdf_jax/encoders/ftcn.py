"""A fully temporal convolution network: no kernel looks beside its pixel, a transformer over time reads the rest.

Zheng et al., "Exploring Temporal Coherence for More General Video Face Forgery Detection", ICCV 2021: in a 3-D ResNet
every kernel is 1 in space, what strided there becomes a maximum, and a transformer reads the frames' means. So it
cannot learn what a fake looks like, only how pixels go on. Here time keeps its resolution. There are no published
weights: those of 3-D ResNets have kernels of other shapes.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmdf_jax import flops
from mmdf_jax.layers import transformer
from mmdf_jax.layers.conv import Conv3D
from mmdf_jax.layers.norm import LayerNorm, Norm
from mmdf_jax.layers.pixels import IMAGENET_MEAN, IMAGENET_STD, normalize
from mmdf_jax.typing import Array, Dtype, Outputs


class Model(nn.Module):
    """Video [b t h w c] (uint8, or float in [0, 1]) to one token a frame; any length and size.

    valid: [b t] bool, True on real frames; the others are blanked, not attended to and left out of `pooled`.
    Returns tokens [b t d], pooled [b d], their mean over real frames, and tokens_mask [b t].

    width: channels of the stem. widths: of each stage, which ends in `expansion` times as many; stage_sizes: blocks.
    pools: which of stem and stages halve the picture, before the stage's first block and after the stem.
    stem_kernel, kernel: frames that the stem and the middle convolution of each block look at.
    depth, heads, mlp_hidden, dropout: of the transformer.
    norm: "batch" or "group", see `mmdf_jax.layers.norm`.
    """

    width: int = 64
    widths: tuple[int, ...] = (64, 128, 256)
    stage_sizes: tuple[int, ...] = (3, 4, 6)
    expansion: int = 4
    pools: tuple[int, ...] = (2, 0, 1, 1)
    stem_kernel: int = 5
    kernel: int = 3
    depth: int = 1
    heads: int = 16
    mlp_hidden: int = 2048
    dropout: float = 0.1
    norm: str = "batch"
    remat: bool = False
    dtype: Dtype = jnp.float32
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    @nn.compact
    def __call__(
        self, x: Array, *, valid: Array | None = None, train: bool = False, capture: Sequence[str] = ()
    ) -> Outputs:
        stages = len(self.stage_sizes)
        if len(self.widths) != stages or len(self.pools) != stages + 1:
            raise ValueError(
                f"ftcn: {stages} stages need as many widths and {stages + 1} pools (the stem's first), "
                f"got {self.widths} and {self.pools}"
            )
        mask = jnp.ones(x.shape[:2], bool) if valid is None else valid
        x = blank(normalize(x, self.mean, self.std, self.dtype), mask)
        x = Conv3D(self.width, (self.stem_kernel, 1, 1), dtype=self.dtype, name="stem")(x)
        x = blank(nn.relu(Norm(self.norm, dtype=self.dtype, name="stem_norm")(x, train=train)), mask)
        for _ in range(self.pools[0]):
            x = halve(x)
        for i, (blocks, width) in enumerate(zip(self.stage_sizes, self.widths, strict=True), 1):
            for _ in range(self.pools[i]):
                x = halve(x)
            for j in range(blocks):
                block = Block(
                    width, self.expansion, self.kernel, norm=self.norm, dtype=self.dtype, name=f"stage{i}_block{j}"
                )
                x = transformer.call(block, x, mask, train=train, remat=self.remat)
        x = x.mean((2, 3), dtype=jnp.float32).astype(self.dtype)
        x = x + positions(*x.shape[1:]).astype(self.dtype)
        maps = []
        for i in range(self.depth):
            layer = transformer.Block(
                self.heads, self.mlp_hidden, dropout=self.dropout, dtype=self.dtype, name=f"time{i}"
            )
            x, weights = layer(x, mask[:, None, None], train=train, capture="attention" in capture)
            maps.append(weights)
        x = LayerNorm(dtype=self.dtype, name="time_norm")(x)
        share = mask / jnp.maximum(mask.sum(1, keepdims=True), 1)
        pooled = jnp.einsum("btd,bt->bd", x.astype(jnp.float32), share).astype(x.dtype)
        captured = {"attention": tuple(maps)} if "attention" in capture else {}
        return {"tokens": x, "pooled": pooled, "tokens_mask": mask, **captured}


class Block(nn.Module):
    """ResNet's bottleneck with a kernel over time in its middle, or, at expansion 1, its basic block: [b t h w c]."""

    features: int
    expansion: int
    kernel: int
    norm: str
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, mask: Array, *, train: bool) -> Array:
        out = self.features * self.expansion

        def convolve(name: str, x: Array, features: int, kernel: int) -> Array:
            x = Conv3D(features, (kernel, 1, 1), dtype=self.dtype, name=name)(x)
            return Norm(self.norm, dtype=self.dtype, name=f"{name}_norm")(x, train=train)

        kernels = (1, self.kernel, 1) if self.expansion > 1 else (self.kernel, self.kernel)
        y = x
        for i, kernel in enumerate(kernels, 1):
            last = i == len(kernels)
            y = convolve(f"conv{i}", y, out if last else self.features, kernel)
            # What is blank stays so: a kernel over time must not see what a norm's bias makes of it.
            y = y if last else blank(nn.relu(y), mask)
        if x.shape != y.shape:
            x = convolve("skip", x, out, 1)
        return blank(nn.relu(x + y), mask)


def blank(x: Array, mask: Array) -> Array:
    """x [b t h w c] with 0 where mask [b t] is False."""
    return jnp.where(mask[:, :, None, None, None], x, 0)


def halve(x: Array) -> Array:
    """The maxima of 2 x 2 pixels of x [b t h w c]; an odd last row or column stands alone."""
    h, w = x.shape[2:4]
    x = jnp.pad(x, ((0, 0), (0, 0), (0, h % 2), (0, w % 2), (0, 0)), mode="edge")
    x = jnp.maximum(x[:, :, ::2], x[:, :, 1::2])
    return jnp.maximum(x[:, :, :, ::2], x[:, :, :, 1::2])


def positions(t: int, d: int) -> Array:
    """Sines and cosines of each step [t d] (Vaswani et al. 2017)."""
    angles = np.arange(t)[:, None] / 10_000 ** (np.arange(0, d, 2) / d)
    return jnp.asarray(np.concatenate([np.sin(angles), np.cos(angles)], 1)[:, :d], jnp.float32)


def macs(model: Model, shape: Sequence[int]) -> flops.Macs:
    """Multiply-adds on one input of this shape, see `mmdf_jax.flops`."""
    t, h, w, channels = shape
    first, rest, c = math.prod(shape[:3]) * model.stem_kernel * channels * model.width, 0, model.width
    for pool, blocks, width in zip(model.pools, (0, *model.stage_sizes), (0, *model.widths), strict=True):
        for _ in range(pool):
            h, w = -(-h // 2), -(-w // 2)
        out = width * model.expansion
        for _ in range(blocks):
            inner = model.kernel * width**2
            work = c * width + inner + width * out if model.expansion > 1 else model.kernel * c * width + inner
            rest += t * h * w * (work + (c * out if c != out else 0))
            c = out
    return flops.Macs(first, rest + model.depth * flops.transformer_block(t, c, model.mlp_hidden))


VARIANTS: dict[str, dict[str, Any]] = {
    "tiny": dict(
        width=16,
        widths=(16, 32, 64),
        stage_sizes=(1, 1, 1),
        expansion=1,
        pools=(1, 1, 1, 1),
        heads=4,
        mlp_hidden=128,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    ),
    "resnet50": dict(),
}

EXAMPLE = jax.ShapeDtypeStruct((1, 6, 16, 16, 3), jnp.uint8)
SHALLOW: dict[str, Any] = dict(stage_sizes=(1, 1, 1))
LAST = (r"time\d+", "time_norm")
