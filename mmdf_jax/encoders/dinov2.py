"""DINOv2 (Oquab et al. 2023), with and without registers (Darcet et al. 2024): a ViT with layer scale.

Weights: `facebook/dinov2-*` and `facebook/dinov2-with-registers-*` on the Hugging Face hub, or any Dinov2Model or
Dinov2WithRegistersModel that transformers has saved.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax import flops
from mmdf_jax.layers.mlp import gelu, quick_gelu
from mmdf_jax.layers.norm import LayerNorm
from mmdf_jax.layers.patch import PatchEmbed, resize_grid
from mmdf_jax.layers.pixels import IMAGENET_MEAN, IMAGENET_STD, normalize
from mmdf_jax.layers.transformer import Block, call
from mmdf_jax.typing import Array, Dtype, Outputs
from mmdf_jax.weights.rules import conv, dense, first_half, flat, same, second_half, squeeze

ACTIVATIONS = {"gelu": gelu, "quick_gelu": quick_gelu}


class Model(nn.Module):
    """Image [b h w 3] (uint8, or float in [0, 1]) to features; any size of at least one patch. `valid` is ignored.

    Position embeddings belong to images of `image_size` and are resampled bicubically for others, antialiased in
    the models with registers, as in the originals. Returns tokens [b h/patch w/patch width], class_token = pooled
    [b width], registers [b registers width], all after the final LayerNorm, and where captured attention (per block,
    [b heads n n]: the class token, the registers, then the patches row by row).
    """

    patch: int = 14
    width: int = 384
    depth: int = 12
    heads: int = 6
    mlp_hidden: int = 1536
    gated: bool = False
    registers: int = 0
    image_size: int = 518
    layer_scale: float = 1.0
    qkv_bias: bool = True
    act: str = "gelu"
    eps: float = 1e-6
    attention_dropout: float = 0.0
    dropout: float = 0.0
    drop_path: float = 0.0
    remat: bool = False
    dtype: Dtype = jnp.float32
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    @nn.compact
    def __call__(
        self, x: Array, *, valid: Array | None = None, train: bool = False, capture: Sequence[str] = ()
    ) -> Outputs:
        del valid  # a single picture has no steps
        x = normalize(x, self.mean, self.std, self.dtype)
        x = PatchEmbed(self.width, self.patch, dtype=self.dtype, name="patch_embed")(x)
        b, h, w, d = x.shape

        side = self.image_size // self.patch
        class_token = self.param("class_token", nn.initializers.normal(0.02), (d,))
        positions = self.param("positions", nn.initializers.normal(0.02), (1 + side * side, d))
        grid = resize_grid(positions[1:].reshape(side, side, d), (h, w), antialias=self.registers > 0)
        first = (class_token + positions[0])[None]
        if self.registers:
            registers = self.param("registers", nn.initializers.normal(0.02), (self.registers, d))
            first = jnp.concatenate([first, registers])
        first = jnp.broadcast_to(first.astype(x.dtype), (b, *first.shape))
        x = jnp.concatenate([first, (x + grid.astype(x.dtype)).reshape(b, h * w, d)], axis=1)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)

        attention, keep = [], "attention" in capture
        for i in range(self.depth):
            block = Block(
                self.heads,
                self.mlp_hidden,
                act=ACTIVATIONS[self.act],
                eps=self.eps,
                layer_scale=self.layer_scale,
                gated=self.gated,
                qkv_bias=self.qkv_bias,
                attention_dropout=self.attention_dropout,
                drop_path=self.drop_path,
                dtype=self.dtype,
                name=f"block{i}",
            )
            x, weights = call(block, x, train=train, remat=self.remat, capture=keep)
            attention.append(weights)

        x = LayerNorm(epsilon=self.eps, dtype=self.dtype, name="norm")(x)
        out = {
            "tokens": x[:, 1 + self.registers :].reshape(b, h, w, d),
            "class_token": x[:, 0],
            "pooled": x[:, 0],
            "registers": x[:, 1 : 1 + self.registers],
        }
        if keep:
            out["attention"] = tuple(attention)
        return out


def macs(model: Model, shape: Sequence[int]) -> flops.Macs:
    """Multiply-adds on one input of this shape, see `mmdf_jax.flops`."""
    n = math.prod(size // model.patch for size in shape[:2])
    block = flops.transformer_block(n + 1 + model.registers, model.width, model.mlp_hidden, gated=model.gated)
    return flops.Macs(n * model.patch**2 * shape[2] * model.width, model.depth * block)


_SIZES: dict[str, dict[str, Any]] = {
    "s14": dict(width=384, heads=6, mlp_hidden=1536),
    "b14": dict(width=768, heads=12, mlp_hidden=3072),
    "l14": dict(width=1024, heads=16, mlp_hidden=4096, depth=24),
    "g14": dict(width=1536, heads=24, mlp_hidden=4096, depth=40, gated=True),
}
VARIANTS: dict[str, dict[str, Any]] = {
    "tiny": dict(patch=8, width=96, depth=3, heads=3, mlp_hidden=384, image_size=64, registers=2),
    **_SIZES,
    **{f"{name}_registers": {**size, "registers": 4} for name, size in _SIZES.items()},
}

EXAMPLE = jax.ShapeDtypeStruct((1, 56, 56, 3), jnp.uint8)
SHALLOW: dict[str, Any] = dict(depth=1)
BENCHMARK = ("s14",)
LAST = ("norm",)
MODEL_TYPES = ("dinov2", "dinov2_with_registers")

_D = r"(?:dinov2(?:_with_registers)?\.)?"
_BLOCK = _D + r"encoder\.layer\.(\d+)\."
RULES = (
    (_D + r"embeddings\.cls_token", "params/class_token", flat),
    (_D + r"embeddings\.register_tokens", "params/registers", squeeze),
    (_D + r"embeddings\.position_embeddings", "params/positions", squeeze),
    (_D + r"embeddings\.patch_embeddings\.projection\.weight", "params/patch_embed/kernel", conv),
    (_D + r"embeddings\.patch_embeddings\.projection\.bias", "params/patch_embed/bias", same),
    (_BLOCK + r"(norm\d)\.weight", r"params/block\1/\2/scale", same),
    (_BLOCK + r"(norm\d)\.bias", r"params/block\1/\2/bias", same),
    (_BLOCK + r"attention\.attention\.(query|key|value)\.weight", r"params/block\1/attn/\2/kernel", dense),
    (_BLOCK + r"attention\.attention\.(query|key|value)\.bias", r"params/block\1/attn/\2/bias", same),
    (_BLOCK + r"attention\.output\.dense\.weight", r"params/block\1/attn/out/kernel", dense),
    (_BLOCK + r"attention\.output\.dense\.bias", r"params/block\1/attn/out/bias", same),
    (_BLOCK + r"layer_scale(\d)\.lambda1", r"params/block\1/scale\2", same),
    (_BLOCK + r"mlp\.(fc\d)\.weight", r"params/block\1/mlp/\2/kernel", dense),
    (_BLOCK + r"mlp\.(fc\d)\.bias", r"params/block\1/mlp/\2/bias", same),
    (_BLOCK + r"mlp\.weights_in\.weight", r"params/block\1/mlp/gate/kernel", first_half),
    (_BLOCK + r"mlp\.weights_in\.weight", r"params/block\1/mlp/up/kernel", second_half),
    (_BLOCK + r"mlp\.weights_in\.bias", r"params/block\1/mlp/gate/bias", first_half),
    (_BLOCK + r"mlp\.weights_in\.bias", r"params/block\1/mlp/up/bias", second_half),
    (_BLOCK + r"mlp\.weights_out\.weight", r"params/block\1/mlp/down/kernel", dense),
    (_BLOCK + r"mlp\.weights_out\.bias", r"params/block\1/mlp/down/bias", same),
    (_D + r"layernorm\.weight", "params/norm/scale", same),
    (_D + r"layernorm\.bias", "params/norm/bias", same),
)
DROPS = (_D + r"embeddings\.mask_token", r"classifier\..*")


def from_config(config: dict[str, Any]) -> dict[str, Any]:
    """Fields of Model from the config.json of a Dinov2Model or Dinov2WithRegistersModel."""
    width = config.get("hidden_size", 768)
    hidden = int(width * config.get("mlp_ratio", 4))
    gated = config.get("use_swiglu_ffn", False)
    act = config.get("hidden_act", "gelu")
    if act not in ACTIVATIONS:
        raise ValueError(f"DINOv2: hidden_act {act!r} is not supported; known are {', '.join(ACTIVATIONS)}")
    return dict(
        patch=config.get("patch_size", 14),
        width=width,
        depth=config.get("num_hidden_layers", 12),
        heads=config.get("num_attention_heads", 12),
        mlp_hidden=(int(hidden * 2 / 3) + 7) // 8 * 8 if gated else hidden,
        gated=gated,
        registers=config.get("num_register_tokens", 4) if "registers" in config["model_type"] else 0,
        image_size=config.get("image_size", 224),
        layer_scale=config.get("layerscale_value", 1.0),
        qkv_bias=config.get("qkv_bias", True),
        act=act,
        eps=config.get("layer_norm_eps", 1e-6),
        attention_dropout=config.get("attention_probs_dropout_prob", 0.0),
        dropout=config.get("hidden_dropout_prob", 0.0),
        drop_path=config.get("drop_path_rate", 0.0),
    )
