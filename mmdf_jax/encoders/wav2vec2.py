"""wav2vec 2.0 (Baevski et al. 2020): a convolutional feature extractor and a transformer on the waveform.

Weights: `facebook/wav2vec2-*` on the Hugging Face hub, or any Wav2Vec2Model that transformers has saved, with a head
or without; adapters are not supported.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax import flops
from mmdf_jax.layers.dense import Dense
from mmdf_jax.layers.grouped_conv import GroupedConv1D
from mmdf_jax.layers.mlp import gelu
from mmdf_jax.layers.norm import GroupNorm, LayerNorm
from mmdf_jax.layers.patch import patchify
from mmdf_jax.layers.spectrogram import to_float
from mmdf_jax.layers.transformer import Block, call
from mmdf_jax.layers.valid import valid_samples
from mmdf_jax.typing import Array, Dtype, Outputs
from mmdf_jax.weights.rules import conv, dense, same, weight_norm


class Model(nn.Module):
    """Audio [b s] (int16, or float in [-1, 1], 16 kHz) to features at 49.95 Hz (a token per 320 samples).

    valid: [b s'] bool, True on real samples (a prefix), s' dividing s. Padded tokens are hidden from attention; as
    in the original, the feature extractor still sees the padding (as zeros), and with `conv_norm="group"` so do its
    statistics.
    Returns tokens [b t width], pooled [b width] (mean over real tokens), tokens_mask [b t], where captured attention
    (per block, [b heads t t]), and layers (input of the first block and output of each; with `pre_norm` tokens are the
    last of them normalised, else the last itself).

    normalize: bring the real samples to zero mean and unit variance, as the published models' feature extractors do.
    conv_dims, conv_kernels, conv_strides, conv_bias, conv_norm: the feature extractor; "group" normalises each channel
    after the first layer only (base), "layer" over channels after every layer (large).
    position_kernel, position_groups: the convolution that embeds positions.
    pre_norm: LayerNorm before the branches ("stable layer norm", large) or after the sums (base).
    feature_norm: LayerNorm before the projection; only some HuBERTs lack it.
    dropout, attention_dropout, activation_dropout, feature_dropout, layerdrop: as in the original, active in training.
    """

    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_hidden: int = 3072
    conv_dims: tuple[int, ...] = (512,) * 7
    conv_kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_bias: bool = False
    conv_norm: str = "group"
    position_kernel: int = 128
    position_groups: int = 16
    pre_norm: bool = False
    feature_norm: bool = True
    normalize: bool = True
    eps: float = 1e-5
    dropout: float = 0.0
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    feature_dropout: float = 0.0
    layerdrop: float = 0.0
    remat: bool = False
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Array, *, valid: Array | None = None, train: bool = False, capture: Sequence[str] = ()
    ) -> Outputs:
        def norm(name: str) -> LayerNorm:
            return LayerNorm(epsilon=self.eps, dtype=self.dtype, name=name)

        def drop(rate: float, x: Array) -> Array:
            return nn.Dropout(rate, deterministic=not train)(x)

        x, mask = to_float(x), valid_samples(valid, x.shape[-1])
        if mask is not None:
            x = jnp.where(mask, x, 0.0)
        if self.normalize:
            x = standardize(x, mask)
        if self.tokens(x.shape[-1]) < 1:
            raise ValueError(f"wav2vec2: {x.shape[-1]} samples are too few for one token")
        x = x.astype(self.dtype)[..., None]
        for i, (features, kernel, stride) in enumerate(
            zip(self.conv_dims, self.conv_kernels, self.conv_strides, strict=True)
        ):
            kind = self.conv_norm if self.conv_norm == "layer" or i == 0 else "none"
            layer = ConvLayer(features, kernel, stride, self.conv_bias, kind, dtype=self.dtype, name=f"conv{i}")
            x = call(layer, x, train=train, remat=self.remat)

        if self.feature_norm:
            x = norm("feature_norm")(x)
        x = drop(self.feature_dropout, Dense(self.width, dtype=self.dtype, name="feature_projection")(x))
        if mask is None:
            tokens_mask = jnp.ones(x.shape[:2], bool)
            attend = None
        else:
            tokens_mask = jnp.arange(x.shape[1]) < self.tokens(mask.sum(-1, keepdims=True))
            attend = tokens_mask[:, None, None]
            x = jnp.where(tokens_mask[..., None], x, 0)

        x = x + gelu(GroupedConv1D(self.position_kernel, self.position_groups, dtype=self.dtype, name="positions")(x))
        if not self.pre_norm:
            x = norm("norm")(x)
        x = drop(self.dropout, x)
        attention, layers, keep = [], [x], "attention" in capture
        for i in range(self.depth):
            block = Block(
                self.heads,
                self.mlp_hidden,
                act=gelu,
                pre_norm=self.pre_norm,
                eps=self.eps,
                dropout=self.dropout,
                attention_dropout=self.attention_dropout,
                mlp_dropout=self.activation_dropout,
                dtype=self.dtype,
                name=f"block{i}",
            )
            y, weights = call(block, x, attend, train=train, remat=self.remat, capture=keep)
            if train and self.layerdrop:
                # LayerDrop (Fan et al. 2020): the whole batch skips the layer.
                y = jnp.where(jax.random.bernoulli(self.make_rng("dropout"), self.layerdrop), x, y)
            x = y
            attention.append(weights)
            layers.append(x)
        if self.pre_norm:
            x = norm("norm")(x)

        weights = tokens_mask / jnp.maximum(tokens_mask.sum(1, keepdims=True), 1)
        pooled = jnp.einsum("btd,bt->bd", x, weights.astype(x.dtype), preferred_element_type=jnp.float32)
        out = {
            "tokens": x,
            "pooled": pooled.astype(x.dtype),
            "tokens_mask": tokens_mask,
            "layers": tuple(layers),
        }
        if keep:
            out["attention"] = tuple(attention)
        return out

    def tokens(self, samples: int | Array) -> int | Array:
        """How many tokens this many samples make."""
        for kernel, stride in zip(self.conv_kernels, self.conv_strides, strict=True):
            samples = (samples - kernel) // stride + 1
        return samples


class ConvLayer(nn.Module):
    """A strided convolution without padding, a norm ("group", "layer" or "none") and GELU: [b t c] -> [b t' d]."""

    features: int
    kernel: int
    stride: int
    use_bias: bool
    norm: str
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        del train
        shape = (self.kernel, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(in_axis=(0, 1)), shape).astype(self.dtype)
        if self.kernel == self.stride:
            x = patchify(x[:, None], kernel[None])[:, 0]
        else:
            x = jax.lax.conv_general_dilated(
                x, kernel, (self.stride,), "VALID", dimension_numbers=("NWC", "WIO", "NWC")
            )
        if self.use_bias:
            x = x + self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        if self.norm == "group":
            x = GroupNorm(group_size=1, dtype=self.dtype, name="norm")(x)
        elif self.norm == "layer":
            x = LayerNorm(epsilon=1e-5, dtype=self.dtype, name="norm")(x)
        return gelu(x)


def standardize(x: Array, mask: Array | None) -> Array:
    """Zero mean and unit variance of each sound's real samples; padding becomes 0. x [b s], mask [b s] or None."""
    if mask is None:
        mask = jnp.ones(x.shape, bool)
    count = jnp.maximum(mask.sum(-1, keepdims=True), 1)
    x = jnp.where(mask, x - jnp.where(mask, x, 0).sum(-1, keepdims=True) / count, 0)
    return x * jax.lax.rsqrt((x**2).sum(-1, keepdims=True) / count + 1e-7)


def macs(model: Model, shape: Sequence[int]) -> flops.Macs:
    """Multiply-adds on one input of this shape, see `mmdf_jax.flops`."""
    t, c, layers = shape[0], 1, []
    for d, kernel, stride in zip(model.conv_dims, model.conv_kernels, model.conv_strides, strict=True):
        t = (t - kernel) // stride + 1
        layers.append(t * kernel * c * d)
        c = d
    rest = sum(layers[1:]) + t * c * model.width
    rest += t * model.position_kernel * model.width**2 // model.position_groups
    return flops.Macs(layers[0], rest + model.depth * flops.transformer_block(t, model.width, model.mlp_hidden))


VARIANTS: dict[str, dict[str, Any]] = {
    "tiny": dict(
        width=96,
        depth=2,
        heads=4,
        mlp_hidden=192,
        conv_dims=(32,) * 7,
        position_kernel=16,
        position_groups=4,
        pre_norm=True,
    ),
    "base": dict(),
    "large": dict(width=1024, depth=24, heads=16, mlp_hidden=4096),
    "large_lv60": dict(
        width=1024, depth=24, heads=16, mlp_hidden=4096, conv_bias=True, conv_norm="layer", pre_norm=True
    ),
}

EXAMPLE = jax.ShapeDtypeStruct((1, 1600), jnp.float32)
SHALLOW: dict[str, Any] = dict(depth=1)
BENCHMARK = ("base",)
LAST = ("norm",)  # of the models without `pre_norm` too, whose norm comes before the blocks
MODEL_TYPES = ("wav2vec2",)

_M = r"((?:wav2vec2\.|hubert\.)?)"
_LAYER = _M + r"encoder\.layers\.(\d+)\."
_POSITION = _M + r"encoder\.pos_conv_embed\.conv\."
_ATTENTION = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "out"}
_MLP = {"intermediate_dense": "fc1", "output_dense": "fc2"}
RULES = (
    (_M + r"feature_extractor\.conv_layers\.(\d+)\.conv\.weight", r"params/conv\2/kernel", conv),
    (_M + r"feature_extractor\.conv_layers\.(\d+)\.conv\.bias", r"params/conv\2/bias", same),
    (_M + r"feature_extractor\.conv_layers\.(\d+)\.layer_norm\.weight", r"params/conv\2/norm/scale", same),
    (_M + r"feature_extractor\.conv_layers\.(\d+)\.layer_norm\.bias", r"params/conv\2/norm/bias", same),
    (_M + r"feature_projection\.layer_norm\.weight", "params/feature_norm/scale", same),
    (_M + r"feature_projection\.layer_norm\.bias", "params/feature_norm/bias", same),
    (_M + r"feature_projection\.projection\.weight", "params/feature_projection/kernel", dense),
    (_M + r"feature_projection\.projection\.bias", "params/feature_projection/bias", same),
    (
        (
            _POSITION + r"parametrizations\.weight\.original0",
            r"\1encoder.pos_conv_embed.conv.parametrizations.weight.original1",
        ),
        "params/positions/kernel",
        weight_norm,
    ),
    ((_POSITION + "weight_g", r"\1encoder.pos_conv_embed.conv.weight_v"), "params/positions/kernel", weight_norm),
    (_POSITION + "bias", "params/positions/bias", same),
    (_M + r"encoder\.layer_norm\.weight", "params/norm/scale", same),
    (_M + r"encoder\.layer_norm\.bias", "params/norm/bias", same),
    *(
        rule
        for theirs, ours in _ATTENTION.items()
        for rule in (
            (_LAYER + rf"attention\.{theirs}\.weight", rf"params/block\2/attn/{ours}/kernel", dense),
            (_LAYER + rf"attention\.{theirs}\.bias", rf"params/block\2/attn/{ours}/bias", same),
        )
    ),
    *(
        rule
        for theirs, ours in _MLP.items()
        for rule in (
            (_LAYER + rf"feed_forward\.{theirs}\.weight", rf"params/block\2/mlp/{ours}/kernel", dense),
            (_LAYER + rf"feed_forward\.{theirs}\.bias", rf"params/block\2/mlp/{ours}/bias", same),
        )
    ),
    (_LAYER + r"layer_norm\.weight", r"params/block\2/norm1/scale", same),
    (_LAYER + r"layer_norm\.bias", r"params/block\2/norm1/bias", same),
    (_LAYER + r"final_layer_norm\.weight", r"params/block\2/norm2/scale", same),
    (_LAYER + r"final_layer_norm\.bias", r"params/block\2/norm2/bias", same),
)
# The embedding of masked spans, the quantizer and the heads serve pretraining and speech recognition.
DROPS = (
    _M + "masked_spec_embed",
    r"quantizer\..*",
    r"project_(hid|q)\..*",
    r"lm_head\..*",
    r"(projector|classifier)\..*",
    "layer_weights",
)


def from_config(config: dict[str, Any]) -> dict[str, Any]:
    """Fields of Model from the config.json of a Wav2Vec2Model or HubertModel.

    `normalize` stands in the preprocessor's configuration, not in this one; the published models all want it.
    """
    for key, wanted in {
        "hidden_act": "gelu",
        "feat_extract_activation": "gelu",
        "add_adapter": False,
        "adapter_attn_dim": None,
        "conv_pos_batch_norm": False,
    }.items():
        if config.get(key, wanted) != wanted:
            raise ValueError(f"wav2vec2: {key}={config[key]!r} is not supported, only {wanted!r}")
    return dict(
        width=config.get("hidden_size", 768),
        depth=config.get("num_hidden_layers", 12),
        heads=config.get("num_attention_heads", 12),
        mlp_hidden=config.get("intermediate_size", 3072),
        conv_dims=tuple(config.get("conv_dim", (512,) * 7)),
        conv_kernels=tuple(config.get("conv_kernel", (10, 3, 3, 3, 3, 2, 2))),
        conv_strides=tuple(config.get("conv_stride", (5, 2, 2, 2, 2, 2, 2))),
        conv_bias=config.get("conv_bias", False),
        conv_norm=config.get("feat_extract_norm", "group"),
        position_kernel=config.get("num_conv_pos_embeddings", 128),
        position_groups=config.get("num_conv_pos_embedding_groups", 16),
        pre_norm=config.get("do_stable_layer_norm", False),
        feature_norm=config.get("feat_proj_layer_norm", True),
        eps=config.get("layer_norm_eps", 1e-5),
        dropout=config.get("hidden_dropout", 0.1),
        attention_dropout=config.get("attention_dropout", 0.1),
        activation_dropout=config.get("activation_dropout", 0.1),
        feature_dropout=config.get("feat_proj_dropout", 0.0),
        layerdrop=config.get("layerdrop", 0.1),
    )
