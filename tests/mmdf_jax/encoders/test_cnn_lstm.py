"""The CNN + LSTM: shapes, padding, any image encoder in front, its torch twin. The LSTM itself: layers/test_lstm.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmark import torch_models
from mmdf_jax.build import build
from mmdf_jax.encoders import clip, convnext, dinov2, efficientnet
from mmdf_jax.encoders.cnn_lstm import VARIANTS, Model
from tests.mmdf_jax.encoders import twin

KEY = jax.random.key(0, impl="rbg")  # compiles in a fifth of the default's time
SMALL = dict(encoder=convnext.Model(depths=(1,), widths=(8,), layer_scale=None), hidden=6)


def video(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_outputs_of_the_tiny_model():
    x = jax.ShapeDtypeStruct((2, 16, 48, 48, 3), jnp.uint8)
    model = Model(**VARIANTS["tiny"])
    out = jax.eval_shape(lambda x: model.init_with_output(KEY, x, train=False)[0], x)
    assert out["tokens"].shape == (2, 16, 1, 1, 128)
    assert out["pooled"].shape == (2, 128)
    assert out["frames"].shape[:2] == (2, 16)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_padded_frames_change_nothing(bidirectional):
    model = Model(**SMALL, layers=2, bidirectional=bidirectional)
    x = video(2, 5, 16, 16, 3)
    mask = np.arange(5) < np.array([5, 3])[:, None]
    variables = jax.jit(lambda x: model.init(KEY, x, train=False))(x)
    apply = jax.jit(lambda x, mask=None: model.apply(variables, x, valid=mask, train=False))
    out, alone = apply(x, mask), apply(x[1:, :3])
    np.testing.assert_allclose(out["tokens"][1, :3], alone["tokens"][0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(out["pooled"][1], alone["pooled"][0], rtol=1e-4, atol=1e-6)
    assert not out["tokens"][1, 3:].any()


def test_the_order_of_the_frames_matters():
    model = Model(**SMALL)
    x = video(1, 5, 16, 16, 3)
    variables = jax.jit(lambda x: model.init(KEY, x, train=False))(x)
    apply = jax.jit(lambda x: model.apply(variables, x, train=False)["pooled"])
    assert not np.allclose(apply(x), apply(x[:, ::-1]), rtol=1e-2)


def test_any_image_encoder_by_its_spec():
    spec = {"name": "mmdf_jax.encoders.cnn_lstm", "variant": "tiny"}
    model = build({**spec, "encoder": {"name": "mmdf_jax.encoders.clip", "variant": "tiny", "depth": 1}})
    assert isinstance(model.encoder, clip.Model)
    out = jax.eval_shape(
        lambda x: model.init_with_output(KEY, x, train=False)[0],
        jax.ShapeDtypeStruct((1, 3, 64, 64, 3), jnp.uint8),
    )
    assert out["pooled"].shape == (1, 128)


def test_full_sizes():
    model = Model()
    x = jax.ShapeDtypeStruct((1, 4, 224, 224, 3), jnp.uint8)
    variables = jax.eval_shape(lambda x: model.init(KEY, x, train=False), x)
    count = sum(p.size for p in jax.tree.leaves(variables["params"])) / 1e6
    assert count == pytest.approx(4.0 + 4 * 512 * (1280 + 512 + 1) / 1e6, rel=0.01)  # EfficientNet-B0 without its head


VIT = dict(width=16, depth=1, heads=2, mlp_hidden=32)
FRONTS = {
    "convnext": (SMALL["encoder"], dict(layers=2, bidirectional=True)),
    "efficientnet": (
        efficientnet.Model(width=0.25, head=320, inputs=(32, 16), outputs=(16, 24), repeats=(1, 1), expands=(1, 6)),
        {},
    ),
    "clip": (clip.Model(**VIT, image_size=16, patch=8), {}),
    "dinov2": (dinov2.Model(**VIT, image_size=28), {}),
}


@pytest.mark.parametrize("front", FRONTS)
def test_outputs_and_input_gradient_are_the_torch_twins(front):
    encoder, fields = FRONTS[front]
    shapes = [(2, 3, 16, 16, 3), (1, 2, 28, 24, 3)] if front == "convnext" else [(2, 3, 32, 28, 3)]
    errors = twin.compare(Model(encoder=encoder, hidden=6, **fields), shapes)
    assert twin.within(errors), errors


def test_without_an_original_of_the_image_encoder_there_is_no_twin():
    assert torch_models.pair(Model(encoder=efficientnet.Model(**efficientnet.VARIANTS["tiny"]))) is None
