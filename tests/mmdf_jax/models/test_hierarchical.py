"""The hierarchical model: shapes at every level, what is absent, Grad-CAM against finite differences, and refusals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines.batch import zeros
from mmdf_jax.build import build

VOCABULARY = ("real", "swap", ("dub", "dub_other"))
DATA = {
    "window": 0.64,
    "streams": {
        "image": {"frames": 2, "size": 32},
        "mouth": {"fps": 25.0, "size": 16},
        "audio": {},
    },
}
SPEC = {
    "name": "mmdf_jax.models.hierarchical",
    "vocabulary": VOCABULARY,
    "compare": ("mouth", "audio"),
    "width": 12,
    "depth": 1,
    "levels": 2,
    "fusion": {"name": "mmdf_jax.fusion.cross_attention", "depth": 1, "heads": 2, "time_bias": True},
    "encoders": {
        "image": {"name": "mmdf_jax.encoders.clip", "variant": "tiny", "image_size": 32, "width": 24, "depth": 1},
        "mouth": {"name": "mmdf_jax.encoders.lip_resnet", "width": 4, "stage_sizes": (1,), "strides": ((1, 4, 4),)},
        "audio": {
            "name": "mmdf_jax.encoders.spectrogram_cnn",
            "variant": "tiny_25hz",
            "width": 4,
            "stage_sizes": (1,),
            "strides": ((2, 4), (2, 4)),
        },
    },
}
QUICK = {"xla_backend_optimization_level": "0"}


def batch_of(rows=3):
    rng = np.random.default_rng(0)
    batch = zeros(DATA, rows)
    for stream in DATA["streams"]:
        info = np.iinfo(batch[stream].dtype)
        batch[stream] = rng.integers(info.min, info.max, batch[stream].shape, batch[stream].dtype)
    return batch


@pytest.fixture(scope="module")
def made():
    model, batch = build(SPEC), batch_of()
    init = jax.jit(functools.partial(model.init, train=False), compiler_options=QUICK)
    variables = init(jax.random.key(0), batch)
    apply = jax.jit(lambda batch: model.apply(variables, batch), compiler_options=QUICK)
    return model, variables, batch, apply


def test_outputs_have_their_shapes(made):
    _, _, batch, apply = made
    out = apply(batch)
    assert out["logits"].shape == (3,) and out["type_logits"].shape == out["flat_logits"].shape == (3, 3)
    assert [x.shape for x in out["frame_logits"]] == [(3, 16, 3), (3, 8, 3)]
    assert [x.shape for x in out["distances"]] == [(3, 16, 2), (3, 8, 2)]
    assert all((np.array(x) > 0).all() for x in out["distances"])
    assert out["map_logits"].shape == out["grad_cam"].shape and out["map_logits"].shape[:2] == (3, 2)
    assert np.array(jax.nn.softmax(out["type_logits"]))[:, 0].max() == 0  # given that it is fake, none is real
    assert set(out["stream_logits"]) == {"image", "mouth", "audio", "sync"}


def test_an_absent_stream_changes_nothing_by_what_stands_in_its_place(made):
    _, _, batch, apply = made
    found = []
    for fill in (0, 77):
        absent = {**batch, "mouth": np.full_like(batch["mouth"], fill), "mouth_mask": np.zeros(3, bool)}
        absent["mouth_valid"] = np.zeros_like(batch["mouth_valid"])
        found.append(apply(absent))
    for name in ("logits", "type_logits", "frame_logits", "distances"):
        for one, other in zip(*(jax.tree.leaves(out[name]) for out in found), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)
    assert not found[0]["present"]["sync"].any()


def test_grad_cam_is_that_of_the_gradient(made):
    """A bump on the image encoder's tokens moves the logit as the gradient that Grad-CAM weighs them with says."""
    model, variables, batch, apply = made
    out = apply(batch)
    tokens = np.array(out["encoders"]["image"]["tokens"])

    def logits(image):
        given = {**batch, "image": {"tokens": image, "pooled": jnp.zeros((3, image.shape[-1]))}}
        return model.apply(variables, given)["logits"]

    both = jax.jit(jax.value_and_grad(lambda image: logits(image).sum()), compiler_options=QUICK)
    gradient = np.array(both(tokens)[1])
    expected = np.maximum((gradient.mean((2, 3), keepdims=True) * tokens).sum(-1), 0)
    np.testing.assert_allclose(out["grad_cam"], expected, rtol=1e-3, atol=1e-6)
    step = 1e-2 * np.sign(gradient)
    moved = (float(both(tokens + step)[0]) - float(both(tokens - step)[0])) / 2
    assert moved == pytest.approx((gradient * step).sum(), rel=0.05)


def test_rows_beside_the_design_do_not_train_the_trunk(made):
    model, variables, batch, _ = made

    def beside(params):
        out = model.apply({**variables, "params": params}, batch)
        return out["flat_logits"].sum() + out["cue_logits"].sum()

    gradient = jax.jit(jax.grad(beside), compiler_options=QUICK)(variables["params"])
    moved = {name for name, part in gradient.items() if any(np.abs(x).max() > 0 for x in jax.tree.leaves(part))}
    assert moved == {"head_flat", "head_cues"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"compare": ("mouth", "lips")},
            r"config.model.compare=\('mouth', 'lips'\): expected two of the streams audio, ",
        ),
        ({"vocabulary": ("swap", "real")}, "config.model.vocabulary=.*: expected `real` and then types of fakes"),
        ({"levels": 6}, "config.model.levels=6: 16 steps cannot be halved so often"),
    ],
)
def test_what_cannot_be_meant_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(build(SPEC | change).init, jax.random.key(0), batch_of(2))
