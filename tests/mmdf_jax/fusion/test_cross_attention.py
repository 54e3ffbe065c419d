"""Cross-modal attention: masks hide streams entirely, weights sum to one, one stream alone works, time is a bias."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmdf_jax import cpu
from mmdf_jax.fusion import cross_attention


@pytest.fixture(scope="module")
def setup():
    keys = jax.random.split(jax.random.key(0), 4)
    tokens = {
        stream: jax.random.normal(key, (3, *grid, 16))
        for stream, key, grid in zip(("audio", "image", "video"), keys, ((5,), (2, 1, 2), (6,)), strict=False)
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
        "image": (3, 2, 1, 2),
        "video": (3, 6),
    }
    total = sum(weights.reshape(3, -1).sum(axis=1) for weights in out["attention"].values())
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


def with_slopes(variables, slopes):
    """The variables of the biased model from those of the plain one."""
    params = {
        name: {**value, "slopes": jnp.array(slopes)} if name[-2:] in ("_0", "_1") else value
        for name, value in variables["params"].items()
    }
    return {"params": params}


def test_slopes_of_zero_are_plain_attention(setup):
    model, variables, tokens, present = setup
    biased = model.clone(time_bias=True)
    first = biased.init(jax.random.key(0), tokens, present)["params"]["audio_0"]["slopes"]
    np.testing.assert_array_equal(first, [0, 1, 3, 10])
    plain = model.apply(variables, tokens, present)
    out = biased.apply(with_slopes(variables, [0.0] * 4), tokens, present)
    np.testing.assert_allclose(out["fused"], plain["fused"], atol=1e-5)


@pytest.mark.parametrize("accelerator", [False, True])
def test_a_steep_slope_looks_at_equal_times_and_is_learned(setup, accelerator, monkeypatch):
    _, _, tokens, present = setup
    monkeypatch.setattr(cpu, "enabled", lambda: not accelerator)
    pair = {"audio": tokens["audio"][:, :3], "video": tokens["video"]}
    model = cross_attention.Model(depth=1, heads=4, time_bias=True)
    here = {stream: present[stream] for stream in pair}
    variables = model.init(jax.random.key(0), pair, here)
    steep = with_slopes(variables, [0.0, 1e4, 1e4, 1e4])
    out = model.apply(steep, pair, here, capture=("cross_attention",))
    weights = out["cross_attention"]["audio"][0][:, 1:]
    inside = (weights * np.kron(np.eye(3), [[1, 1]])).sum(-1)  # frames 2i and 2i + 1 are in the middle of step i
    np.testing.assert_allclose(inside, 1, atol=1e-5)
    gradient = jax.grad(lambda v: model.apply(v, pair, here)["fused"].std())(variables)["params"]["audio_0"]["slopes"]
    assert (jnp.abs(gradient) > 0).all()
