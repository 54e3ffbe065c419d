"""The comparison of two streams: closed forms of its features, steps and validity, and what a shift does to them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmdf_jax import losses
from mmdf_jax.fusion.comparison import Comparison

STEPS, C = 12, 6
ALL = jnp.ones((2, STEPS), bool)


@pytest.fixture(scope="module")
def setup():
    """The compiled `apply`, variables and a stream."""
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, STEPS, C), np.float32))
    model = Comparison(width=5, features=4, kernel=3)
    params = jax.jit(model.init)(jax.random.key(1), x, x, ALL, ALL)["params"]
    return jax.jit(model.apply), {"params": {**params, "y": params["x"]}}, x  # one projection for both streams


def test_features_are_the_normalised_projections(setup):
    apply, variables, x = setup
    out = apply(variables, x, x, ALL, ALL)
    dense = variables["params"]["x"]
    expected = np.asarray(x) @ np.asarray(dense["kernel"]) + np.asarray(dense["bias"])
    expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    np.testing.assert_allclose(out["x"], expected, atol=1e-5)
    np.testing.assert_array_equal(out["x"], out["y"])
    assert out["valid"].all()
    np.testing.assert_allclose(out["scale"], 10, rtol=1e-6)


def test_tokens_are_a_convolution_of_the_products(setup):
    apply, variables, x = setup
    y = jnp.asarray(np.random.default_rng(1).standard_normal(x.shape, np.float32))
    out = apply(variables, x, y, ALL, ALL)
    products = np.pad(4 * np.asarray(out["x"] * out["y"]), ((0, 0), (1, 1), (0, 0)))
    kernel, bias = (np.asarray(variables["params"]["products"][name]) for name in ("kernel", "bias"))
    expected = sum(products[:, i : i + STEPS] @ kernel[i] for i in range(3)) + bias
    np.testing.assert_allclose(out["tokens"], np.maximum(expected, 0), atol=1e-5)
    np.testing.assert_allclose(out["pooled"], out["tokens"].mean(1) + out["tokens"].max(1), atol=1e-5)


def test_a_shifted_stream_agrees_less_and_is_matched_worse(setup):
    apply, variables, x = setup
    same, late = (apply(variables, x, y, ALL, ALL) for y in (x, jnp.roll(x, 3, axis=1)))
    diagonal, shifted = ((out["x"] * out["y"]).sum(-1) for out in (same, late))
    np.testing.assert_allclose(diagonal, 1, rtol=1e-5)
    assert shifted.mean() < 0.5
    rows = jnp.ones(2, bool)
    matched, missed = (losses.time_matching(o["x"], o["y"], ALL, rows, o["scale"]) for o in (same, late))
    assert matched < missed


def test_the_finer_stream_is_averaged_onto_the_steps_of_the_coarser_and_over_space(setup):
    apply, variables, x = setup
    fine = jnp.repeat(x, 2, axis=1)[:, :, None, None] + jnp.array([-1.0, 1.0])[:, None, None]
    fine_valid = jnp.ones((2, 2 * STEPS), bool)
    for pair, valid in (((fine, x), (fine_valid, ALL)), ((x, fine), (ALL, fine_valid))):
        out = apply(variables, *pair, *valid)
        assert out["tokens"].shape == (2, STEPS, 5)
        np.testing.assert_allclose((out["x"] * out["y"]).sum(-1), 1, rtol=1e-4)


def test_steps_that_either_stream_lacks_do_not_count(setup):
    apply, variables, x = setup
    x_valid, y_valid = ALL.at[:, 9:].set(False), ALL.at[:, :2].set(False)
    out = apply(variables, x, x, x_valid, y_valid)
    np.testing.assert_array_equal(out["valid"][0], [False] * 2 + [True] * 7 + [False] * 3)
    noise = x.at[:, 9:].set(99.0)
    again = apply(variables, noise, x.at[:, :2].set(-99.0), x_valid, y_valid)
    np.testing.assert_allclose(out["pooled"], again["pooled"], rtol=1e-6)
    nothing = apply(variables, x, x, ~ALL, ALL)
    assert not nothing["valid"].any() and (nothing["pooled"] == 0).all()


def test_zeros_have_finite_gradients_and_the_scale_is_bounded(setup):
    apply, variables, x = setup
    zero = jnp.zeros_like(x)
    gradient = jax.jit(jax.grad(lambda v: apply(v, zero, zero, ALL, ALL)["x"].sum()))({**variables})
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))
    large = {"params": {**variables["params"], "log_scale": jnp.array(9.0)}}
    assert apply(large, x, x, ALL, ALL)["scale"] == losses.MAX_SCALE
