"""Cross-modal attention: masks hide streams entirely, weights sum to one, one stream alone works."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmdf_jax.fusion import cross_attention


@pytest.fixture(scope="module")
def setup():
    keys = jax.random.split(jax.random.key(0), 4)
    tokens = {
        stream: jax.random.normal(key, (3, n, 16))
        for stream, key, n in zip(("audio", "image", "video"), keys, (5, 4, 6), strict=False)
    }
    present = {stream: jnp.ones(3, bool) for stream in tokens}
    model = cross_attention.Model(depth=2, heads=4, dropout=0.1)
    return model, model.init(keys[3], tokens, present), tokens, present


def test_shapes_and_sums(setup):
    model, variables, tokens, present = setup
    assert set(model.apply(variables, tokens, present)) == {"fused"}
    out = model.apply(variables, tokens, present, capture=("attention", "cross_attention"))
    assert out["fused"].shape == (3, 16)
    assert {stream: weights.shape for stream, weights in out["attention"].items()} == {
        "audio": (3, 5),
        "image": (3, 4),
        "video": (3, 6),
    }
    total = sum(weights.sum(axis=1) for weights in out["attention"].values())
    np.testing.assert_allclose(total, 1, rtol=1e-5)
    assert out["cross_attention"]["audio"][1].shape == (3, 4, 5, 10)
    np.testing.assert_allclose(out["cross_attention"]["audio"][1].sum(axis=-1), 1, rtol=1e-5)


def test_an_absent_stream_changes_nothing(setup):
    model, variables, tokens, present = setup
    present = {**present, "audio": jnp.array([True, False, True])}
    noise = {**tokens, "audio": tokens["audio"].at[1].set(1e3)}
    before, after = (model.apply(variables, t, present, capture=("attention",)) for t in (tokens, noise))
    np.testing.assert_array_equal(before["fused"], after["fused"])
    assert (before["attention"]["audio"][1] == 0).all()
    assert (before["attention"]["audio"][0] > 0).all()


def test_a_row_with_no_stream_at_all_is_finite(setup):
    model, variables, tokens, present = setup
    nothing = {stream: jnp.zeros(3, bool) for stream in present}
    assert np.isfinite(model.apply(variables, tokens, nothing)["fused"]).all()


def test_every_stream_receives_gradient_through_the_others(setup):
    model, variables, tokens, present = setup
    gradient = jax.grad(lambda t: model.apply(variables, t, present)["fused"].sum())(tokens)
    assert all(float(jnp.abs(g).max()) > 0 for g in gradient.values())


def test_one_stream_alone(setup):
    model, _, tokens, present = setup
    alone = {"audio": tokens["audio"]}
    out, _ = model.init_with_output(jax.random.key(0), alone, {"audio": present["audio"]}, capture=("attention",))
    np.testing.assert_allclose(out["attention"]["audio"].sum(axis=1), 1, rtol=1e-5)
