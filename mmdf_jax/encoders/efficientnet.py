"""EfficientNet B0-B7 (Tan & Le 2019).

Weights: `google/efficientnet-b*` on the Hugging Face hub, or any EfficientNetModel that transformers has saved.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax import flops
from mmdf_jax.layers.dense import Dense
from mmdf_jax.layers.depthwise import DepthwiseConv
from mmdf_jax.layers.mlp import DropPath
from mmdf_jax.layers.norm import BatchNorm
from mmdf_jax.layers.pixels import IMAGENET_MEAN, IMAGENET_STD, normalize
from mmdf_jax.layers.pool import max_over
from mmdf_jax.layers.transformer import call
from mmdf_jax.typing import Array, Dtype, Outputs
from mmdf_jax.weights.rules import conv, pointwise, same


def round_width(width: float, divisor: int) -> int:
    """A scaled width as the nearest multiple of `divisor`, never more than 10 % below it."""
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * width else rounded


class Block(nn.Module):
    """Inverted bottleneck with squeeze and excitation (MBConv): [b h w c] -> [b h/stride w/stride width].

    padding: rows and columns added before and after the depthwise convolution; None is half its size all round.
    """

    width: int
    expand: int
    size: int
    stride: int
    residual: bool
    squeeze: int
    padding: tuple[int, int] | None = None
    drop_path: float = 0.0
    momentum: float = 0.99
    eps: float = 1e-3
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        def norm(name: str, y: Array) -> Array:
            return BatchNorm(self.momentum, self.eps, self.dtype, name=f"{name}_norm")(y, train=train)

        def dense(width: int, name: str, use_bias: bool = False) -> Dense:
            return Dense(width, use_bias=use_bias, dtype=self.dtype, name=name)

        y, hidden = x, x.shape[-1] * self.expand
        if self.expand != 1:
            y = nn.silu(norm("expand", dense(hidden, "expand")(y)))
        padding = None if self.padding is None else (self.padding, self.padding)
        y = DepthwiseConv(self.size, self.stride, padding, use_bias=False, dtype=self.dtype, name="depthwise")(y)
        y = nn.silu(norm("depthwise", y))
        gate = y.mean((1, 2), keepdims=True, dtype=jnp.float32).astype(y.dtype)
        gate = dense(hidden, "excite", use_bias=True)(nn.silu(dense(self.squeeze, "squeeze", use_bias=True)(gate)))
        y = norm("project", dense(self.width, "project")(y * nn.sigmoid(gate)))
        return x + DropPath(self.drop_path)(y, train=train) if self.residual else y


class Model(nn.Module):
    """Image [b h w 3] (uint8, or float in [0, 1]) to features; any size of at least 32. `valid` is ignored.

    Returns tokens [b h/32 w/32 head] (after the last 1x1 convolution) and pooled [b head], their mean. In training
    BatchNorm uses the batch's statistics, and `batch_stats` must be mutable; `momentum` weighs the running value,
    0.99 as in the original. `drop_path` grows linearly over the blocks (the original's drop connect, 0.2), and
    `dropout` acts on `pooled`. `square_padding` lists the blocks whose strided convolution meets an odd size at the
    variant's native resolution and pads evenly; the others pad one less before than after, as TensorFlow does.
    """

    width: float = 1.0
    depth: float = 1.0
    head: int = 1280
    square_padding: tuple[int, ...] = ()
    divisor: int = 8
    stem: int = 32
    inputs: tuple[int, ...] = (32, 16, 24, 40, 80, 112, 192)
    outputs: tuple[int, ...] = (16, 24, 40, 80, 112, 192, 320)
    repeats: tuple[int, ...] = (1, 2, 2, 3, 3, 4, 1)
    expands: tuple[int, ...] = (1, 6, 6, 6, 6, 6, 6)
    sizes: tuple[int, ...] = (3, 3, 5, 3, 5, 5, 3)
    strides: tuple[int, ...] = (1, 2, 2, 2, 1, 2, 1)
    squeeze: float = 0.25
    momentum: float = 0.99
    eps: float = 1e-3
    dropout: float = 0.0
    drop_path: float = 0.0
    pooling: str = "mean"
    remat: bool = False
    dtype: Dtype = jnp.float32
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    @nn.compact
    def __call__(
        self, x: Array, *, valid: Array | None = None, train: bool = False, capture: Sequence[str] = ()
    ) -> Outputs:
        del valid, capture  # a single picture has no steps

        def norm(name: str, y: Array) -> Array:
            return BatchNorm(self.momentum, self.eps, self.dtype, name=name)(y, train=train)

        x = normalize(x, self.mean, self.std, self.dtype)
        x = nn.Conv(
            round_width(self.stem * self.width, self.divisor),
            (3, 3),
            2,
            padding=((0, 1), (0, 1)),
            use_bias=False,
            dtype=self.dtype,
            name="stem",
        )(x)
        x = nn.silu(norm("stem_norm", x))

        repeats = [math.ceil(self.depth * n) for n in self.repeats]
        index = 0
        for i, repeat in enumerate(repeats):
            width_in, width = (round_width(self.width * n, self.divisor) for n in (self.inputs[i], self.outputs[i]))
            for j in range(repeat):
                stride = self.strides[i] if j == 0 else 1
                half = self.sizes[i] // 2
                block = Block(
                    width,
                    self.expands[i],
                    self.sizes[i],
                    stride,
                    residual=j > 0,
                    squeeze=max(1, int((width_in if j == 0 else width) * self.squeeze)),
                    padding=(half - 1, half) if stride == 2 and index not in self.square_padding else None,
                    drop_path=self.drop_path * index / sum(repeats),
                    momentum=self.momentum,
                    eps=self.eps,
                    dtype=self.dtype,
                    name=f"block{index}",
                )
                x = call(block, x, train=train, remat=self.remat)
                index += 1

        x = Dense(self.head, use_bias=False, dtype=self.dtype, name="head")(x)
        x = nn.silu(norm("head_norm", x))
        flat = x.reshape(x.shape[0], -1, x.shape[-1])
        pooled = max_over(flat, 1) if self.pooling == "max" else flat.mean(1, dtype=jnp.float32)
        return {"tokens": x, "pooled": nn.Dropout(self.dropout, deterministic=not train)(pooled)}


def macs(model: Model, shape: Sequence[int]) -> flops.Macs:
    """Multiply-adds on one input of this shape, see `mmdf_jax.flops`."""

    def scaled(width: int) -> int:
        return round_width(model.width * width, model.divisor)

    h, w = shape[0] // 2, shape[1] // 2
    first, rest, index = h * w * 9 * shape[2] * scaled(model.stem), 0, 0
    for i, repeat in enumerate(model.repeats):
        for j in range(math.ceil(model.depth * repeat)):
            c, d = scaled(model.outputs[i] if j else model.inputs[i]), scaled(model.outputs[i])
            hidden = c * model.expands[i]
            rest += h * w * c * hidden if model.expands[i] != 1 else 0
            if model.strides[i] == 2 and j == 0:
                extra = index in model.square_padding
                h, w = (h + extra) // 2, (w + extra) // 2
            rest += h * w * hidden * (model.sizes[i] ** 2 + d) + 2 * hidden * max(1, int(c * model.squeeze))
            index += 1
    return flops.Macs(first, rest + h * w * scaled(model.outputs[-1]) * model.head)


# width, depth, head and even paddings of the published checkpoints; 224, 240, 260, 300, 380, 456, 528, 600 pixels
VARIANTS: dict[str, dict[str, Any]] = {
    "tiny": dict(
        stem=16,
        inputs=(16, 16, 24, 40),
        outputs=(16, 24, 40, 64),
        repeats=(1, 1, 2, 2),
        expands=(1, 4, 4, 4),
        sizes=(3, 3, 5, 3),
        strides=(1, 2, 2, 2),
        head=192,
        momentum=0.9,
    ),
    "b0": dict(),
    "b1": dict(depth=1.1, square_padding=(16,)),
    "b2": dict(width=1.1, depth=1.2, head=1408, square_padding=(5, 8, 16)),
    "b3": dict(width=1.2, depth=1.4, head=1536, square_padding=(5, 18)),
    "b4": dict(width=1.4, depth=1.8, head=1792, square_padding=(6,)),
    "b5": dict(width=1.6, depth=2.2, head=2048, square_padding=(13, 27)),
    "b6": dict(width=1.8, depth=2.6, head=2304, square_padding=(31,)),
    "b7": dict(width=2.0, depth=3.1, head=2560, square_padding=(18,)),
}

EXAMPLE = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.uint8)
SHALLOW: dict[str, Any] = dict(
    inputs=(32, 16), outputs=(16, 24), repeats=(1, 2), expands=(1, 6), sizes=(3, 5), strides=(1, 2)
)
BENCHMARK = ("b0",)
LAST = ("head", "head_norm")
MODEL_TYPES = ("efficientnet",)

_E = r"(?:efficientnet\.)?"
_BLOCK = _E + r"encoder\.blocks\.(\d+)\."


def _norm(source: str, target: str) -> tuple[tuple[str, str, Any], ...]:
    return (
        (source + r"\.weight", f"params/{target}_norm/scale", same),
        (source + r"\.bias", f"params/{target}_norm/bias", same),
        (source + r"\.running_mean", f"batch_stats/{target}_norm/mean", same),
        (source + r"\.running_var", f"batch_stats/{target}_norm/var", same),
    )


RULES = (
    (_E + r"embeddings\.convolution\.weight", "params/stem/kernel", conv),
    *_norm(_E + r"embeddings\.batchnorm", "stem"),
    (_BLOCK + r"expansion\.expand_conv\.weight", r"params/block\1/expand/kernel", pointwise),
    *_norm(_BLOCK + r"expansion\.expand_bn", r"block\1/expand"),
    (_BLOCK + r"depthwise_conv\.depthwise_conv\.weight", r"params/block\1/depthwise/kernel", conv),
    *_norm(_BLOCK + r"depthwise_conv\.depthwise_norm", r"block\1/depthwise"),
    (_BLOCK + r"squeeze_excite\.reduce\.weight", r"params/block\1/squeeze/kernel", pointwise),
    (_BLOCK + r"squeeze_excite\.reduce\.bias", r"params/block\1/squeeze/bias", same),
    (_BLOCK + r"squeeze_excite\.expand\.weight", r"params/block\1/excite/kernel", pointwise),
    (_BLOCK + r"squeeze_excite\.expand\.bias", r"params/block\1/excite/bias", same),
    (_BLOCK + r"projection\.project_conv\.weight", r"params/block\1/project/kernel", pointwise),
    *_norm(_BLOCK + r"projection\.project_bn", r"block\1/project"),
    (_E + r"encoder\.top_conv\.weight", "params/head/kernel", pointwise),
    *_norm(_E + r"encoder\.top_bn", "head"),
)
DROPS = (r".*\.num_batches_tracked", r"classifier\..*")


def from_config(config: dict[str, Any]) -> dict[str, Any]:
    """Fields of Model from the config.json of an EfficientNetModel."""
    for name, known in {"hidden_act": ("swish", "silu"), "pooling_type": ("mean", "max")}.items():
        if config.get(name, known[0]) not in known:
            raise ValueError(f"EfficientNet: {name} {config[name]!r} is not supported, only {' or '.join(known)}")
    names = dict(
        inputs="in_channels",
        outputs="out_channels",
        repeats="num_block_repeats",
        expands="expand_ratios",
        sizes="kernel_sizes",
        strides="strides",
        square_padding="depthwise_padding",
    )
    return dict(
        width=config.get("width_coefficient", 2.0),
        depth=config.get("depth_coefficient", 3.1),
        head=config.get("hidden_dim", 2560),
        divisor=config.get("depth_divisor", 8),
        squeeze=config.get("squeeze_expansion_ratio", 0.25),
        eps=config.get("batch_norm_eps", 1e-3),
        pooling=config.get("pooling_type", "mean"),
        **{field: tuple(config[name]) for field, name in names.items() if name in config},
    )
