"""The spectrogram CNN: shapes, padding, front ends, sizes, its torch twin."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from experiments.benchmark import torch_models
from mmdf_jax.encoders import spectrogram_cnn
from mmdf_jax.encoders.spectrogram_cnn import VARIANTS, Model
from mmdf_jax.weights.files import WeightsError
from mmdf_jax.weights.load import shapes
from tests.mmdf_jax.encoders import twin

KEY = jax.random.key(0, impl="rbg")  # compiles in a fifth of the default's time
TINY = VARIANTS["tiny"]
SMALL = {**TINY, "width": 8, "stage_sizes": (1, 1), "strides": ((2, 2), (1, 1), (2, 2))}


def sound(batch: int, samples: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 3000, (batch, samples)).astype(np.int16)


def filled(model, x):
    """Random variables: initializers take about as long to compile as the model."""
    rng = np.random.default_rng(1)

    def fill(leaf):
        spread = 1 / np.sqrt(leaf.size / leaf.shape[-1]) if leaf.ndim > 1 else 0.3
        return (rng.normal(leaf.ndim == 1, spread, leaf.shape)).astype(leaf.dtype)

    return jax.tree.map(fill, shapes(model, x))


def test_outputs_of_the_tiny_model():
    model = Model(**TINY)
    x = sound(2, 25600)
    variables = filled(model, x)
    apply = jax.jit(lambda x: model.apply(variables, x, train=False))
    out = apply(x)
    assert out["tokens"].shape == (2, 21, 128)
    assert out["pooled"].shape == (2, 128)
    assert out["tokens_mask"].all()
    assert set(variables) == {"params"}  # no running statistics
    as_float = apply(x.astype(np.float32) / 32768)["pooled"]
    np.testing.assert_allclose(as_float, out["pooled"], rtol=1e-4, atol=1e-5)


def test_padding_changes_nothing():
    model = Model(**{**SMALL, "front_end_options": {"bins": 40}})
    x = sound(2, 9000)
    variables = filled(model, x)
    lengths = [9000, 6123]
    mask = np.arange(9000) < np.array(lengths)[:, None]
    x[~mask] = 1234  # must not be looked at
    apply = jax.jit(lambda x, mask=None: model.apply(variables, x, valid=mask, train=False))
    out = apply(x, mask)
    for i, length in enumerate(lengths):
        alone = apply(x[i : i + 1, :length])
        t = alone["tokens"].shape[1]
        np.testing.assert_allclose(out["tokens"][i, :t], alone["tokens"][0], rtol=1e-3, atol=1e-4)
        assert not out["tokens"][i, t:].any()
        assert out["tokens_mask"][i].sum() == t
        np.testing.assert_allclose(out["pooled"][i], alone["pooled"][0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("front_end", spectrogram_cnn.FRONT_ENDS)
def test_every_front_end_feeds_the_network(front_end):
    options = {**SMALL, "front_end": front_end, "front_end_options": {"bins": 40}}
    model = Model(**options)
    x = sound(1, 6000)
    variables = filled(model, x)
    out = jax.jit(lambda x: model.apply(variables, x, train=False))(x)
    assert out["spectrogram"].shape == (1, 38, 40)
    assert np.isfinite(out["pooled"]).all()


def test_remat_and_bfloat16_leave_the_function_alone():
    x = sound(1, 6000)
    plain = Model(**SMALL)
    variables = filled(plain, x)

    def gradient(model):
        return jax.jit(jax.grad(lambda v: (model.apply(v, x, train=True)["pooled"] ** 2).mean()))(variables)

    for ours, theirs in zip(
        jax.tree.leaves(gradient(Model(**SMALL, remat=True))), jax.tree.leaves(gradient(plain)), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)
    half, full = (
        jax.jit(lambda v, model=model: model.apply(v, x, train=False))(variables)
        for model in (Model(**SMALL, dtype=jnp.bfloat16), plain)
    )
    assert half["tokens"].dtype == jnp.bfloat16
    full = full["pooled"]
    assert jnp.corrcoef(half["pooled"].astype(jnp.float32).ravel(), full.ravel())[0, 1] > 0.999


@pytest.mark.parametrize(("variant", "millions"), [("resnet18", 12.5), ("resnet34", 22.6)])
def test_full_sizes(variant, millions):
    model = Model(**VARIANTS[variant])
    x = jax.ShapeDtypeStruct((4, 64000), jnp.int16)
    variables = jax.eval_shape(lambda x: model.init(KEY, x, train=False), x)
    count = sum(p.size for p in jax.tree.leaves(variables)) / 1e6
    assert count == pytest.approx(millions, rel=0.05)


def test_bad_options_are_errors():
    x = sound(1, 6000)
    with pytest.raises(ValueError, match="front_end must be one of"):
        Model(front_end="wavelet").init(KEY, x, train=False)
    with pytest.raises(ValueError, match="stages need"):
        Model(stage_sizes=(1,)).init(KEY, x, train=False)
    with pytest.raises(ValueError, match="int16 or float"):
        Model(**TINY).init(KEY, x.astype(np.int32), train=False)


def test_training_strikes_blocks_out_where_asked():
    x = sound(2, 9000)
    plain, augmented = Model(**SMALL), Model(**SMALL, augment={"time_masks": 1, "bin_masks": 1})
    variables = filled(plain, x)

    def pooled(model, train):
        @jax.jit
        def of(seed):
            rngs = {"dropout": jax.random.key(seed, impl="rbg")}
            return model.apply(variables, x, train=train, rngs=rngs)["pooled"]

        return lambda seed: np.asarray(of(seed))

    np.testing.assert_array_equal(pooled(augmented, False)(0), pooled(plain, False)(0))
    struck = pooled(augmented, True)
    assert np.abs(struck(0) - pooled(plain, True)(0)).max() > 1e-3
    assert np.abs(struck(1) - struck(2)).max() > 1e-3


@pytest.mark.parametrize(
    ("front_end", "options", "lengths"),
    [
        ("log_mel", {"bins": 40, "win_length": 400}, [6000, 4321]),
        ("mfcc", {"bins": 40, "pad_mode": "reflect"}, [3000]),
        ("lfcc", {"bins": 40, "center": False}, [3000]),
    ],
)
def test_outputs_and_input_gradient_are_the_torch_twins(front_end, options, lengths):
    model = Model(**{**SMALL, "front_end": front_end, "front_end_options": options})
    errors = twin.compare(model, [(2, length) for length in lengths])
    assert twin.within(errors), errors


def test_a_twin_that_has_more_or_less_is_refused():
    model = Model(**SMALL)
    theirs = torch_models.original(model)
    theirs.more = torch.nn.Linear(1, 1)
    with pytest.raises(WeightsError, match=r"the model lacks \(2\): more/bias, more/weight"):
        torch_models.variables(theirs, model)
    del theirs.more, theirs.stem
    with pytest.raises(WeightsError, match=r"the file lacks \(1\): params/stem/kernel"):
        torch_models.variables(theirs, model)


def test_a_token_at_25_hz_sees_a_quarter_of_a_second_and_no_more():
    model = Model(**VARIANTS["tiny_25hz"])
    x = sound(1, 16_000)
    variables = filled(model, x)
    tokens = jax.jit(lambda x: model.apply(variables, x)["tokens"])
    before = tokens(x)
    assert before.shape == (1, 25, 64)
    changed = x.copy()
    changed[0, 8000:8010] += 9000
    moved = np.flatnonzero(np.abs(tokens(changed) - before).max((0, 2)) > 1e-6)
    assert moved.min() >= (0.5 - 0.25) * 25 and moved.max() <= (0.5 + 0.25) * 25
    assert len(moved) <= 7  # of 40 ms each


def test_an_unknown_norm_is_refused():
    with pytest.raises(ValueError, match="norm must be 'group' or 'batch', not 'layer'"):
        Model(**{**SMALL, "norm": "layer"}).init(KEY, sound(1, 9000))
