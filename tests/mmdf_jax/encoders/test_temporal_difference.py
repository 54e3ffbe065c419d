"""The temporal difference network: shapes, padding, that it sees change, its torch twin."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmdf_jax.encoders.temporal_difference import VARIANTS, Model, neighbours
from tests.mmdf_jax.encoders import twin

KEY = jax.random.key(0, impl="rbg")  # compiles in a fifth of the default's time
SMALL = dict(width=8, stage_sizes=(1, 1), stem_kernel=3, strides=(2, 2, 1), span=2)


def video(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.fixture(scope="module")
def small():
    model, x = Model(**SMALL), video(2, 6, 16, 16, 3)
    variables = jax.jit(lambda x: model.init(KEY, x, train=False))(x)
    return jax.jit(lambda x, mask=None: model.apply(variables, x, valid=mask, train=False)), variables, x


@pytest.mark.parametrize("variant", VARIANTS)
def test_outputs(variant):
    model = Model(**VARIANTS[variant])
    channels = len(model.mean)
    x = jax.ShapeDtypeStruct((2, 16, 48, 48, channels), jnp.uint8 if channels == 3 else jnp.float32)
    out = jax.eval_shape(lambda x: model.init_with_output(KEY, x, train=False)[0], x)
    d = {"tiny": 128, "tiny_differences": 64}.get(variant, 512)
    assert out["tokens"].shape[:2] == (2, 16)
    assert out["tokens"].shape[-1] == d
    assert out["pooled"].shape == (2, d)
    assert out["change"].shape == (2, 16, 48, 48)


def test_padded_frames_change_nothing(small):
    apply, _, x = small
    mask = np.arange(6) < np.array([6, 4])[:, None]
    out, alone = apply(x, mask), apply(x[1:, :4])
    np.testing.assert_allclose(out["tokens"][1, :4], alone["tokens"][0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(out["pooled"][1], alone["pooled"][0], rtol=1e-4, atol=1e-5)


def test_change_is_where_something_moved(small):
    apply, _, x = small
    still = np.repeat(x[:, :1], 6, axis=1)
    assert not apply(still)["change"].any()
    still[:, 3, 4:8, 4:8] = 255 - still[:, 3, 4:8, 4:8]
    change = np.array(apply(still)["change"])
    assert (change[:, 2:5, 4:8, 4:8] > 0).mean() > 0.9
    change[:, 2:5, 4:8, 4:8] = 0
    assert not change.any()


def test_differences_to_both_neighbours_by_hand():
    x = jnp.array([1.0, 4.0, 9.0, 16.0, 25.0]).reshape(1, 5, 1, 1, 1)
    mask = jnp.arange(5)[None] < 4
    back, ahead = (d.ravel() for d in neighbours(x, 1, mask))
    np.testing.assert_array_equal(back, [0, 3, 5, 7, 0])
    np.testing.assert_array_equal(ahead, [-3, -5, -7, 0, 0])
    far, _ = neighbours(x, 99, jnp.ones((1, 5), bool))
    np.testing.assert_array_equal(far.ravel(), [0, 0, 0, 0, 24])


def test_remat_computes_the_same_gradient(small):
    _, variables, x = small

    def gradient(**fields):
        model = Model(**SMALL, **fields)
        return jax.jit(jax.grad(lambda v: (model.apply(v, x, train=True)["pooled"] ** 2).mean()))(variables)

    pairs = zip(jax.tree.leaves(gradient(remat=True)), jax.tree.leaves(gradient()), strict=True)
    for ours, plain in pairs:
        np.testing.assert_allclose(ours, plain, rtol=1e-3, atol=1e-5)


def test_strides_that_do_not_match_the_stages_are_an_error():
    with pytest.raises(ValueError, match="stages need"):
        Model(stage_sizes=(1,)).init(KEY, video(1, 2, 16, 16, 3), train=False)


@pytest.mark.parametrize(
    ("norm", "shapes"),
    [("group", [(2, 6, 16, 16, 3), (1, 3, 21, 28, 3)]), ("batch", [(2, 1, 16, 16, 3)])],
)
def test_outputs_and_input_gradient_are_the_torch_twins(norm, shapes):
    errors = twin.compare(Model(**SMALL, norm=norm), shapes)
    assert twin.within(errors), errors
