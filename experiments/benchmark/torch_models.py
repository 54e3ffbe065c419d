"""The PyTorch originals of our encoders, with the same sizes and the same random weights: for tests and benchmarks.

transformers' models, and where it has none the plain twins of `torch_twins`. No other file of the project needs torch.
"""

import functools
import json
import pathlib
import re
import sys
import tempfile
from typing import Any

import numpy as np
import safetensors.torch
import torch
import transformers
from flax import linen
from torch import nn

from experiments.benchmark import torch_twins
from mmdf_jax.encoders import (
    clip,
    cnn_lstm,
    convnext,
    dinov2,
    efficientnet,
    hubert,
    resnet3d,
    spectrogram_cnn,
    temporal_difference,
    wav2vec2,
)
from mmdf_jax.weights import files, load


def pair(model: linen.Module) -> tuple[nn.Module, dict[str, Any]] | None:
    """The original with random weights, and the same weights as variables of `model`; None if there is no original."""
    theirs = original(model)
    if theirs is None:
        return None
    randomize(theirs, gain=2.0 if isinstance(model, resnet3d.Model) else 1.0)
    return theirs, variables(theirs, model)


def variables(theirs: nn.Module, model: linen.Module) -> dict[str, Any]:
    """The weights of an original as variables of `model`.

    Raises WeightsError if one of the two has what the other lacks.
    """
    module = sys.modules[type(model).__module__]
    target = load.shapes(model, module.EXAMPLE)
    if isinstance(model, cnn_lstm.Model):
        # The image encoder is of transformers, the rest is a twin of ours.
        encoder = variables(theirs.encoder, model.encoder)
        for collection in encoder:
            del target[collection]["encoder"]
        ours = torch_twins.variables(theirs, target)
        return {name: {**ours.get(name, {}), "encoder": tree} for name, tree in encoder.items()}
    if isinstance(model, (spectrogram_cnn.Model, temporal_difference.Model)):
        return torch_twins.variables(theirs, target)
    with tempfile.TemporaryDirectory() as folder:
        # The weights go through a saved file, because transformers' parameters have other names in memory.
        save(theirs, folder)
        tensors = files.read_tensors(sorted(pathlib.Path(folder).glob("*.safetensors")))
        return load.convert(tensors, module.RULES, module.DROPS, target, "the torch original")


def save(original: nn.Module, folder: str | pathlib.Path) -> None:
    """`config.json` and `model.safetensors`, as `mmdf_jax.weights.load.load_encoder` reads them."""
    if isinstance(original, torch_twins.VideoResNet):
        safetensors.torch.save_file(original.state_dict(), pathlib.Path(folder) / "model.safetensors")
        config = {"model_type": f"{original.kind}_18", "width": original.width}
        (pathlib.Path(folder) / "config.json").write_text(json.dumps(config))
    else:
        transformers.utils.logging.disable_progress_bar()
        original.save_pretrained(folder)


def randomize(model: nn.Module, *, gain: float = 1.0) -> nn.Module:
    """Every parameter and statistic random, of sizes that keep activations near 1: nothing cancels or vanishes."""
    generator = torch.Generator().manual_seed(0)
    for name, x in model.state_dict().items():
        if not x.is_floating_point():
            continue
        scale = x.ndim == 1 and name.endswith("weight")
        if scale or name.endswith(("running_var", "lambda1", "layer_scale_parameter", "original0")):
            x.uniform_(0.5, 1.5, generator=generator)
        elif x.ndim > 1 and re.search(r"weight(_[ih]h_l\d+(_reverse)?)?$|original1$", name):
            x.normal_(0, (gain / x[0].numel()) ** 0.5, generator=generator)
        else:
            x.normal_(0, 0.2, generator=generator)
    return model


def prepare(model: linen.Module, x: Any) -> torch.Tensor:
    """Our input [b h w 3], [b t h w 3] (uint8, or float in [0, 1]) or [b s] as the original takes it: normalised,
    channels first; those of single frames behind time."""
    x = np.asarray(x)
    if x.ndim == 2:
        x = x.astype(np.float32) / (32768 if x.dtype == np.int16 else 1)
        standardize = isinstance(model, wav2vec2.Model) and model.normalize
        return torch.from_numpy(np.array(wav2vec2.standardize(x, None)) if standardize else x)
    framewise = isinstance(model, (cnn_lstm.Model, temporal_difference.Model))
    model = model.encoder if isinstance(model, cnn_lstm.Model) else model
    x = x.astype(np.float32) / (255 if x.dtype == np.uint8 else 1)
    x = (x - np.float32(model.mean)) / np.float32(model.std)
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, -3 if framewise else 1)))


