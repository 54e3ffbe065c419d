"""CLIP's vision tower (Radford et al. 2021): a ViT with a LayerNorm before the blocks.

Weights: `openai/clip-vit-*` on the Hugging Face hub, or any CLIPModel, CLIPVisionModel or
CLIPVisionModelWithProjection that transformers has saved.
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
from mmdf_jax.layers.pixels import normalize
from mmdf_jax.layers.transformer import Block, call
from mmdf_jax.typing import Array, Dtype, Outputs
from mmdf_jax.weights.rules import conv, dense, same

ACTIVATIONS = {"quick_gelu": quick_gelu, "gelu": gelu}


class Model(nn.Module):
    """Image [b h w 3] (uint8, or float in [0, 1]) to features; any size of at least one patch. `valid` is ignored.

    Position embeddings belong to images of `image_size` and are resampled bicubically for others. Returns
    tokens [b h/patch w/patch width] (last block, not normalised, as in the original), class_token [b width] (same),
    pooled [b width] (class token after the final LayerNorm), where captured attention (per block, [b heads n n], token
    0 is the class token), and with `projection` > 0 embeds [b projection], the joint image-text space (not normalised).
    """

    patch: int = 32
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_hidden: int = 3072
    image_size: int = 224
    projection: int = 0
    act: str = "quick_gelu"
    eps: float = 1e-5
    attention_dropout: float = 0.0
    dropout: float = 0.0
    drop_path: float = 0.0
    remat: bool = False
    dtype: Dtype = jnp.float32
    mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)

    @nn.compact
    def __call__(
        self, x: Array, *, valid: Array | None = None, train: bool = False, capture: Sequence[str] = ()
    ) -> Outputs:
        del valid  # a single picture has no steps
        x = normalize(x, self.mean, self.std, self.dtype)
        x = PatchEmbed(self.width, self.patch, use_bias=False, dtype=self.dtype, name="patch_embed")(x)
        b, h, w, d = x.shape

        side = self.image_size // self.patch
        class_token = self.param("class_token", nn.initializers.normal(d**-0.5), (d,))
        positions = self.param("positions", nn.initializers.normal(0.02), (1 + side * side, d))
        grid = resize_grid(positions[1:].reshape(side, side, d), (h, w)).reshape(h * w, d)
        first = jnp.broadcast_to((class_token + positions[0]).astype(x.dtype), (b, 1, d))
        x = jnp.concatenate([first, x.reshape(b, h * w, d) + grid.astype(x.dtype)], axis=1)

        x = LayerNorm(epsilon=self.eps, dtype=self.dtype, name="pre_norm")(x)
        attention, keep = [], "attention" in capture
        for i in range(self.depth):
            block = Block(
                self.heads,
                self.mlp_hidden,
                act=ACTIVATIONS[self.act],
                eps=self.eps,
                dropout=self.dropout,
                attention_dropout=self.attention_dropout,
                drop_path=self.drop_path * i / max(self.depth - 1, 1),
                dtype=self.dtype,
                name=f"block{i}",
            )
            x, weights = call(block, x, train=train, remat=self.remat, capture=keep)
            attention.append(weights)

        pooled = LayerNorm(epsilon=self.eps, dtype=self.dtype, name="post_norm")(x[:, 0])
        out = {
            "tokens": x[:, 1:].reshape(b, h, w, d),
            "class_token": x[:, 0],
            "pooled": pooled,
        }
        if keep:
            out["attention"] = tuple(attention)
        if self.projection:
            out["embeds"] = nn.Dense(self.projection, use_bias=False, dtype=self.dtype, name="projection")(pooled)
        return out


def macs(model: Model, shape: Sequence[int]) -> flops.Macs:
    """Multiply-adds on one input of this shape, see `mmdf_jax.flops`."""
    n = math.prod(size // model.patch for size in shape[:2])
    blocks = model.depth * flops.transformer_block(n + 1, model.width, model.mlp_hidden)
    return flops.Macs(n * model.patch**2 * shape[2] * model.width, blocks + model.width * model.projection)


VARIANTS: dict[str, dict[str, Any]] = {
    "tiny": dict(patch=16, width=96, depth=3, heads=3, mlp_hidden=384, image_size=64),
    "b32": dict(patch=32),
    "b16": dict(patch=16),
    "l14": dict(patch=14, width=1024, depth=24, heads=16, mlp_hidden=4096),
    "l14_336": dict(patch=14, width=1024, depth=24, heads=16, mlp_hidden=4096, image_size=336),
}

EXAMPLE = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.uint8)
SHALLOW: dict[str, Any] = dict(depth=1)
BENCHMARK = ("b32",)
LAST = ("post_norm", "projection")
MODEL_TYPES = ("clip", "clip_vision_model")

_V = r"(?:vision_model\.)?"
_BLOCK = _V + r"encoder\.layers\.(\d+)\."
RULES = (
    (_V + r"embeddings\.class_embedding", "params/class_token", same),
    (_V + r"embeddings\.patch_embedding\.weight", "params/patch_embed/kernel", conv),
    (_V + r"embeddings\.position_embedding\.weight", "params/positions", same),
    (_V + r"pre_layrnorm\.weight", "params/pre_norm/scale", same),
    (_V + r"pre_layrnorm\.bias", "params/pre_norm/bias", same),
    (_BLOCK + r"layer_norm(\d)\.weight", r"params/block\1/norm\2/scale", same),
    (_BLOCK + r"layer_norm(\d)\.bias", r"params/block\1/norm\2/bias", same),
    (_BLOCK + r"self_attn\.q_proj\.weight", r"params/block\1/attn/query/kernel", dense),
    (_BLOCK + r"self_attn\.q_proj\.bias", r"params/block\1/attn/query/bias", same),
    (_BLOCK + r"self_attn\.k_proj\.weight", r"params/block\1/attn/key/kernel", dense),
    (_BLOCK + r"self_attn\.k_proj\.bias", r"params/block\1/attn/key/bias", same),
    (_BLOCK + r"self_attn\.v_proj\.weight", r"params/block\1/attn/value/kernel", dense),
    (_BLOCK + r"self_attn\.v_proj\.bias", r"params/block\1/attn/value/bias", same),
    (_BLOCK + r"self_attn\.out_proj\.weight", r"params/block\1/attn/out/kernel", dense),
    (_BLOCK + r"self_attn\.out_proj\.bias", r"params/block\1/attn/out/bias", same),
    (_BLOCK + r"mlp\.(fc\d)\.weight", r"params/block\1/mlp/\2/kernel", dense),
    (_BLOCK + r"mlp\.(fc\d)\.bias", r"params/block\1/mlp/\2/bias", same),
    (_V + r"post_layernorm\.weight", "params/post_norm/scale", same),
    (_V + r"post_layernorm\.bias", "params/post_norm/bias", same),
    (r"visual_projection\.weight", "params/projection/kernel", dense),
)
# Without `projection` its matrix is left out too.
DROPS = (r"text_model\..*", r"(?:text|visual)_projection\.weight", r"logit_scale", r".*\.position_ids")


def from_config(config: dict[str, Any]) -> dict[str, Any]:
    """Fields of Model from the config.json of a CLIPModel or of its vision tower alone."""
    whole = config["model_type"] == "clip"
    # files of 2021 keep what was set by hand in `vision_config_dict`
    vision = {**(config.get("vision_config") or {}), **(config.get("vision_config_dict") or {})} if whole else config
    projected = whole or "CLIPVisionModelWithProjection" in (config.get("architectures") or ())
    act = vision.get("hidden_act", "quick_gelu")
    if act not in ACTIVATIONS:
        raise ValueError(f"CLIP: hidden_act {act!r} is not supported; known are {', '.join(ACTIVATIONS)}")
    return dict(
        patch=vision.get("patch_size", 32),
        width=vision.get("hidden_size", 768),
        depth=vision.get("num_hidden_layers", 12),
        heads=vision.get("num_attention_heads", 12),
        mlp_hidden=vision.get("intermediate_size", 3072),
        image_size=vision.get("image_size", 224),
        projection=config.get("projection_dim", 512) if projected else 0,
        act=act,
        eps=vision.get("layer_norm_eps", 1e-5),
        attention_dropout=vision.get("attention_dropout", 0.0),
    )
