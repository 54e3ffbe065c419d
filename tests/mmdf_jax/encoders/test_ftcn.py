"""The fully temporal network: it looks at no neighbour, padding, shapes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmdf_jax.encoders import ftcn

SMALL = dict(width=8, widths=(8, 8), stage_sizes=(1, 1), expansion=2, pools=(1, 1, 1), heads=2, mlp_hidden=16)


@pytest.fixture(scope="module")
def small():
    model = ftcn.Model(**SMALL)
    x = np.random.default_rng(0).integers(0, 256, (2, 7, 16, 16, 3), np.uint8)
    variables = jax.jit(model.init)(jax.random.key(0, impl="rbg"), x)
    return jax.jit(lambda x, valid=None: model.apply(variables, x, valid=valid)), x


@pytest.mark.parametrize(("variant", "d"), [("tiny", 64), ("resnet50", 1024)])
def test_one_token_a_frame(variant, d):
    model = ftcn.Model(**ftcn.VARIANTS[variant])
    x = jax.ShapeDtypeStruct((2, 16, 112, 112, 3), jnp.uint8)
    out, variables = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x), x)
    assert out["tokens"].shape == (2, 16, d) and out["pooled"].shape == (2, d)
    kernels = [leaf.shape for leaf in jax.tree.leaves(variables["params"]) if len(leaf.shape) == 5]
    assert {shape[1:3] for shape in kernels} == {(1, 1)} and {shape[0] for shape in kernels} >= {3, 5}


def test_where_pixels_stand_tells_nothing(small):
    """Pixels of 2 x 2 change places, and so do whole squares of 8 x 8, the same way in all frames."""
    apply, x = small
    squares = x.reshape(2, 7, 2, 8, 2, 8, 3)[:, :, ::-1][:, :, :, :, ::-1].reshape(x.shape)
    squares = squares.reshape(2, 7, 8, 2, 8, 2, 3)[:, :, :, ::-1].reshape(x.shape)
    assert not np.array_equal(squares, x)
    np.testing.assert_allclose(apply(squares)["tokens"], apply(x)["tokens"], rtol=1e-4, atol=1e-5)
    backwards = apply(np.ascontiguousarray(x[:, ::-1]))["pooled"]
    assert np.abs(backwards - apply(x)["pooled"]).max() > 1e-3  # the order of the frames does


def test_padded_frames_change_nothing(small):
    apply, x = small
    valid = np.arange(7) < np.array([7, 4])[:, None]
    out, alone = apply(x, valid), apply(x[1:, :4])
    np.testing.assert_allclose(out["tokens"][1, :4], alone["tokens"][0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(out["pooled"][1], alone["pooled"][0], rtol=1e-4, atol=1e-5)


def test_halving_takes_the_largest_of_four_and_keeps_odd_edges():
    x = jnp.arange(15.0).reshape(1, 1, 3, 5, 1)
    np.testing.assert_array_equal(ftcn.halve(x)[0, 0, :, :, 0], [[6, 8, 9], [11, 13, 14]])


def test_stages_that_do_not_match_are_an_error():
    with pytest.raises(ValueError, match="1 stages need as many widths and 2 pools"):
        ftcn.Model(stage_sizes=(1,)).init(jax.random.key(0), np.zeros((1, 2, 8, 8, 3), np.uint8))
