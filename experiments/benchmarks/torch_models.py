"""The PyTorch originals of our encoders, with the same sizes and the same random weights: for tests and benchmarks.

transformers' models, and a plain twin of torchvision's 3-D ResNets. The only file of the project that needs torch.
"""

import functools
import json
import pathlib
import sys
import tempfile
from typing import Any

import numpy as np
import safetensors.torch
import torch
import transformers
from flax import linen
from torch import nn

from mmdf_jax import pretrained
from mmdf_jax.encoders import clip, convnext, dinov2, efficientnet, hubert, resnet3d, wav2vec2


def pair(model: linen.Module) -> tuple[nn.Module, dict[str, Any]] | None:
    """The original with random weights, and the same weights as variables of `model`; None if there is no original."""
    theirs = original(model)
    if theirs is None:
        return None
    randomize(theirs, gain=2.0 if isinstance(model, resnet3d.Model) else 1.0)
    module = sys.modules[type(model).__module__]
    target = pretrained.shapes(model, module.EXAMPLE)
    with tempfile.TemporaryDirectory() as folder:
        # Through the file that it saves: in memory transformers' parameters have other names.
        save(theirs, folder)
        tensors = pretrained.read_tensors(sorted(pathlib.Path(folder).glob("*.safetensors")))
        return theirs, pretrained.convert(tensors, module.RULES, module.DROPS, target, "the torch original")


def save(original: nn.Module, folder: str | pathlib.Path) -> None:
    """`config.json` and `model.safetensors`, as `mmdf_jax.pretrained.load_encoder` reads them."""
    if isinstance(original, VideoResNet):
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
        elif x.ndim > 1 and name.endswith(("weight", "original1")):
            x.normal_(0, (gain / x[0].numel()) ** 0.5, generator=generator)
        else:
            x.normal_(0, 0.2, generator=generator)
    return model


def prepare(model: linen.Module, x: Any) -> torch.Tensor:
    """Our input [b h w 3], [b t h w 3] (uint8, or float in [0, 1]) or [b s] as the original takes it: normalised,
    channels first."""
    x = np.asarray(x)
    if x.ndim == 2:
        x = x.astype(np.float32) / (32768 if x.dtype == np.int16 else 1)
        return torch.from_numpy(np.array(wav2vec2.standardize(x, None)) if model.normalize else x)
    x = x.astype(np.float32) / (255 if x.dtype == np.uint8 else 1)
    x = (x - np.float32(model.mean)) / np.float32(model.std)
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def outputs(original: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """tokens [b … d] (the ViTs' with class and register tokens, as one sequence) and pooled [b d]."""
    out = original(x)
    if isinstance(out, tuple):
        tokens, pooled = out
        return {"tokens": tokens.movedim(1, -1), "pooled": pooled}
    tokens = out.last_hidden_state
    pooled = out.pooler_output if hasattr(out, "pooler_output") else tokens.mean(1)
    return {"tokens": tokens.movedim(1, -1) if tokens.ndim == 4 else tokens, "pooled": pooled}


@functools.singledispatch
def original(model: linen.Module) -> nn.Module | None:
    """The original of `model`'s sizes, freshly made, without any dropout; None where there is none."""
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
    return VideoResNet(model.kind, model.width)


class VideoResNet(nn.Module):
    """torchvision.models.video's VideoResNet: its parameters' names, its order, its arithmetic."""

    def __init__(self, kind: str, width: int = 64) -> None:
        super().__init__()
        self.kind, self.width = kind, width
        if kind == "r2plus1d":
            middle = width * 45 // 64
            self.stem = nn.Sequential(
                *(_conv(3, middle, (1, 7, 7), (1, 2, 2)), nn.BatchNorm3d(middle), nn.ReLU()),
                *(_conv(middle, width, (3, 1, 1), (1, 1, 1)), nn.BatchNorm3d(width), nn.ReLU()),
            )
        else:
            self.stem = nn.Sequential(_conv(3, width, (3, 7, 7), (1, 2, 2)), nn.BatchNorm3d(width), nn.ReLU())
        c = width
        for i in range(4):
            d, stride = width * 2**i, 1 if i == 0 else 2
            stage = "space" if kind == "mc3" and i else "r3d" if kind == "mc3" else kind
            setattr(self, f"layer{i + 1}", nn.Sequential(_Block(stage, c, d, stride), _Block(stage, d, d, 1)))
            c = d
        self.fc = nn.Linear(c, 400)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """x [b c t h w] to the last feature map [b d t' h' w'] and its mean [b d]; `fc` only has weights."""
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))
        return x, x.mean((2, 3, 4))


class _Block(nn.Module):
    def __init__(self, kind: str, c: int, d: int, stride: int) -> None:
        super().__init__()
        middle = (c * d * 3 * 3 * 3) // (c * 3 * 3 + 3 * d)
        self.conv1 = nn.Sequential(_factors(kind, c, d, middle, stride), nn.BatchNorm3d(d), nn.ReLU())
        self.conv2 = nn.Sequential(_factors(kind, d, d, middle, 1), nn.BatchNorm3d(d))
        self.downsample = None
        if stride != 1 or c != d:
            strides = (1 if kind == "space" else stride, stride, stride)
            self.downsample = nn.Sequential(nn.Conv3d(c, d, 1, strides, bias=False), nn.BatchNorm3d(d))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = x if self.downsample is None else self.downsample(x)
        return torch.relu(self.conv2(self.conv1(x)) + skip)


def _conv(c: int, d: int, size: tuple[int, ...], strides: tuple[int, ...]) -> nn.Conv3d:
    return nn.Conv3d(c, d, size, strides, [k // 2 for k in size], bias=False)


def _factors(kind: str, c: int, d: int, middle: int, stride: int) -> nn.Module:
    """The convolution of a block; named as torchvision's Conv3DSimple, Conv3DNoTemporal and Conv2Plus1D."""
    if kind == "r3d":
        return _conv(c, d, (3, 3, 3), (stride,) * 3)
    if kind == "space":
        return _conv(c, d, (1, 3, 3), (1, stride, stride))
    space = _conv(c, middle, (1, 3, 3), (1, stride, stride))
    return nn.Sequential(space, nn.BatchNorm3d(middle), nn.ReLU(), _conv(middle, d, (3, 1, 1), (stride, 1, 1)))
