"""Cross-modal attention: masks hide streams entirely, weights sum to one, one stream alone works, time is a bias."""

import jax
import numpy as np
import pytest

from mmdf_jax import cpu
from mmdf_jax.fusion import cross_attention

BOTH = ("attention", "cross_attention")


def filled(model, tokens, present):
    """Random variables: initializers take longer to compile than the model."""
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(model.init, jax.random.key(0), tokens, present)
    return jax.tree.map(lambda s: rng.normal(0, 0.3, s.shape).astype(np.float32), shapes)


def compiled(model, capture=BOTH):
    return jax.jit(lambda variables, tokens, present: model.apply(variables, tokens, present, capture=capture))


@pytest.fixture(scope="module")
def setup():
    """The model, `apply(variables, tokens, present)` with both captures, and its inputs."""
    rng = np.random.default_rng(0)
    grids = {"audio": (5,), "image": (2, 1, 2), "video": (6,)}
    tokens = {stream: rng.standard_normal((3, *grid, 16), np.float32) for stream, grid in grids.items()}
    present = {stream: np.ones(3, bool) for stream in tokens}
    model = cross_attention.Model(depth=2, heads=4, dropout=0.1)
    return model, compiled(model), filled(model, tokens, present), tokens, present


def test_shapes_and_sums(setup):
    model, apply, variables, tokens, present = setup
    assert set(jax.eval_shape(model.apply, variables, tokens, present)) == {"fused"}
    out = apply(variables, tokens, present)
    assert out["fused"].shape == (3, 16)
    assert {stream: weights.shape for stream, weights in out["attention"].items()} == {
        "audio": (3, 5),
        "image": (3, 2, 1, 2),
        "video": (3, 6),
    }
    total = sum(weights.reshape(3, -1).sum(axis=1) for weights in map(np.asarray, out["attention"].values()))
    np.testing.assert_allclose(total, 1, rtol=1e-5)
    weights = np.asarray(out["cross_attention"]["audio"][1])
    assert weights.shape == (3, 4, 5, 10)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)


def test_an_absent_stream_changes_nothing(setup):
    _, apply, variables, tokens, present = setup
    present = {**present, "audio": np.array([True, False, True])}
    noise = {**tokens, "audio": tokens["audio"].copy()}
    noise["audio"][1] = 1e3
    before, after = (apply(variables, t, present) for t in (tokens, noise))
    np.testing.assert_array_equal(before["fused"], after["fused"])
    weights = np.asarray(before["attention"]["audio"])
    assert (weights[1] == 0).all() and (weights[0] > 0).all()


def test_a_row_with_no_stream_at_all_is_finite(setup):
    _, apply, variables, tokens, present = setup
    nothing = {stream: np.zeros(3, bool) for stream in present}
    assert np.isfinite(apply(variables, tokens, nothing)["fused"]).all()


def test_every_stream_receives_gradient_through_the_others(setup):
    model, _, variables, tokens, present = setup
    gradient = jax.jit(jax.grad(lambda t: model.apply(variables, t, present)["fused"].sum()))(tokens)
    assert all(np.abs(g).max() > 0 for g in gradient.values())


def test_one_stream_alone(setup):
    model, apply, _, tokens, present = setup
    alone = {"audio": tokens["audio"]}, {"audio": present["audio"]}
    out = apply(filled(model, *alone), *alone)
    np.testing.assert_allclose(np.sum(out["attention"]["audio"], axis=1), 1, rtol=1e-5)


def with_slopes(variables, slopes):
    """The variables of the biased model from those of the plain one."""
    params = {
        name: {**value, "slopes": np.array(slopes, np.float32)} if name[-2:] in ("_0", "_1") else value
        for name, value in variables["params"].items()
    }
    return {"params": params}


def test_slopes_of_zero_are_plain_attention(setup):
    model, apply, variables, tokens, present = setup
    biased = model.clone(time_bias=True)
    first = jax.jit(lambda: biased.init(jax.random.key(0), tokens, present)["params"]["audio_0"]["slopes"])()
    np.testing.assert_array_equal(first, [0, 1, 3, 10])
    plain = apply(variables, tokens, present)
    out = compiled(biased, ())(with_slopes(variables, [0.0] * 4), tokens, present)
    np.testing.assert_allclose(out["fused"], plain["fused"], atol=1e-5)


@pytest.mark.parametrize("accelerator", [False, True])
def test_a_steep_slope_looks_at_equal_times_and_is_learned(setup, accelerator, monkeypatch):
    *_, tokens, present = setup
    monkeypatch.setattr(cpu, "enabled", lambda: not accelerator)
    pair = {"audio": tokens["audio"][:, :3], "video": tokens["video"]}
    model = cross_attention.Model(depth=1, heads=4, time_bias=True)
    here = {stream: present[stream] for stream in pair}
    variables = filled(model, pair, here)
    steep = with_slopes(variables, [0.0, 1e4, 1e4, 1e4])
    out = compiled(model)(steep, pair, here)
    weights = out["cross_attention"]["audio"][0][:, 1:]
    inside = (weights * np.kron(np.eye(3), [[1, 1]])).sum(-1)  # frames 2i and 2i + 1 are in the middle of step i
    np.testing.assert_allclose(inside, 1, atol=1e-5)
    gradient = jax.jit(jax.grad(lambda v: model.apply(v, pair, here)["fused"].std()))
    first = with_slopes(variables, cross_attention.SLOPES)
    assert (np.abs(gradient(first)["params"]["audio_0"]["slopes"]) > 0).all()
