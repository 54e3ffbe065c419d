"""What wav2vec 2.0 does beyond its original: the tiny size, int16, dropout and LayerDrop, remat, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmdf_jax.encoders import hubert
from mmdf_jax.encoders.wav2vec2 import VARIANTS, Model

KEY = jax.random.key(0, impl="rbg")  # compiles in a fifth of the default's time
SMALL = {**VARIANTS["tiny"], "width": 32, "conv_dims": (8, 8), "conv_kernels": (10, 4), "conv_strides": (10, 4)}


def sound(batch: int, samples: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 3000, (batch, samples)).astype(np.int16)


@pytest.fixture(scope="module")
def small():
    model, x = Model(**SMALL), sound(2, 1200)
    return model, jax.jit(lambda x: model.init(KEY, x, train=False))(x), x


@pytest.mark.parametrize("module", [hubert])
def test_tiny_model_has_twenty_millisecond_tokens(module):
    model = module.Model(**module.VARIANTS["tiny"])
    x = jax.ShapeDtypeStruct((2, 25600), jnp.int16)
    out = jax.eval_shape(lambda x: model.init_with_output(KEY, x, train=False)[0], x)
    assert out["tokens"].shape == (2, 79, 96)
    assert out["pooled"].shape == (2, 96)


def test_int16_and_float_are_the_same_sound(small):
    model, variables, x = small
    apply = jax.jit(lambda x: model.apply(variables, x, train=False)["pooled"])
    np.testing.assert_allclose(apply(x), apply(x.astype(np.float32) / 32768), rtol=1e-4, atol=1e-5)


def test_dropout_and_layerdrop_act_in_training_only(small):
    _, variables, x = small
    model = Model(**SMALL, dropout=0.1, activation_dropout=0.1, attention_dropout=0.1, layerdrop=0.5)

    @jax.jit
    def run(key):
        return model.apply(variables, x, train=True, rngs={"dropout": key})

    a, b = run(jax.random.key(1)), run(jax.random.key(2))
    assert not np.allclose(a["tokens"], b["tokens"])
    skipped = [
        [bool((u == v).all()) for u, v in zip(o["layers"], o["layers"][1:], strict=False)]
        for o in map(run, jax.random.split(jax.random.key(0), 20))
    ]
    assert 5 < sum(map(sum, skipped)) < 35  # of 40 layers, half
    evaluated, plain = (
        jax.jit(lambda v, m=m: m.apply(v, x, train=False)["tokens"])(variables) for m in (model, Model(**SMALL))
    )
    np.testing.assert_allclose(evaluated, plain, rtol=1e-6)


def test_remat_computes_the_same_gradient(small):
    model, variables, x = small

    def gradient(model):
        return jax.jit(jax.grad(lambda v: (model.apply(v, x, train=True)["tokens"] ** 3).mean()))(variables)

    for ours, plain in zip(
        jax.tree.leaves(gradient(Model(**SMALL, remat=True))), jax.tree.leaves(gradient(model)), strict=True
    ):
        np.testing.assert_allclose(ours, plain, rtol=1e-3, atol=1e-5)


def test_bfloat16_computes_about_the_same(small):
    model, variables, x = small
    half, full = (
        jax.jit(lambda v, m=m: m.apply(v, x, train=False)["tokens"])(variables)
        for m in (Model(**SMALL, dtype=jnp.bfloat16), model)
    )
    assert half.dtype == jnp.bfloat16
    assert np.corrcoef(np.asarray(half, np.float32).ravel(), np.ravel(full))[0, 1] > 0.999


def test_silence_is_no_division_by_zero(small):
    model, variables, x = small
    mask = np.zeros(x.shape, bool)
    out = jax.jit(lambda x: model.apply(variables, x, valid=mask, train=False))(np.zeros_like(x))
    assert np.isfinite(out["tokens"]).all()
    assert not out["pooled"].any()


def test_valid_in_coarser_steps_is_that_of_their_samples(small):
    model, variables, x = small
    coarse = np.arange(30)[None] < np.array([[30], [17]])
    apply = jax.jit(lambda valid: model.apply(variables, x, valid=valid))
    np.testing.assert_array_equal(apply(coarse)["pooled"], apply(np.repeat(coarse, 40, axis=1))["pooled"])
    with pytest.raises(ValueError, match="expected steps that divide 1200 samples, found 7"):
        apply(coarse[:, :7])


def test_too_short_a_sound_is_an_error(small):
    model, variables, _ = small
    with pytest.raises(ValueError, match="too few for one token"):
        model.apply(variables, sound(1, 30), train=False)
