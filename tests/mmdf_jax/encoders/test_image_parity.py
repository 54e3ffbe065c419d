"""Image encoders against transformers' PyTorch models on the same random weights, through the files they save.

The tests use reduced widths. Published sizes, one or several of them (each needs minutes and up to 17 GB):

    python -m tests.mmdf_jax.encoders.test_image_parity clip_l14 dinov2_g14_registers convnext_b efficientnet_b4
"""

import dataclasses
import sys
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from experiments.benchmark import torch_models
from mmdf_jax.weights.load import load_encoder


@dataclasses.dataclass(frozen=True)
class Case:
    """One original: its class, its configuration, and image sizes (h, w) to compare at."""

    original: str
    config: dict[str, Any]
    sizes: tuple[tuple[int, int], ...]
    call: dict[str, Any] = dataclasses.field(default_factory=dict)


VIT = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2)
CLIP = dict(**VIT, intermediate_size=48, image_size=32, patch_size=8)
DINO = dict(**VIT, image_size=42, patch_size=14, drop_path_rate=0.1)
EFFICIENTNET = dict(
    width_coefficient=0.25,
    depth_coefficient=1.0,
    hidden_dim=320,
    in_channels=[32, 16, 24],
    out_channels=[16, 24, 40],
    num_block_repeats=[1, 1, 2],
    expand_ratios=[1, 6, 6],
    kernel_sizes=[3, 3, 5],
    strides=[1, 2, 2],
)
OTHER_SIZE = dict(interpolate_pos_encoding=True)

CASES = {
    "clip": Case("CLIPVision", CLIP, ((32, 32),)),
    "clip_other_size": Case("CLIPVision", CLIP, ((48, 24), (19, 33)), OTHER_SIZE),
    "clip_gelu_projection": Case(
        "CLIPVision WithProjection", {**CLIP, "hidden_act": "gelu", "projection_dim": 24}, ((32, 32),)
    ),
    "dinov2": Case("Dinov2", DINO, ((42, 42), (70, 28), (20, 60))),
    "dinov2_swiglu": Case("Dinov2", {**DINO, "use_swiglu_ffn": True}, ((42, 42),)),
    "dinov2_registers": Case("Dinov2WithRegisters", DINO, ((42, 42), (28, 84), (14, 14))),
    "dinov2_registers_swiglu": Case("Dinov2WithRegisters", {**DINO, "use_swiglu_ffn": True}, ((56, 42),)),
    "convnext": Case("ConvNext", dict(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 2, 1]), ((64, 64), (38, 69))),
    "convnext_no_scale": Case(
        "ConvNext",
        dict(hidden_sizes=[8, 12, 16], depths=[1, 1, 1], num_stages=3, layer_scale_init_value=0.0),
        ((32, 48),),
    ),
    "efficientnet": Case("EfficientNet", EFFICIENTNET, ((64, 64), (53, 45))),
    "efficientnet_square": Case(
        "EfficientNet", {**EFFICIENTNET, "depthwise_padding": [1, 2], "pooling_type": "max"}, ((57, 43),)
    ),
}

CLIP_B = dict(hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072)
CLIP_L = dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096, patch_size=14)
DINO_S = dict(hidden_size=384, num_hidden_layers=12, num_attention_heads=6, image_size=518)
DINO_B = dict(hidden_size=768, num_hidden_layers=12, num_attention_heads=12, image_size=518)
DINO_L = dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, image_size=518)
DINO_G = dict(hidden_size=1536, num_hidden_layers=40, num_attention_heads=24, image_size=518, use_swiglu_ffn=True)
FULL = {
    "clip_b32": Case("CLIPVision", {**CLIP_B, "patch_size": 32}, ((224, 224),)),
    "clip_b16": Case("CLIPVision", {**CLIP_B, "patch_size": 16}, ((224, 224),)),
    "clip_l14": Case("CLIPVision", CLIP_L, ((224, 224), (112, 168)), OTHER_SIZE),
    "clip_l14_336": Case("CLIPVision", {**CLIP_L, "image_size": 336}, ((336, 336),)),
    **{
        f"dinov2_{name}14{suffix}": Case(original, config, ((224, 168), (518, 518)))
        for name, config in dict(s=DINO_S, b=DINO_B, l=DINO_L, g=DINO_G).items()
        for original, suffix in (("Dinov2", ""), ("Dinov2WithRegisters", "_registers"))
    },
    "convnext_t": Case("ConvNext", {}, ((224, 224), (160, 288))),
    "convnext_b": Case(
        "ConvNext", dict(hidden_sizes=[128, 256, 512, 1024], depths=[3, 3, 27, 3]), ((224, 224), (160, 288))
    ),
    "efficientnet_b0": Case(
        "EfficientNet",
        dict(width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280),
        ((224, 224), (160, 288)),
    ),
    "efficientnet_b4": Case(
        "EfficientNet",
        dict(width_coefficient=1.4, depth_coefficient=1.8, hidden_dim=1792, depthwise_padding=[6]),
        ((380, 380), (224, 288)),
    ),
}


