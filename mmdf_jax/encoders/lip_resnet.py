"""Mouth crops to one token a frame: a 3-D convolution over five frames, then a 2-D ResNet on every frame.

This is the lip-reading front end of Stafylakis and Tzimiropoulos (2017), which LipForensics (Haliassos et al. 2021) and
AV-HuBERT (Shi et al. 2022) begin with. Convolutions over time may follow. Without them a token sees five frames alone:
0.2 s at 25 a second, the unit of SyncNet (Chung and Zisserman 2016).
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax import flops
from mmdf_jax.encoders.resnet3d import Block
from mmdf_jax.layers.conv import Conv3D
from mmdf_jax.layers.dense import Dense
from mmdf_jax.layers.frame_changes import changes, luminance
from mmdf_jax.layers.norm import Norm
from mmdf_jax.layers.pixels import normalize
from mmdf_jax.layers.transformer import call
from mmdf_jax.typing import Array, Dtype, Outputs


class Model(nn.Module):
    """Mouth crops [b t h w 1] (uint8, or float in [0, 1]), or video of as many channels as `mean`, to a token a frame.

    valid: [b t] bool, True on real frames; the others are blanked and left out of `pooled`.
    Returns tokens [b t d], pooled [b d] (mean over real frames) and, given `valid`, tokens_mask [b t].

    width: channels of the first stage; doubled by each later one. d is that of the last, or `features`.
    stem_kernel, stem_strides, strides: kernel of the stem, strides (t h w) of the stem and of each stage.
    features: 0 takes the mean over the positions of the last stage; otherwise a dense layer of so many channels reads
      them all, which keeps where in the crop something is, and fixes the crop's size.
    temporal: kernel sizes of residual convolutions over time, in frames.
    norm: "batch" (the published networks) or "group", see `mmdf_jax.layers.norm`.
    changes: reads what changes from frame to frame of the video (`layers.frame_changes.changes`), not the frames.
    """

    width: int = 64
    stage_sizes: tuple[int, ...] = (2, 2, 2, 2)
    stem_kernel: tuple[int, int, int] = (5, 7, 7)
    stem_strides: tuple[int, int, int] = (1, 2, 2)
    strides: tuple[tuple[int, int, int], ...] = ((1, 2, 2), (1, 2, 2), (1, 2, 2), (1, 2, 2))
    features: int = 0
    temporal: tuple[int, ...] = ()
    norm: str = "batch"
    remat: bool = False
    dtype: Dtype = jnp.float32
    mean: tuple[float, ...] = (0.421,)
    std: tuple[float, ...] = (0.165,)
    changes: bool = False

    @nn.compact
    def __call__(
        self, x: Array, *, valid: Array | None = None, train: bool = False, capture: Sequence[str] = ()
    ) -> Outputs:
        del capture  # nothing here takes memory to keep
        if len(self.strides) != len(self.stage_sizes):
            raise ValueError(f"lip_resnet: {len(self.stage_sizes)} stages need as many strides, got {self.strides}")

        def norm(name: str, x: Array) -> Array:
            return Norm(self.norm, dtype=self.dtype, name=name)(x, train=train)

        if self.changes:
            x = changes(luminance(x), valid).astype(self.dtype)
        else:
            x = normalize(x, self.mean, self.std, self.dtype)
        if valid is not None:
            x = jnp.where(valid[:, :, None, None, None], x, 0)
        x = Conv3D(self.width, self.stem_kernel, self.stem_strides, dtype=self.dtype, name="stem")(x)
        x = nn.relu(norm("stem_norm", x))
        for i, (blocks, strides) in enumerate(zip(self.stage_sizes, self.strides, strict=True), 1):
            for j in range(blocks):
                block = Block(
                    "space",
                    self.width * 2 ** (i - 1),
                    tuple(strides) if j == 0 else (1, 1, 1),
                    norm=self.norm,
                    dtype=self.dtype,
                    name=f"stage{i}_block{j}",
                )
                x = call(block, x, train=train, remat=self.remat)
        if self.features:
            x = Dense(self.features, dtype=self.dtype, name="positions")(x.reshape(*x.shape[:2], -1))
            x = nn.relu(norm("positions_norm", x))
        else:
            x = x.mean((2, 3), dtype=jnp.float32).astype(self.dtype)
        for i, kernel in enumerate(self.temporal):
            y = Conv3D(x.shape[-1], (kernel, 1, 1), dtype=self.dtype, name=f"temporal{i}")(x[:, :, None, None])
            x = x + nn.relu(norm(f"temporal{i}_norm", y[:, :, 0, 0]))
        if valid is None:
            return {"tokens": x, "pooled": x.mean(1, dtype=jnp.float32).astype(x.dtype)}
        weights = valid / jnp.maximum(valid.sum(1, keepdims=True), 1)
        pooled = jnp.einsum("btd,bt->bd", x.astype(jnp.float32), weights)
        return {"tokens": x, "pooled": pooled.astype(x.dtype), "tokens_mask": valid}


def macs(model: Model, shape: Sequence[int]) -> flops.Macs:
    """Multiply-adds on one input of this shape, see `mmdf_jax.flops`."""
    c, rest = model.width, 0
    first, size = flops.conv(shape[:3], model.stem_strides, model.stem_kernel, shape[3], c)
    for i, (blocks, strides) in enumerate(zip(model.stage_sizes, model.strides, strict=True)):
        work, size, c = flops.residual(size, strides, (1, 3, 3), c, model.width * 2**i, blocks)
        rest += work
    if model.features:
        rest += math.prod(size) * c * model.features
        c = model.features
    return flops.Macs(first, rest + size[0] * c**2 * sum(model.temporal))


_TINY_STEPS: dict[str, Any] = dict(
    width=16, stage_sizes=(1, 1, 1), stem_kernel=(1, 3, 3), strides=((1, 2, 2),) * 3, temporal=(3,)
)
VARIANTS: dict[str, dict[str, Any]] = {
    "tiny": dict(width=24, stage_sizes=(1, 1), stem_kernel=(5, 5, 5), strides=((1, 2, 2), (1, 2, 2)), features=96),
    "resnet18": dict(),
    "resnet18_temporal": dict(temporal=(5, 5, 5)),
    # 2-D, then over time, of what is 0 where nothing happens: flow and warp error, or two differences of frames.
    "motion_tiny": dict(**_TINY_STEPS, mean=(0.0,) * 3, std=(1.0,) * 3),
    "motion_resnet18": dict(stem_kernel=(1, 7, 7), temporal=(3, 3, 3), mean=(0.0,) * 3, std=(1.0,) * 3),
    "differences_tiny": dict(**_TINY_STEPS, mean=(0.0,) * 2, std=(1.0,) * 2),
    "differences_resnet18": dict(stem_kernel=(1, 7, 7), temporal=(3, 3, 3), mean=(0.0,) * 2, std=(1.0,) * 2),
    # The same of a video, whose differences the model takes itself.
    "changes_tiny": dict(**_TINY_STEPS, changes=True),
}

EXAMPLE = jax.ShapeDtypeStruct((1, 6, 32, 32, 1), jnp.uint8)
SHALLOW: dict[str, Any] = dict(stage_sizes=(1, 1), strides=((1, 2, 2), (1, 2, 2)))
LAST = (r"(positions|temporal\d+)(_norm)?",)
