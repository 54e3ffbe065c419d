"""ConvNeXt (Liu et al. 2022).

Weights: `facebook/convnext-*` on the Hugging Face hub, or any ConvNextModel that transformers has saved.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax import flops
from mmdf_jax.layers.depthwise import DepthwiseConv
from mmdf_jax.layers.mlp import DropPath, gelu
from mmdf_jax.layers.norm import LayerNorm
from mmdf_jax.layers.patch import PatchEmbed
from mmdf_jax.layers.pixels import IMAGENET_MEAN, IMAGENET_STD, normalize
from mmdf_jax.layers.transformer import call
from mmdf_jax.typing import Array, Dtype, Outputs
from mmdf_jax.weights.rules import conv, dense, same


class Block(nn.Module):
    """Depthwise 7x7, LayerNorm, Dense, GELU, Dense, layer scale, plus the input: [b h w c] -> [b h w c]."""

    layer_scale: float | None = 1e-6
    drop_path: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        c = x.shape[-1]
        y = DepthwiseConv(7, dtype=self.dtype, name="depthwise")(x)
        y = LayerNorm(epsilon=1e-6, dtype=self.dtype, name="norm")(y).reshape(-1, c)
        y = gelu(nn.Dense(4 * c, dtype=self.dtype, name="fc1")(y))
        y = nn.Dense(c, dtype=self.dtype, name="fc2")(y).reshape(x.shape)
        if self.layer_scale is not None:
            y = y * self.param("scale", nn.initializers.constant(self.layer_scale), (c,)).astype(y.dtype)
        return x + DropPath(self.drop_path)(y, train=train)


class Model(nn.Module):
    """Image [b h w 3] (uint8, or float in [0, 1]) to features; any size of at least 32. `valid` is ignored.

    Returns tokens [b h/32 w/32 widths[-1]] (last stage, not normalised, as in the original), pooled [b widths[-1]]
    (their mean after the final LayerNorm), stages (tuple of the four feature maps). `drop_path` grows linearly from 0
    at the first block to its value at the last.
    """

    depths: tuple[int, ...] = (3, 3, 9, 3)
    widths: tuple[int, ...] = (96, 192, 384, 768)
    patch: int = 4
    layer_scale: float | None = 1e-6
    eps: float = 1e-12
    drop_path: float = 0.0
    remat: bool = False
    dtype: Dtype = jnp.float32
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    @nn.compact
    def __call__(
        self, x: Array, *, valid: Array | None = None, train: bool = False, capture: Sequence[str] = ()
    ) -> Outputs:
        del valid, capture  # a single picture has no steps

        def norm(name: str, eps: float = 1e-6) -> LayerNorm:
            return LayerNorm(epsilon=eps, dtype=self.dtype, name=name)

        x = normalize(x, self.mean, self.std, self.dtype)
        last = max(sum(self.depths) - 1, 1)
        stages = []
        for i, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True)):
            if i == 0:
                x = norm("stem_norm")(PatchEmbed(width, self.patch, dtype=self.dtype, name="stem")(x))
            else:
                x = PatchEmbed(width, 2, dtype=self.dtype, name=f"down{i}")(norm(f"down{i}_norm")(x))
            for j in range(depth):
                rate = self.drop_path * (sum(self.depths[:i]) + j) / last
                block = Block(self.layer_scale, rate, dtype=self.dtype, name=f"stage{i}_block{j}")
                x = call(block, x, train=train, remat=self.remat)
            stages.append(x)
        pooled = norm("norm", self.eps)(x.astype(jnp.float32).mean((1, 2)))
        return {"tokens": x, "pooled": pooled, "stages": tuple(stages)}


def macs(model: Model, shape: Sequence[int]) -> flops.Macs:
    """Multiply-adds on one input of this shape, see `mmdf_jax.flops`."""
    h, w, c = shape[0] // model.patch, shape[1] // model.patch, model.widths[0]
    first, rest = h * w * model.patch**2 * shape[2] * c, 0
    for i, (depth, width) in enumerate(zip(model.depths, model.widths, strict=True)):
        if i:
            h, w = h // 2, w // 2
            rest += h * w * 4 * c * width
            c = width
        rest += depth * h * w * (49 * c + 8 * c**2)
    return flops.Macs(first, rest)


VARIANTS: dict[str, dict[str, Any]] = {
    "tiny": dict(depths=(1, 1, 2, 1), widths=(24, 48, 96, 192), layer_scale=None),
    "t": dict(),
    "s": dict(depths=(3, 3, 27, 3)),
    "b": dict(depths=(3, 3, 27, 3), widths=(128, 256, 512, 1024)),
    "l": dict(depths=(3, 3, 27, 3), widths=(192, 384, 768, 1536)),
}

EXAMPLE = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.uint8)
SHALLOW: dict[str, Any] = dict(depths=(1, 1, 1, 1))
BENCHMARK = ("t",)
LAST = ("norm",)
MODEL_TYPES = ("convnext",)

_C = r"(?:convnext\.)?"
_STAGE = _C + r"encoder\.stages\.(\d+)\."
_BLOCK = _STAGE + r"layers\.(\d+)\."
RULES = (
    (_C + r"embeddings\.patch_embeddings\.weight", "params/stem/kernel", conv),
    (_C + r"embeddings\.patch_embeddings\.bias", "params/stem/bias", same),
    (_C + r"embeddings\.layernorm\.weight", "params/stem_norm/scale", same),
    (_C + r"embeddings\.layernorm\.bias", "params/stem_norm/bias", same),
    (_STAGE + r"downsampling_layer\.0\.weight", r"params/down\1_norm/scale", same),
    (_STAGE + r"downsampling_layer\.0\.bias", r"params/down\1_norm/bias", same),
    (_STAGE + r"downsampling_layer\.1\.weight", r"params/down\1/kernel", conv),
    (_STAGE + r"downsampling_layer\.1\.bias", r"params/down\1/bias", same),
    (_BLOCK + r"dwconv\.weight", r"params/stage\1_block\2/depthwise/kernel", conv),
    (_BLOCK + r"dwconv\.bias", r"params/stage\1_block\2/depthwise/bias", same),
    (_BLOCK + r"layernorm\.weight", r"params/stage\1_block\2/norm/scale", same),
    (_BLOCK + r"layernorm\.bias", r"params/stage\1_block\2/norm/bias", same),
    (_BLOCK + r"pwconv(\d)\.weight", r"params/stage\1_block\2/fc\3/kernel", dense),
    (_BLOCK + r"pwconv(\d)\.bias", r"params/stage\1_block\2/fc\3/bias", same),
    (_BLOCK + r"layer_scale_parameter", r"params/stage\1_block\2/scale", same),
    (_C + r"layernorm\.weight", "params/norm/scale", same),
    (_C + r"layernorm\.bias", "params/norm/bias", same),
)
DROPS = (r"classifier\..*",)


def from_config(config: dict[str, Any]) -> dict[str, Any]:
    """Fields of Model from the config.json of a ConvNextModel."""
    act = config.get("hidden_act", "gelu")
    if act != "gelu":
        raise ValueError(f"ConvNeXt: hidden_act {act!r} is not supported, only 'gelu'")
    scale = config.get("layer_scale_init_value", 1e-6)
    return dict(
        depths=tuple(config.get("depths") or (3, 3, 9, 3)),
        widths=tuple(config.get("hidden_sizes") or (96, 192, 384, 768)),
        patch=config.get("patch_size", 4),
        layer_scale=scale if scale > 0 else None,
        eps=config.get("layer_norm_eps", 1e-12),
        drop_path=config.get("drop_path_rate", 0.0),
    )
