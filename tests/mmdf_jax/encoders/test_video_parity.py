"""3-D ResNets against plain torch twins of torchvision's, on the same random weights, through a safetensors file.

The tests use a reduced width. Published sizes (gigabytes, minutes):

    python -m tests.mmdf_jax.encoders.test_video_parity r3d_18 mc3_18 r2plus1d_18
"""

import json
import pathlib
import sys
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mmdf_jax.encoders import resnet3d
from mmdf_jax.pretrained import load_encoder, shapes

# Parameters that torchvision publishes, with the classifier of 400 classes.
PUBLISHED = {"r3d_18": 33_371_472, "mc3_18": 11_695_440, "r2plus1d_18": 31_505_325}


def conv(c: int, d: int, size: tuple[int, ...], strides: tuple[int, ...]) -> nn.Conv3d:
    return nn.Conv3d(c, d, size, strides, [k // 2 for k in size], bias=False)


def builder(kind: str, c: int, d: int, middle: int, stride: int) -> nn.Module:
    """The convolution of a block; named as torchvision's Conv3DSimple, Conv3DNoTemporal and Conv2Plus1D."""
    if kind == "r3d":
        return conv(c, d, (3, 3, 3), (stride,) * 3)
    if kind == "space":
        return conv(c, d, (1, 3, 3), (1, stride, stride))
    space = conv(c, middle, (1, 3, 3), (1, stride, stride))
    return nn.Sequential(space, nn.BatchNorm3d(middle), nn.ReLU(), conv(middle, d, (3, 1, 1), (stride, 1, 1)))


class Block(nn.Module):
    def __init__(self, kind, c, d, stride):
        super().__init__()
        middle = (c * d * 3 * 3 * 3) // (c * 3 * 3 + 3 * d)
        self.conv1 = nn.Sequential(builder(kind, c, d, middle, stride), nn.BatchNorm3d(d), nn.ReLU())
        self.conv2 = nn.Sequential(builder(kind, d, d, middle, 1), nn.BatchNorm3d(d))
        self.downsample = None
        if stride != 1 or c != d:
            strides = (1 if kind == "space" else stride, stride, stride)
            self.downsample = nn.Sequential(nn.Conv3d(c, d, 1, strides, bias=False), nn.BatchNorm3d(d))

    def forward(self, x):
        skip = x if self.downsample is None else self.downsample(x)
        return torch.relu(self.conv2(self.conv1(x)) + skip)


class Twin(nn.Module):
    """torchvision.models.video's VideoResNet: its parameters' names, its order, its arithmetic."""

    def __init__(self, kind: str, width: int = 64):
        super().__init__()
        if kind == "r2plus1d":
            middle = width * 45 // 64
            self.stem = nn.Sequential(
                *(conv(3, middle, (1, 7, 7), (1, 2, 2)), nn.BatchNorm3d(middle), nn.ReLU()),
                *(conv(middle, width, (3, 1, 1), (1, 1, 1)), nn.BatchNorm3d(width), nn.ReLU()),
            )
        else:
            self.stem = nn.Sequential(conv(3, width, (3, 7, 7), (1, 2, 2)), nn.BatchNorm3d(width), nn.ReLU())
        c = width
        for i in range(4):
            d, stride = width * 2**i, 1 if i == 0 else 2
            stage = "space" if kind == "mc3" and i else "r3d" if kind == "mc3" else kind
            setattr(self, f"layer{i + 1}", nn.Sequential(Block(stage, c, d, stride), Block(stage, d, d, 1)))
            c = d
        self.fc = nn.Linear(c, 400)

    def forward(self, x):
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))
        return x, x.mean((2, 3, 4))


def randomize(model: nn.Module) -> nn.Module:
    """Random parameters and statistics of a size that keeps activations near 1."""
    generator = torch.Generator().manual_seed(0)
    for name, x in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        if x.ndim > 1:
            x.normal_(0, (2 / x[0].numel()) ** 0.5, generator=generator)
        elif name.endswith(("running_var", "weight")):
            x.uniform_(0.5, 1.5, generator=generator)
        else:
            x.normal_(0, 0.2, generator=generator)
    return model.eval()


def compare(name: str, width: int, sizes: list[tuple[int, int, int]], folder: str) -> dict[str, float]:
    """Largest relative errors over clips of the given (t, h, w)."""
    path = pathlib.Path(folder)
    twin = randomize(Twin(name.removesuffix("_18"), width))
    save_file(twin.state_dict(), path / "model.safetensors")
    (path / "config.json").write_text(json.dumps({"model_type": name, "width": width}))
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
