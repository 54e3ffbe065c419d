"""3-D ResNets against plain torch twins of torchvision's, on the same random weights, through a safetensors file.

The tests use a reduced width. Published sizes (gigabytes, minutes):

    python -m tests.mmdf_jax.encoders.test_video_parity r3d_18 mc3_18 r2plus1d_18
"""

import sys
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from experiments.benchmarks import torch_models
from mmdf_jax.encoders import resnet3d
from mmdf_jax.pretrained import load_encoder, shapes

# Parameters that torchvision publishes, with the classifier of 400 classes.
PUBLISHED = {"r3d_18": 33_371_472, "mc3_18": 11_695_440, "r2plus1d_18": 31_505_325}


def compare(name: str, width: int, sizes: list[tuple[int, int, int]], folder: str) -> dict[str, float]:
    """Largest relative errors over clips of the given (t, h, w)."""
    twin = torch_models.randomize(torch_models.VideoResNet(name.removesuffix("_18"), width), gain=2.0).eval()
    torch_models.save(twin, folder)
    model, variables = load_encoder(folder)
    rng = np.random.default_rng(0)
    errors = dict.fromkeys(("tokens", "pooled", "input gradient"), 0.0)

    def relative(ours, theirs):
        ours, theirs = np.asarray(ours, np.float64), theirs.detach().double().numpy()
        assert ours.shape == theirs.shape
        return float((np.linalg.norm(ours - theirs, axis=-1) / np.linalg.norm(theirs, axis=-1)).max())

    for size in sizes:
        pixels = rng.integers(0, 256, (2, *size, 3), np.uint8)
        x = torch.from_numpy(pixels).permute(0, 4, 1, 2, 3).float().div(255).requires_grad_()
        mean, std = (torch.tensor(v)[:, None, None, None] for v in (model.mean, model.std))
        tokens, pooled = twin((x - mean) / std)
        weights = rng.normal(size=pooled.shape).astype(np.float32)
        (pooled * torch.from_numpy(weights)).sum().backward()

        def loss(x, weights=weights):
            out = model.apply(variables, x, train=False)
            return jnp.vdot(out["pooled"], weights), out

        (_, ours), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(pixels.astype(np.float32) / 255)
        found = {
            "tokens": relative(ours["tokens"], tokens.permute(0, 2, 3, 4, 1)),
            "pooled": relative(ours["pooled"], pooled),
            "input gradient": relative(gradient.reshape(2, -1), x.grad.permute(0, 2, 3, 4, 1).flatten(1)),
        }
        errors = {key: max(errors[key], found[key]) for key in errors}
    return errors


@pytest.mark.parametrize("name", PUBLISHED)
def test_outputs_and_input_gradient(name, tmp_path):
    sizes = [(5, 33, 40)] if name == "mc3_18" else [(8, 32, 32), (5, 33, 40)]
    with jax.default_matmul_precision("highest"):
        errors = compare(name, 8, sizes, str(tmp_path))
    assert errors.pop("input gradient") < 1e-3
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
    for name in sys.argv[1:] or PUBLISHED:
        with tempfile.TemporaryDirectory() as folder, jax.default_matmul_precision("highest"):
            errors = compare(name, 64, [(16, 112, 112), (8, 128, 96)], folder)
        bad = errors["input gradient"] > 1e-3 or max(errors["tokens"], errors["pooled"]) > 1e-4
        print(f"{name:24s} {'FAILS' if bad else 'ok'}", *(f"{k} {v:.1e}" for k, v in errors.items()), flush=True)
        if bad:
            sys.exit(1)