def outputs(original: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """tokens [b … d] (the ViTs' with class and register tokens, as one sequence) and pooled [b d]."""
    out = original(x)
    if isinstance(out, tuple):
        return dict(zip(("tokens", "pooled"), out, strict=True))
    tokens = out.last_hidden_state
    pooled = out.pooler_output if hasattr(out, "pooler_output") else tokens.mean(1)
    return {"tokens": tokens.movedim(1, -1) if tokens.ndim == 4 else tokens, "pooled": pooled}


@functools.singledispatch
def original(model: linen.Module) -> nn.Module | None:
    """The original of `model`'s sizes, freshly made, without any dropout; None if there is no original."""
    return None


@original.register
def _(model: clip.Model) -> nn.Module:
    config = transformers.CLIPVisionConfig(
        **_vit(model), layer_norm_eps=model.eps, hidden_act=model.act, intermediate_size=model.mlp_hidden
    )
    return transformers.CLIPVisionModel(config)


@original.register
def _(model: dinov2.Model) -> nn.Module:
    kind = "Dinov2WithRegisters" if model.registers else "Dinov2"
    config = getattr(transformers, f"{kind}Config")(
        **_vit(model),
        mlp_ratio=4 if model.gated else model.mlp_hidden // model.width,
        use_swiglu_ffn=model.gated,
        layerscale_value=model.layer_scale,
        qkv_bias=model.qkv_bias,
        hidden_act=model.act,
        layer_norm_eps=model.eps,
        **({"num_register_tokens": model.registers} if model.registers else {}),
    )
    return getattr(transformers, f"{kind}Model")(config)


def _vit(model: clip.Model | dinov2.Model) -> dict[str, Any]:
    return dict(
        hidden_size=model.width,
        num_hidden_layers=model.depth,
        num_attention_heads=model.heads,
        image_size=model.image_size,
        patch_size=model.patch,
    )


@original.register
def _(model: convnext.Model) -> nn.Module:
    config = transformers.ConvNextConfig(
        hidden_sizes=list(model.widths),
        depths=list(model.depths),
        num_stages=len(model.depths),
        patch_size=model.patch,
        layer_scale_init_value=model.layer_scale or 0.0,
        layer_norm_eps=model.eps,
    )
    return transformers.ConvNextModel(config)


@original.register
def _(model: efficientnet.Model) -> nn.Module | None:
    if model.stem != 32:
        return None
    config = transformers.EfficientNetConfig(
        width_coefficient=model.width,
        depth_coefficient=model.depth,
        hidden_dim=model.head,
        depth_divisor=model.divisor,
        in_channels=list(model.inputs),
        out_channels=list(model.outputs),
        num_block_repeats=list(model.repeats),
        expand_ratios=list(model.expands),
        kernel_sizes=list(model.sizes),
        strides=list(model.strides),
        depthwise_padding=list(model.square_padding),
        squeeze_expansion_ratio=model.squeeze,
        batch_norm_eps=model.eps,
        pooling_type=model.pooling,
        dropout_rate=0.0,
        drop_connect_rate=0.0,
    )
    return transformers.EfficientNetModel(config)


@original.register
def _(model: wav2vec2.Model) -> nn.Module:
    kind, more = "Wav2Vec2", {}
    if isinstance(model, hubert.Model):
        kind, more = "Hubert", dict(feat_proj_layer_norm=model.feature_norm)
    config = getattr(transformers, f"{kind}Config")(
        hidden_size=model.width,
        num_hidden_layers=model.depth,
        num_attention_heads=model.heads,
        intermediate_size=model.mlp_hidden,
        conv_dim=list(model.conv_dims),
        conv_kernel=list(model.conv_kernels),
        conv_stride=list(model.conv_strides),
        conv_bias=model.conv_bias,
        feat_extract_norm=model.conv_norm,
        num_conv_pos_embeddings=model.position_kernel,
        num_conv_pos_embedding_groups=model.position_groups,
        do_stable_layer_norm=model.pre_norm,
        layer_norm_eps=model.eps,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        feat_proj_dropout=0.0,
        layerdrop=0.0,
        apply_spec_augment=False,
        **more,
    )
    return getattr(transformers, f"{kind}Model")(config)


@original.register
def _(model: resnet3d.Model) -> nn.Module | None:
    published = resnet3d.Model(kind=model.kind, width=model.width)
    sizes = ("stage_sizes", "stem_kernel", "stem_strides", "strides", "norm")
    if any(getattr(model, name) != getattr(published, name) for name in sizes):
        return None
    return torch_twins.VideoResNet(model.kind, model.width)


@original.register
def _(model: spectrogram_cnn.Model) -> nn.Module:
    return torch_twins.SpectrogramCnn(model)


@original.register
def _(model: cnn_lstm.Model) -> nn.Module | None:
    encoder = original(model.encoder)
    if encoder is None:
        return None
    features = load.shapes(model, cnn_lstm.EXAMPLE)["params"]["lstm0"]["input"]["kernel"].shape[0]
    return torch_twins.CnnLstm(model, encoder, features)


@original.register
def _(model: temporal_difference.Model) -> nn.Module:
    return torch_twins.TemporalDifference(model)
