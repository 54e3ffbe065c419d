"""Early fusion and pooled vectors: grids of any rate, absent streams, and what each of them can see of time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmdf_jax.fusion import early, pooled

MODELS = {"early": early.Model(steps=4, depth=1, heads=2, mlp_ratio=2.0), "pooled": pooled.Model(hidden=24)}


@pytest.fixture(scope="module", params=MODELS)
def setup(request):
    rng = np.random.default_rng(0)
    shapes = {"audio": (3, 10, 8), "image": (3, 2, 2, 3, 8), "video": (3, 4, 2, 2, 8)}
    tokens = {stream: jnp.asarray(rng.standard_normal(shape, np.float32)) for stream, shape in shapes.items()}
    present = {stream: jnp.ones(3, bool) for stream in tokens}
    model = MODELS[request.param]
    variables = jax.jit(model.init)(jax.random.key(0, impl="rbg"), tokens, present)  # a key that compiles quickly
    apply = jax.jit(lambda tokens, present: model.apply(variables, tokens, present)["fused"])
    return request.param, variables, tokens, present, apply


def test_grids_of_any_rate_give_one_vector(setup):
    *_, tokens, present, apply = setup
    assert apply(tokens, present).shape == (3, 8)


def test_an_absent_stream_changes_nothing_but_is_noticed(setup):
    _, variables, tokens, present, apply = setup
    gone = {**present, "audio": jnp.array([True, False, True])}
    noise = {**tokens, "audio": tokens["audio"].at[1].set(1e3)}
    np.testing.assert_array_equal(apply(tokens, gone), apply(noise, gone))
    assert not np.allclose(apply(tokens, gone)[1], apply(tokens, present)[1])
    assert "missing_audio" in variables["params"]


def test_a_row_with_no_stream_at_all_is_finite(setup):
    *_, tokens, present, apply = setup
    assert np.isfinite(apply(tokens, {stream: jnp.zeros(3, bool) for stream in present})).all()


def test_every_stream_is_used(setup):
    *_, tokens, present, apply = setup
    gradient = jax.jit(jax.grad(lambda tokens: (apply(tokens, present) ** 3).sum()))(tokens)
    assert all(float(jnp.abs(g).max()) > 0 for g in gradient.values())


def test_only_early_fusion_sees_which_times_go_together(setup):
    name, _, tokens, present, apply = setup
    turned = {**tokens, "audio": tokens["audio"][:, ::-1]}
    same = np.allclose(apply(turned, present), apply(tokens, present), atol=1e-4)
    assert same == (name == "pooled")
