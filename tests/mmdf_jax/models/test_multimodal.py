"""The multimodal model: named outputs, absent streams, modality dropout."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmdf_jax.fusion import cross_attention
from mmdf_jax.models import multimodal


class Probe(nn.Module):
    """An encoder that only averages: [b …] -> one token."""

    @nn.compact
    def __call__(self, x, *, valid=None, train=False, capture=()):
        mean = nn.Dense(8)(x.reshape(x.shape[0], -1).astype(jnp.float32) / 255)
        shape = {2: (1,), 4: (1, 1), 5: (1, 1, 1)}[x.ndim]
        return {"tokens": mean.reshape(-1, *shape, 8), "pooled": mean}


def make(**kwargs):
    encoders = {"image": Probe(), "audio": Probe(), "video": Probe()}
    return multimodal.Model(encoders, cross_attention.Model(depth=1, heads=2), width=16, **kwargs)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 255, (4, 3, 8, 8, 3)).astype(np.uint8),
        "video": rng.integers(0, 255, (4, 5, 8, 8, 3)).astype(np.uint8),
        "audio": rng.integers(-100, 100, (4, 50)).astype(np.int16),
        "image_mask": np.array([True, True, False, False]),
        "video_mask": np.array([True, True, True, False]),
        "audio_mask": np.array([True, False, True, False]),
    }


def test_outputs(batch):
    out, variables = make().init_with_output(jax.random.key(0), batch, capture=("attention",))
    assert {"attention", "cross_attention"}.isdisjoint(make().apply(variables, batch))
    assert out["encoders"]["image"]["tokens"].shape == (4, 3, 1, 1, 8)
    assert out["logits"].shape == (4,)
    assert set(out["stream_logits"]) == {"image", "audio", "video"}
    assert out["attention"]["image"].shape == (4, 3, 1, 1)
    assert out["attention"]["video"].shape == (4, 1, 1, 1)
    assert out["attention"]["audio"].shape == (4, 1)
    assert out["embeddings"]["fused"].shape == (4, 16)
    assert np.isfinite(out["logits"]).all()


def test_what_an_absent_stream_holds_does_not_matter(batch):
    model = make()
    variables = model.init(jax.random.key(0), batch)
    other = {**batch, "audio": np.where(batch["audio_mask"][:, None], batch["audio"], 9999).astype(np.int16)}
    np.testing.assert_array_equal(model.apply(variables, batch)["logits"], model.apply(variables, other)["logits"])


def test_frames_that_are_padding_do_not_count(batch):
    model = make()
    variables = model.init(jax.random.key(0), batch)
    valid = np.array([[True, False, True]] * 3 + [[False] * 3])
    image = np.where(valid[:, :, None, None, None], batch["image"], 255).astype(np.uint8)
    pooled = [
        model.apply(variables, {**batch, "image": x, "image_valid": valid})["embeddings"]["image"]
        for x in (batch["image"], image)
    ]
    np.testing.assert_allclose(*pooled, rtol=1e-6)
    assert np.isfinite(pooled[0]).all()


def test_modality_dropout_never_hides_the_last_stream(batch):
    model = make(modality_dropout=0.9)
    variables = model.init(jax.random.key(0), batch)
    for seed in range(20):
        out = model.apply(variables, batch, train=True, capture=("attention",), rngs={"dropout": jax.random.key(seed)})
        total = sum(w.reshape(4, -1).sum(axis=1) for w in out["attention"].values())
        np.testing.assert_allclose(total, [1, 1, 1, 0], rtol=1e-5)


def test_modality_dropout_hides_some(batch):
    model = make(modality_dropout=0.9)
    variables = model.init(jax.random.key(0), batch)
    out = model.apply(variables, batch, train=True, capture=("attention",), rngs={"dropout": jax.random.key(0)})
    hidden = [float(out["attention"][stream][0].sum()) == 0 for stream in ("image", "audio", "video")]
    assert any(hidden)


def test_equal_times_get_equal_embeddings():
    module = multimodal.TimeEmbedding(8)
    variables = module.init(jax.random.key(0), 4)
    coarse, fine = module.apply(variables, 3), module.apply(variables, 9)
    np.testing.assert_allclose(coarse, fine[1::3], atol=1e-5)


@pytest.fixture(scope="module")
def compared(batch):
    model = make(compare=("video", "audio"), modality_dropout=0.5)
    return model, model.init(jax.random.key(0), batch)


def test_the_comparison_is_one_stream_more(batch, compared):
    model, variables = compared
    out = model.apply(variables, batch, capture=("attention",))
    assert set(out["stream_logits"]) == set(out["attention"]) == {"image", "audio", "video", "sync"}
    np.testing.assert_array_equal(out["present"]["sync"], [True, False, True, False])
    np.testing.assert_array_equal(out["attention"]["sync"].sum(1) > 0, [True, False, True, False])
    assert out["alignment"]["x"].shape == out["alignment"]["y"].shape == (4, 1, 64)
    assert "alignment" not in make().init_with_output(jax.random.key(0), batch)[0]


def test_the_comparison_needs_steps_that_both_streams_have(batch, compared):
    model, variables = compared
    valid = {"video_valid": np.ones((4, 5), bool), "audio_valid": np.arange(20).reshape(4, 5) >= 5}
    out = model.apply(variables, {**batch, **valid})
    np.testing.assert_array_equal(out["present"]["sync"], [False, False, True, False])


def test_who_is_hidden_from_the_fusion_is_hidden_in_the_comparison(batch, compared):
    model, variables = compared
    everything = {**batch, **{f"{stream}_mask": np.ones(4, bool) for stream in ("image", "video", "audio")}}
    seen = set()
    for seed in range(8):
        rngs = {"dropout": jax.random.key(seed)}
        out = model.apply(variables, everything, train=True, capture=("attention",), rngs=rngs)
        shown = {stream: np.asarray(a.reshape(4, -1).sum(1) > 0) for stream, a in out["attention"].items()}
        np.testing.assert_array_equal(shown["sync"], shown["video"] & shown["audio"])
        assert out["present"]["sync"].all()
        seen |= set(shown["sync"].tolist())
    assert seen == {True, False}


@pytest.mark.parametrize("compare", [("mouth", "audio"), ("audio",)])
def test_only_two_streams_of_the_model_can_be_compared(batch, compare):
    with pytest.raises(ValueError, match=r"config.model.compare=.*two of the streams audio, image, video, or \(\)"):
        make(compare=compare).init(jax.random.key(0), batch)
