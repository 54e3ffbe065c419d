"""The 3-D ResNet's own choices: the tiny size, masks, BatchNorm in training, errors. Parity: test_video_parity.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmdf_jax.encoders.resnet3d import VARIANTS, Model

KEY = jax.random.key(0, impl="rbg")  # compiles in a fifth of the default's time
TINY = {**VARIANTS["tiny"], "norm": "group"}  # the same in training and evaluation


def clip(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.fixture(scope="module")
def tiny():
    model = Model(**TINY)
    x = clip(2, 16, 48, 48, 3)
    return model, jax.jit(lambda x: model.init(KEY, x, train=False))(x), x


def test_outputs_of_the_tiny_model(tiny):
    model, variables, x = tiny
    out = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, x)
    assert out["tokens"].shape == (2, 4, 2, 2, 128)
    assert out["pooled"].shape == (2, 128)
    assert set(variables) == {"params"}
    assert np.isfinite(out["tokens"]).all()


def test_masked_frames_do_not_count(tiny):
    model, variables, x = tiny
    mask = np.arange(16) < np.array([16, 8])[:, None]
    other = x.copy()
    other[1, 8:] = 7
    apply = jax.jit(lambda x: model.apply(variables, x, valid=mask, train=False))
    out, same = apply(x), apply(other)
    np.testing.assert_array_equal(out["tokens_mask"], [[True] * 4, [True, True, False, False]])
    np.testing.assert_allclose(out["pooled"], same["pooled"], rtol=1e-6)
    np.testing.assert_allclose(out["pooled"][1], out["tokens"][1, :2].mean((0, 1, 2)), rtol=1e-4, atol=1e-5)


def test_remat_computes_the_same_gradient():
    x = clip(1, 3, 12, 12, 3)
    small = {**TINY, "width": 8, "stage_sizes": (1, 1), "strides": ((1, 1, 1), (2, 2, 2))}
    variables = jax.jit(lambda x: Model(**small).init(KEY, x, train=False))(x)

    def gradient(**fields):
        model = Model(**small, **fields)
        return jax.jit(jax.grad(lambda v: (model.apply(v, x, train=True)["pooled"] ** 2).mean()))(variables)

    pairs = zip(jax.tree.leaves(gradient(remat=True)), jax.tree.leaves(gradient()), strict=True)
    for ours, plain in pairs:
        np.testing.assert_allclose(ours, plain, rtol=1e-3, atol=1e-5)


def test_bfloat16_keeps_parameters_and_statistics_in_fp32():
    model = Model(width=8, stage_sizes=(1,), strides=((1, 1, 1),), dtype=jnp.bfloat16)
    x = clip(1, 4, 16, 16, 3)
    out, variables = jax.jit(lambda x: model.init_with_output(KEY, x, train=False))(x)
    assert out["tokens"].dtype == jnp.bfloat16
    _, updated = model.apply(variables, x, train=True, mutable="batch_stats")
    assert {p.dtype for p in jax.tree.leaves((variables, updated))} == {jnp.dtype("float32")}


def test_bad_options_are_errors():
    x = clip(1, 4, 16, 16, 3)
    with pytest.raises(ValueError, match="kind must be one of"):
        Model(kind="i3d").init(KEY, x, train=False)
    with pytest.raises(ValueError, match="need as many strides"):
        Model(stage_sizes=(1,)).init(KEY, x, train=False)