def build(case: Case) -> Any:
    """The original with every parameter and statistic random, so that nothing cancels or vanishes."""
    base, _, head = case.original.partition(" ")
    config = getattr(transformers, f"{base}Config")(**case.config)
    return torch_models.randomize(getattr(transformers, f"{base}Model{head}")(config)).eval()


def reference(model: Any, case: Case, x: torch.Tensor, like: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The original's outputs for normalised x [b 3 h w], named and shaped as ours."""
    out = model(x, **case.call)
    grid = tuple(like["tokens"].shape)
    last = out.last_hidden_state
    if case.original.startswith(("ConvNext", "EfficientNet")):
        return {"tokens": last.permute(0, 2, 3, 1), "pooled": out.pooler_output}
    registers = like["registers"].shape[1] if "registers" in like else 0
    named = {
        "tokens": last[:, 1 + registers :].reshape(grid),
        "class_token": last[:, 0],
        "registers": last[:, 1 : 1 + registers],
        "pooled": getattr(out, "pooler_output", None),
        "embeds": getattr(out, "image_embeds", None),
    }
    return {k: v for k, v in named.items() if v is not None and k in like and v.numel()}


def per_token(ours: Any, theirs: torch.Tensor) -> float:
    """The largest relative distance of any token."""
    ours, theirs = np.asarray(ours, np.float64), theirs.detach().double().numpy()
    return float((np.linalg.norm(ours - theirs, axis=-1) / np.linalg.norm(theirs, axis=-1)).max())


def compare(case: Case, folder: str, *, batch: int = 1) -> dict[str, float]:
    """Largest relative errors of every output over all sizes, and of the input gradient at the first."""
    original = build(case).requires_grad_(False)
    original.save_pretrained(folder)
    model, variables = load_encoder(folder)
    mean, std = (torch.tensor(v)[:, None, None] for v in (model.mean, model.std))
    rng = np.random.default_rng(0)
    errors: dict[str, float] = {}
    for h, w in case.sizes:
        gradients = (h, w) == case.sizes[0]
        pixels = rng.integers(0, 256, (batch, h, w, 3), np.uint8)
        x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(255).requires_grad_()
        like = jax.eval_shape(lambda x: model.apply(variables, x, train=False), pixels)
        with torch.set_grad_enabled(gradients):
            theirs = reference(original, case, (x - mean) / std, like)
        weights = {name: rng.standard_normal(value.shape).astype(np.float32) for name, value in theirs.items()}

        def loss(x, variables, weights=weights):
            out = model.apply(variables, x, train=False)
            return sum(jnp.vdot(out[name], weight) for name, weight in weights.items()), out

        if gradients:
            x01 = pixels.astype(np.float32) / np.float32(255)
            (_, ours), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(x01, variables)
            sum((theirs[name] * torch.from_numpy(weight)).sum() for name, weight in weights.items()).backward()
            expected = x.grad.permute(0, 2, 3, 1).flatten(1)
            theirs["input gradient"], ours["input gradient"] = expected, gradient.reshape(batch, -1)
        else:
            _, ours = jax.jit(loss)(pixels, variables)
        for name, value in theirs.items():
            assert ours[name].shape == value.shape
            errors[name] = max(errors.get(name, 0.0), per_token(ours[name], value))
    return errors


@pytest.mark.parametrize("name", CASES)
def test_outputs_and_input_gradient(name, tmp_path):
    with jax.default_matmul_precision("highest"):
        errors = compare(CASES[name], str(tmp_path))
    assert errors.pop("input gradient") < 1e-3
    assert max(errors.values()) < 1e-4, errors


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    if unknown := set(sys.argv[1:]) - {*FULL}:
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; known are {', '.join([*FULL])}")
    for name in sys.argv[1:] or FULL:
        with tempfile.TemporaryDirectory() as folder, jax.default_matmul_precision("highest"):
            errors = compare(FULL[name], folder)
        bad = errors.get("input gradient", 0) > 1e-3 or max(v for k, v in errors.items() if "grad" not in k) > 1e-4
        print(f"{name:24s} {'FAILS' if bad else 'ok'}", *(f"{k} {v:.1e}" for k, v in errors.items()), flush=True)
        if bad:
            sys.exit(1)
