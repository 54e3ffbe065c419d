"""CLIP's vision tower (Radford et al. 2021): a ViT with a LayerNorm before the blocks.

Weights: `openai/clip-vit-*` on the Hugging Face hub, or any CLIPModel, CLIPVisionModel or
CLIPVisionModelWithProjection that transformers has saved.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax.layers.patch import PatchEmbed, resize_grid
from mmdf_jax.layers.pixels import normalize
from mmdf_jax.layers.transformer import Block, call, gelu, quick_gelu
from mmdf_jax.typing import Array, Dtype, Outputs

ACTIVATIONS = {"quick_gelu": quick_gelu, "gelu": gelu}


class Model(nn.Module):
    """Image [b h w 3] (uint8, or float in [0, 1]) to features; any size of at least one patch.

    Position embeddings belong to images of `image_size` and are resampled bicubically for others. Returns
    tokens [b h/patch w/patch width] (last block, not normalised, as in the original), class_token [b width] (same),
    pooled [b width] (class token after the final LayerNorm), attention (per block, [b heads n n], token 0 is
    the class token), and with `projection` > 0 embeds [b projection], the joint image-text space (not normalised).
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
    def __call__(self, x: Array, mask: Array | None = None, *, train: bool) -> Outputs:
        del mask  # an image stream that is missing is masked where streams are fused
        x = normalize(x, self.mean, self.std, self.dtype)
        x = PatchEmbed(self.width, self.patch, use_bias=False, dtype=self.dtype, name="patch_embed")(x)
        b, h, w, d = x.shape

        side = self.image_size // self.patch
        class_token = self.param("class_token", nn.initializers.normal(d**-0.5), (d,))
        positions = self.param("positions", nn.initializers.normal(0.02), (1 + side * side, d))
        grid = resize_grid(positions[1:].reshape(side, side, d), (h, w)).reshape(h * w, d)
        first = jnp.broadcast_to((class_token + positions[0]).astype(x.dtype), (b, 1, d))
        x = jnp.concatenate([first, x.reshape(b, h * w, d) + grid.astype(x.dtype)], axis=1)

        x = nn.LayerNorm(epsilon=self.eps, dtype=self.dtype, name="pre_norm")(x)
        attention = []
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
            x, weights = call(block, x, train=train, remat=self.remat)
            attention.append(weights)

        pooled = nn.LayerNorm(epsilon=self.eps, dtype=self.dtype, name="post_norm")(x[:, 0])
        out = {
            "tokens": x[:, 1:].reshape(b, h, w, d),
            "class_token": x[:, 0],
            "pooled": pooled,
            "attention": tuple(attention),
        }
        if self.projection:
            out["embeds"] = nn.Dense(self.projection, use_bias=False, dtype=self.dtype, name="projection")(
                pooled
            )
        return out


VARIANTS: dict[str, dict[str, Any]] = {
    "tiny": dict(patch=16, width=96, depth=3, heads=3, mlp_hidden=384, image_size=64),
    "b32": dict(patch=32),
    "b16": dict(patch=16),
    "l14": dict(patch=14, width=1024, depth=24, heads=16, mlp_hidden=4096),
    "l14_336": dict(patch=14, width=1024, depth=24, heads=16, mlp_hidden=4096, image_size=336),
}
