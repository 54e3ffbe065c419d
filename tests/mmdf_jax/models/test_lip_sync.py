"""The two-stream model, and the classic methods beside it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines.batch import zeros
from mmdf_jax.build import build
from mmdf_jax.models import sync_baselines

DATA = {"streams": {"mouth": {"fps": 25.0, "size": 16}, "audio": {}}, "window": 1.2}
SPEC = {
    "name": "mmdf_jax.models.lip_sync",
    "encoders": {
        "mouth": {"name": "mmdf_jax.encoders.lip_resnet", "variant": "tiny", "width": 4, "features": 8},
        "audio": {"name": "mmdf_jax.encoders.spectrogram_cnn", "variant": "tiny_25hz", "width": 4},
    },
    "width": 8,
}


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    batch = zeros(DATA, 2)
    batch["mouth"] = rng.integers(0, 255, batch["mouth"].shape, np.uint8)
    batch["audio"] = rng.integers(-9000, 9000, batch["audio"].shape, np.int16)
    return batch


@pytest.fixture(scope="module")
def fitted(batch):
    model = build(SPEC)
    return model, jax.jit(model.init)(jax.random.key(0), batch)


def test_steps_are_unit_vectors_and_absent_streams_are_not_valid(fitted, batch):
    model, variables = fitted
    batch = {**batch, "audio_mask": np.array([True, False]), "mouth_valid": batch["mouth_valid"].copy()}
    batch["mouth_valid"][0, 25:] = False
    out = jax.jit(model.apply)(variables, batch)
    assert out["steps"]["mouth"].shape == out["steps"]["audio"].shape == (2, 30, 8)
    np.testing.assert_allclose(np.linalg.norm(out["steps"]["audio"], axis=-1), 1, rtol=1e-4)
    assert np.array(out["valid"]).sum(1).tolist() == [22, 0]
    assert {name: pair[0].shape[:2] for name, pair in out["baselines"].items()} == {"cca": (2, 30), "energy": (2, 30)}


def test_no_step_that_counts_sees_the_end_of_the_window(fitted):
    """Of a longer sound and film, the same steps come out alike wherever the window is cut."""
    model, variables = fitted
    rng = np.random.default_rng(1)
    film, sound = rng.integers(0, 255, (60, 16, 16, 1), np.uint8), rng.integers(-9000, 9000, 60 * 640, np.int16)
    apply = jax.jit(model.apply)

    def steps(start):
        cut = {**zeros(DATA, 1), "mouth": film[None, start : start + 30]}
        cut["audio"] = sound[None, 640 * start : 640 * (start + 30)]
        out = apply(variables, cut)
        return out["steps"], np.array(out["valid"][0])

    (early, counted), (late, counted_late) = steps(0), steps(10)
    both = counted[10:] & counted_late[:20]
    assert both.sum() == 14
    for stream in ("mouth", "audio"):
        np.testing.assert_allclose(early[stream][0, 10:][both], late[stream][0, :20][both], atol=1e-4)


def test_the_scale_has_an_end(fitted, batch):
    model, variables = fitted
    assert float(jax.jit(model.apply)(variables, batch)["scale"]) == pytest.approx(10)
    params = {**variables["params"], "log_scale": jnp.float32(9.0)}
    assert float(jax.jit(model.apply)({**variables, "params": params}, batch)["scale"]) == 100


def test_one_token_of_lips_sees_five_pictures(fitted, batch):
    model, variables = fitted
    changed = {**batch, "mouth": batch["mouth"].copy()}
    changed["mouth"][0, 15] = 255 - changed["mouth"][0, 15]
    apply = jax.jit(lambda b: model.apply(variables, b)["steps"]["mouth"])
    moved = np.abs(np.array(apply(changed) - apply(batch))[0]).max(-1) > 1e-6
    assert np.flatnonzero(moved).tolist() == [13, 14, 15, 16, 17]


def test_canonical_pairs_find_what_two_sets_share():
    rng = np.random.default_rng(1)
    shared = rng.normal(size=(4000, 1))
    x = np.hstack([rng.normal(size=(4000, 3)), shared]) @ rng.normal(size=(4, 4))
    y = np.hstack([-shared, rng.normal(size=(4000, 2))]) @ rng.normal(size=(3, 3))
    x, y = x - x.mean(0), y - y.mean(0)
    a, b = sync_baselines.canonical(*(jnp.array(c, jnp.float32) / 4000 for c in (x.T @ x, y.T @ y, x.T @ y)), 1)
    assert np.corrcoef((x @ a)[:, 0], (y @ b)[:, 0])[0, 1] > 0.9


def test_covariances_are_gathered_in_training_alone(fitted, batch):
    model, variables = fitted
    out, updated = jax.jit(lambda v, b: model.apply(v, b, train=True, mutable=["batch_stats"]))(variables, batch)
    assert out["baselines"] == {}
    assert not np.any(variables["batch_stats"]["classic"]["xx"])
    assert np.trace(updated["batch_stats"]["classic"]["xx"]) > 0


def test_it_wants_a_mouth_and_a_sound(batch):
    model = build({**SPEC, "encoders": {"mouth": SPEC["encoders"]["mouth"]}})
    with pytest.raises(ValueError, match="expected encoders of mouth and audio, found mouth"):
        model.init(jax.random.key(0), batch)
