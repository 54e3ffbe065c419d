"""3-D ResNets of 18 layers (Tran et al. 2018): R3D, mixed convolution MC3 and factorised R(2+1)D.

Weights: torchvision's `r3d_18`, `mc3_18` and `r2plus1d_18` state dictionaries (Kinetics-400) saved as safetensors.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax import flops
from mmdf_jax.layers.conv import Conv3D
from mmdf_jax.layers.norm import Norm
from mmdf_jax.layers.pixels import normalize
from mmdf_jax.layers.transformer import call
from mmdf_jax.typing import Array, Dtype, Outputs
from mmdf_jax.weights.rules import conv, same

KINDS = ("r3d", "mc3", "r2plus1d")


class Model(nn.Module):
    """Video [b t h w c] (uint8, or float in [0, 1]) to features; any length and size.

    valid: [b t] bool, True on real frames (a prefix); the others are blanked and left out of `pooled`.
    Returns tokens [b t' h' w' d], pooled [b d], their mean, and, given `valid`, tokens_mask [b t'].

    kind: "r3d" (3x3x3 convolutions), "mc3" (those in the first stage, then 1x3x3), "r2plus1d" (1x3x3 then 3x1x1, with
    as many parameters as the 3x3x3 they replace).
    width: channels of the first stage; doubled by each later one.
    stem_kernel, stem_strides, strides: kernel of the stem, strides (t h w) of the stem and of each stage.
    norm: "batch" (the published networks) or "group" (for batches of a few clips), see `mmdf_jax.layers.norm`.
    """

    kind: str = "r3d"
    width: int = 64
    stage_sizes: tuple[int, ...] = (2, 2, 2, 2)
    stem_kernel: tuple[int, int, int] = (3, 7, 7)
    stem_strides: tuple[int, int, int] = (1, 2, 2)
    strides: tuple[tuple[int, int, int], ...] = ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2))
    norm: str = "batch"
    remat: bool = False
    dtype: Dtype = jnp.float32
    mean: tuple[float, ...] = (0.43216, 0.394666, 0.37645)
    std: tuple[float, ...] = (0.22803, 0.22145, 0.216989)

    @nn.compact
    def __call__(
        self, x: Array, *, valid: Array | None = None, train: bool = False, capture: Sequence[str] = ()
    ) -> Outputs:
        del capture  # nothing here takes memory to keep
        if self.kind not in KINDS:
            raise ValueError(f"resnet3d: kind must be one of {', '.join(KINDS)}, not {self.kind!r}")
        if len(self.strides) != len(self.stage_sizes):
            raise ValueError(f"resnet3d: {len(self.stage_sizes)} stages need as many strides, got {self.strides}")
        frames = x.shape[1]
        x = normalize(x, self.mean, self.std, self.dtype)
        if valid is not None:
            x = jnp.where(valid[:, :, None, None, None], x, 0)

        def norm(name: str, x: Array) -> Array:
            return nn.relu(Norm(self.norm, dtype=self.dtype, name=name)(x, train=train))

        kt, kh, kw = self.stem_kernel
        st, sh, sw = self.stem_strides
        if self.kind == "r2plus1d":
            middle = self.width * 45 // 64
            x = Conv3D(middle, (1, kh, kw), (1, sh, sw), dtype=self.dtype, name="stem_space")(x)
            x = norm("stem_space_norm", x)
            x = Conv3D(self.width, (kt, 1, 1), (st, 1, 1), dtype=self.dtype, name="stem_time")(x)
            x = norm("stem_time_norm", x)
        else:
            x = Conv3D(self.width, self.stem_kernel, self.stem_strides, dtype=self.dtype, name="stem")(x)
            x = norm("stem_norm", x)

        for i, (blocks, strides) in enumerate(zip(self.stage_sizes, self.strides, strict=True), 1):
            kind = "space" if self.kind == "mc3" and i > 1 else self.kind
            strides = (1, *strides[1:]) if kind == "space" else tuple(strides)
            for j in range(blocks):
                block = Block(
                    kind,
                    self.width * 2 ** (i - 1),
                    strides if j == 0 else (1, 1, 1),
                    norm=self.norm,
                    dtype=self.dtype,
                    name=f"stage{i}_block{j}",
                )
                x = call(block, x, train=train, remat=self.remat)

        if valid is None:
            return {"tokens": x, "pooled": x.mean((1, 2, 3), dtype=jnp.float32).astype(x.dtype)}
        tokens_mask = valid[:, :: frames // x.shape[1]][:, : x.shape[1]]
        weights = tokens_mask / jnp.maximum(tokens_mask.sum(1, keepdims=True), 1)
        pooled = jnp.einsum("btd,bt->bd", x.mean((2, 3), dtype=jnp.float32), weights)
        return {"tokens": x, "pooled": pooled.astype(x.dtype), "tokens_mask": tokens_mask}


class Block(nn.Module):
    """Two convolutions and a skip, projected where the shape changes (ResNet's basic block, post-activation)."""

    kind: str
    features: int
    strides: tuple[int, int, int]
    norm: str = "batch"
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        c = x.shape[-1]
        # Chosen by the original so that both factors together have the parameters of c -> features with 3x3x3.
        middle = 27 * c * self.features // (9 * c + 3 * self.features)

        def norm(name: str, x: Array) -> Array:
            return Norm(self.norm, dtype=self.dtype, name=name)(x, train=train)

        def convolve(name: str, x: Array, strides: tuple[int, int, int]) -> Array:
            if self.kind == "r2plus1d":
                x = Conv3D(middle, (1, 3, 3), (1, *strides[1:]), dtype=self.dtype, name=f"{name}_space")(x)
                x = nn.relu(norm(f"{name}_space_norm", x))
                return Conv3D(self.features, (3, 1, 1), (strides[0], 1, 1), dtype=self.dtype, name=f"{name}_time")(x)
            kernel = (1, 3, 3) if self.kind == "space" else (3, 3, 3)
            return Conv3D(self.features, kernel, strides, dtype=self.dtype, name=name)(x)

        y = nn.relu(norm("norm1", convolve("conv1", x, self.strides)))
        y = norm("norm2", convolve("conv2", y, (1, 1, 1)))
        if c != self.features or self.strides != (1, 1, 1):
            x = Conv3D(self.features, (1, 1, 1), self.strides, dtype=self.dtype, name="skip")(x)
            x = norm("skip_norm", x)
        return nn.relu(x + y)


def macs(model: Model, shape: Sequence[int]) -> flops.Macs:
    """Multiply-adds on one input of this shape, see `mmdf_jax.flops`."""

    def factors(
        shape: Sequence[int], strides: Sequence[int], kernel: Sequence[int], c: int, middle: int, d: int
    ) -> tuple[int, int, tuple]:
        """Both convolutions of a (2+1)D pair."""
        space, shape = flops.conv(shape, (1, *strides[1:]), (1, *kernel[1:]), c, middle)
        time, shape = flops.conv(shape, (strides[0], 1, 1), (kernel[0], 1, 1), middle, d)
        return space, time, shape

    size, channels, c, rest = tuple(shape[:3]), shape[3], model.width, 0
    if model.kind == "r2plus1d":
        first, rest, size = factors(size, model.stem_strides, model.stem_kernel, channels, c * 45 // 64, c)
    else:
        first, size = flops.conv(size, model.stem_strides, model.stem_kernel, channels, c)
    for i, (blocks, strides) in enumerate(zip(model.stage_sizes, model.strides, strict=True)):
        space = model.kind == "mc3" and i > 0
        d = model.width * 2**i
        for j in range(blocks):
            strides = (1, 1, 1) if j else (1, *strides[1:]) if space else tuple(strides)
            middle = 27 * c * d // (9 * c + 3 * d)
            if c != d or strides != (1, 1, 1):
                rest += flops.conv(size, strides, (1, 1, 1), c, d)[0]
            for width_in, step in ((c, strides), (d, (1, 1, 1))):
                if model.kind == "r2plus1d":
                    *both, size = factors(size, step, (3, 3, 3), width_in, middle, d)
                    rest += sum(both)
                else:
                    work, size = flops.conv(size, step, (1, 3, 3) if space else (3, 3, 3), width_in, d)
                    rest += work
            c = d
    return flops.Macs(first, rest)


VARIANTS: dict[str, dict[str, Any]] = {
    "tiny": dict(
        width=16,
        stage_sizes=(1, 1, 1, 1),
        stem_kernel=(3, 3, 3),
        strides=((1, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2)),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    ),
    "r3d_18": dict(),
    "mc3_18": dict(kind="mc3"),
    "r2plus1d_18": dict(kind="r2plus1d"),
}

EXAMPLE = jax.ShapeDtypeStruct((1, 8, 32, 32, 3), jnp.uint8)
SHALLOW: dict[str, Any] = dict(stage_sizes=(1, 1, 1, 1))
BENCHMARK = ("r3d_18", "r2plus1d_18")
MODEL_TYPES = ("r3d_18", "mc3_18", "r2plus1d_18")


def _norm(source: str, target: str) -> tuple[tuple[str, str, Callable], ...]:
    return (
        (rf"{source}\.weight", rf"params/{target}/norm/scale", same),
        (rf"{source}\.bias", rf"params/{target}/norm/bias", same),
        (rf"{source}\.running_mean", rf"batch_stats/{target}/norm/mean", same),
        (rf"{source}\.running_var", rf"batch_stats/{target}/norm/var", same),
    )


_BLOCK, _BLOCK_TO = r"layer(\d)\.(\d+)\.", r"stage\1_block\2/"
RULES = (
    (r"stem\.0\.weight", "params/stem/kernel", conv),
    *_norm(r"stem\.1", "stem_norm"),
    (_BLOCK + r"conv(\d)\.0\.weight", rf"params/{_BLOCK_TO}conv\3/kernel", conv),
    *_norm(_BLOCK + r"conv(\d)\.1", rf"{_BLOCK_TO}norm\3"),
    (_BLOCK + r"downsample\.0\.weight", rf"params/{_BLOCK_TO}skip/kernel", conv),
    *_norm(_BLOCK + r"downsample\.1", rf"{_BLOCK_TO}skip_norm"),
    # R(2+1)D's factors
    (r"stem\.0\.weight", "params/stem_space/kernel", conv),
    *_norm(r"stem\.1", "stem_space_norm"),
    (r"stem\.3\.weight", "params/stem_time/kernel", conv),
    *_norm(r"stem\.4", "stem_time_norm"),
    (_BLOCK + r"conv(\d)\.0\.0\.weight", rf"params/{_BLOCK_TO}conv\3_space/kernel", conv),
    *_norm(_BLOCK + r"conv(\d)\.0\.1", rf"{_BLOCK_TO}conv\3_space_norm"),
    (_BLOCK + r"conv(\d)\.0\.3\.weight", rf"params/{_BLOCK_TO}conv\3_time/kernel", conv),
)
DROPS = (r"fc\..*", r".*\.num_batches_tracked")


def from_config(config: dict[str, Any]) -> dict[str, Any]:
    """Fields of Model from `{"model_type": "r3d_18"}`, or "mc3_18", "r2plus1d_18"; `width` may differ from 64."""
    return {**VARIANTS[config["model_type"]], "width": config.get("width", 64)}
