"""The contrastive model: statistics by hand, absent streams, and what shifting one stream does."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmdf_jax.fusion import pooled
from mmdf_jax.models import contrastive


class Steps(nn.Module):
    """An encoder whose tokens are what it gets: ten numbers a step, [b t 10 1 1] or [b 10 t]."""

    @nn.compact
    def __call__(self, x, *, valid=None, train=False, capture=()):
        tokens = x.reshape(x.shape[0], -1, 10).astype(jnp.float32) / 100
        return {"tokens": tokens, "pooled": tokens.mean(1)}


@pytest.fixture(scope="module")
def setup():
    rng = np.random.default_rng(0)
    steps = rng.integers(-100, 100, (4, 8, 10))
    batch = {
        "mouth": steps.reshape(4, 8, 10, 1, 1).astype(np.float32),
        "audio": steps.reshape(4, 80).astype(np.int16),
        "mouth_mask": np.array([True, True, True, False]),
        "audio_mask": np.array([True, True, False, False]),
        "mouth_valid": np.ones((4, 8), bool),
        "audio_valid": np.ones((4, 8), bool),
    }
    model = contrastive.Model({"mouth": Steps(), "audio": Steps()}, pooled.Model(hidden=8, width=8), features=6)
    variables = jax.tree.map(lambda x: x, jax.jit(model.init)(jax.random.key(0), batch))
    variables["params"]["align_audio"] = variables["params"]["align_mouth"]  # equal inputs, equal vectors
    apply = jax.jit(lambda batch: model.apply(variables, batch, capture=("similarity",)))
    return model, variables, batch, apply


def test_outputs(setup):
    *_, batch, apply = setup
    out = apply(batch)
    alignment = out["alignment"]
    assert out["logits"].shape == (4,) and set(out["stream_logits"]) == {"mouth", "audio"}
    assert out["similarity"].shape == (4, 8, 8)
    np.testing.assert_allclose(np.diagonal(out["similarity"], axis1=1, axis2=2), alignment["cosines"], rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(alignment["steps"]["mouth"], axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(alignment["scale"], 10, rtol=1e-6)
    assert np.isfinite(out["logits"]).all()
    assert alignment["valid"].all(1).tolist() == [True, True, False, False]


def test_one_stream_of_another_clip_is_less_consistent(setup):
    *_, batch, apply = setup
    together = apply(batch)["alignment"]
    np.testing.assert_allclose(together["cosines"][:2], 1, atol=1e-5)
    exchanged = apply({**batch, "audio": batch["audio"][[1, 0, 2, 3]]})["alignment"]
    assert (exchanged["cosines"][:2].mean(1) < 0.6).all()
    found = [
        contrastive.retrieval_at_1(*alignment["steps"].values(), alignment["valid"])[:2]
        for alignment in (together, exchanged)
    ]
    assert (found[0] == 1).all() and (found[1] < 0.7).all()


def test_what_an_absent_or_padding_step_holds_does_not_matter(setup):
    *_, batch, apply = setup
    valid = batch["audio_valid"].copy()
    valid[0, 5:] = False
    changed = batch["audio"].reshape(4, 8, 10).copy()
    changed[0, 5:], changed[2:] = 77, 55
    before, after = (
        apply({**batch, "audio": x.reshape(4, 80), "audio_valid": valid}) for x in (batch["audio"], changed)
    )
    for out in (before, after):
        assert out["alignment"]["valid"].sum(1).tolist() == [5, 8, 0, 0]
    statistics = [
        contrastive.cosine_statistics(o["alignment"]["cosines"], o["alignment"]["valid"]) for o in (before, after)
    ]
    np.testing.assert_array_equal(*statistics)
    np.testing.assert_array_equal(before["logits"][2:], after["logits"][2:])


def test_statistics_are_numpys_over_the_valid_steps():
    rng = np.random.default_rng(0)
    cosines = rng.uniform(-1, 1, (5, 12)).astype(np.float32)
    valid = rng.random((5, 12)) < 0.6
    valid[3], valid[4] = False, np.arange(12) == 7
    found = np.asarray(jax.jit(contrastive.cosine_statistics)(cosines, valid))
    for row in (0, 1, 2, 4):
        x = cosines[row, valid[row]]
        np.testing.assert_allclose(found[row], [x.mean(), np.quantile(x, 0.1), x.std()], atol=2e-4)
    assert (found[3] == 0).all()
    gradient = jax.jit(jax.grad(lambda x: contrastive.cosine_statistics(x, valid).sum()))(np.zeros_like(cosines))
    assert np.isfinite(gradient).all()


def test_retrieval_counts_steps_that_find_their_own():
    x = np.eye(4, dtype=np.float32)[None]
    y = x[:, [0, 2, 1, 3]]
    valid = np.ones((1, 4), bool)
    assert contrastive.retrieval_at_1(x, y, valid) == 0.5
    assert contrastive.retrieval_at_1(x, y, np.array([[True, False, True, True]])) == pytest.approx(2 / 3)
    assert np.isnan(contrastive.retrieval_at_1(x, y, ~valid))


def test_a_pair_without_an_encoder_is_refused(setup):
    _, _, batch, _ = setup
    model = contrastive.Model({"mouth": Steps()}, pooled.Model(hidden=8))
    with pytest.raises(ValueError, match=r"config.model.pair=mouth,audio: there is no encoder of 'audio'"):
        model.init(jax.random.key(0), batch)
