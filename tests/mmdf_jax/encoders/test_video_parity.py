"""3-D ResNets against plain torch twins of torchvision's, on the same random weights, through a safetensors file.

The tests use a reduced width. Published sizes (gigabytes, minutes):

    python -m tests.mmdf_jax.encoders.test_video_parity r3d_18 mc3_18 r2plus1d_18 temporal_difference_resnet18

The command compares our own video encoders with their torch twins too; their tests stand in test_cnn_lstm.py and
test_temporal_difference.py.

The twin computes in float64. At published sizes some of the millions of ReLUs stand within fp32's rounding of zero, and
the gradient depends on the side that each falls to: there ours is judged in float64, and in fp32 must come
about as near to it as torch does: within twice torch's distance.
"""

import copy
import sys
import tempfile
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from experiments.benchmark import torch_models, torch_twins
from mmdf_jax.cpu.conv3d import conv3d_matmul
from mmdf_jax.encoders import cnn_lstm, resnet3d, temporal_difference
from mmdf_jax.layers import conv
from mmdf_jax.weights.load import load_encoder, shapes
from tests.mmdf_jax.encoders import twin

# Parameters that torchvision publishes, with the classifier of 400 classes.
PUBLISHED = {"r3d_18": 33_371_472, "mc3_18": 11_695_440, "r2plus1d_18": 31_505_325}
FULL_TWINS = {
    f"{module.__name__.rpartition('.')[2]}_{name}": module.Model(**module.VARIANTS[name])
    for module in (cnn_lstm, temporal_difference)
    for name in module.VARIANTS
    if name != "tiny"
}


def relative(ours: Any, theirs: torch.Tensor) -> float:
    """The largest relative distance of any token."""
    ours, theirs = np.asarray(ours, np.float64), theirs.detach().double().numpy()
    assert ours.shape == theirs.shape
    return float((np.linalg.norm(ours - theirs, axis=-1) / np.linalg.norm(theirs, axis=-1)).max())


def reference(twin: Any, z: np.ndarray, weights: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tokens, pooled and the gradient of <pooled, weights> in normalised z [b t h w 3], in the twin's precision."""
    dtype = next(twin.parameters()).dtype
    x = torch.from_numpy(z).to(dtype).permute(0, 4, 1, 2, 3).requires_grad_()
    tokens, pooled = twin(x)
    (pooled * torch.from_numpy(weights).to(dtype)).sum().backward()
    return tokens, pooled, x.grad.permute(0, 2, 3, 4, 1).flatten(1)


def gradient_in_float64(model: resnet3d.Model, variables: Any, z: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Ours in normalised z, every convolution as one matrix product (the CPU's forms are compared in test_conv3d)."""
    # Pixels are normalised in fp32, which is exact for what is normal already.
    model = model.clone(dtype=jnp.float64, mean=(0.0,) * 3, std=(1.0,) * 3)

    def loss(x, variables):
        return jnp.vdot(model.apply(variables, x, train=False)["pooled"], weights)

    with jax.enable_x64(True), mock.patch.object(conv, "cpu_conv3d", conv3d_matmul):
        wide = jax.tree.map(lambda v: jnp.asarray(v, jnp.float64), (z, variables))
        return np.asarray(jax.jit(jax.grad(loss))(*wide))


def compare(
    name: str, width: int, sizes: list[tuple[int, int, int]], folder: str, *, float64: bool
) -> dict[str, float]:
    """Largest relative errors over clips of the given (t, h, w); `float64`: the gradient also in that, and torch's."""
    twin = torch_models.randomize(torch_twins.VideoResNet(name.removesuffix("_18"), width), gain=2.0).eval()
    torch_models.save(twin, folder)
    model, variables = load_encoder(folder)
    exact = copy.deepcopy(twin).double()
    mean, std = np.float32(model.mean), np.float32(model.std)
    rng = np.random.default_rng(0)
    errors: dict[str, float] = {}
    for size in sizes:
        pixels = rng.integers(0, 256, (2, *size, 3), np.uint8).astype(np.float32) / 255
        z = (pixels - mean) / std
        weights = rng.normal(size=(2, 8 * width)).astype(np.float32)
        tokens, pooled, expected = reference(exact, z, weights)

        def loss(x, weights=weights):
            out = model.apply(variables, x, train=False)
            return jnp.vdot(out["pooled"], weights), out

        (_, ours), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(pixels)
        found = {
            "tokens": relative(ours["tokens"], tokens),
            "pooled": relative(ours["pooled"], pooled),
            "input gradient in fp32: ours": relative((gradient * std).reshape(2, -1), expected),
        }
        if float64:
            exactly = gradient_in_float64(model, variables, z, weights)
            found["torch's"] = relative(reference(twin, z, weights)[2], expected)
            found["both in float64"] = relative(exactly.reshape(2, -1), expected)
        errors = {key: max(errors.get(key, 0.0), value) for key, value in found.items()}
    return errors


@pytest.mark.parametrize("name", PUBLISHED)
def test_outputs_and_input_gradient(name, tmp_path):
    sizes = [(5, 33, 40)] if name == "mc3_18" else [(8, 32, 32), (5, 33, 40)]
    with jax.default_matmul_precision("highest"):
        errors = compare(name, 8, sizes, str(tmp_path), float64=name == "mc3_18")
    assert errors.pop("both in float64", 0.0) < 1e-6
    assert errors.pop("torch's", 0.0) < 1e-3
    assert errors.pop("input gradient in fp32: ours") < 1e-3
    assert max(errors.values()) < 1e-4, errors


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name):
    model = resnet3d.Model(**resnet3d.VARIANTS[name])
    variables = shapes(model, jax.ShapeDtypeStruct((2, 16, 112, 112, 3), jnp.uint8))
    assert sum(p.size for p in jax.tree.leaves(variables["params"])) + 512 * 400 + 400 == PUBLISHED[name]
    x = jax.ShapeDtypeStruct((2, 16, 112, 112, 3), jnp.uint8)
    out = jax.eval_shape(lambda v, x: model.apply(v, x, train=False), variables, x)
    assert out["tokens"].shape == (2, 16 if name == "mc3_18" else 2, 7, 7, 512)
    assert out["pooled"].shape == (2, 512)


if __name__ == "__main__":
    if unknown := set(sys.argv[1:]) - {*PUBLISHED, *FULL_TWINS}:
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; known are {', '.join([*PUBLISHED, *FULL_TWINS])}")
    for name in sys.argv[1:] or (*PUBLISHED, *FULL_TWINS):
        if name in FULL_TWINS:
            relu = not name.startswith("cnn_lstm")  # its image encoders are smooth
            twin.main(name, FULL_TWINS[name], [(1, 16, 112, 112, 3), (1, 8, 128, 96, 3)], float64=relu)
            continue
        with tempfile.TemporaryDirectory() as folder, jax.default_matmul_precision("highest"):
            errors = compare(name, 64, [(16, 112, 112), (8, 128, 96)], folder, float64=True)
        fp32, theirs = errors["input gradient in fp32: ours"], errors["torch's"]
        bad = (
            errors["both in float64"] > 1e-3
            or fp32 > max(1e-3, 2 * theirs)
            or max(errors["tokens"], errors["pooled"]) > 1e-4
        )
        print(f"{name:24s} {'FAILS' if bad else 'ok'}", *(f"{k} {v:.1e}" for k, v in errors.items()), flush=True)
        if bad:
            sys.exit(1)
