"""What flow tells, against scipy and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from mmdf_jax.layers import flow_measures

H, W = 9, 14
Y, X = np.mgrid[:H, :W].astype(np.float32)


def uniform(x, y):
    return jnp.broadcast_to(jnp.array([x, y], jnp.float32), (1, H, W, 2))


def flow_of(x, y):
    return jnp.asarray(np.stack(np.broadcast_arrays(x, y, np.zeros_like(X))[:2], -1)[None].astype(np.float32))


@pytest.mark.parametrize("channels", [(), (3,)])
def test_warp_is_linear_interpolation_that_goes_on_beyond_the_edge(channels):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (2, H, W, *channels), np.uint8)
    flow = rng.normal(0, 4, (2, H, W, 2)).astype(np.float32)
    found = np.array(flow_measures.warp(jnp.array(image), jnp.array(flow)))
    assert found.shape == image.shape
    for b, channel in np.ndindex(2, *channels or (1,)):
        picture = image[b, ..., channel] if channels else image[b]
        places = [Y + flow[b, ..., 1], X + flow[b, ..., 0]]
        expected = ndimage.map_coordinates(picture.astype(float), places, order=1, mode="nearest")
        np.testing.assert_allclose(found[b, ..., channel] if channels else found[b], expected, atol=1e-3)


def test_no_flow_changes_nothing():
    image = jnp.array(np.random.default_rng(0).integers(0, 256, (2, H, W), np.uint8))
    np.testing.assert_array_equal(flow_measures.warp(image, jnp.zeros((2, H, W, 2))), image)


def test_a_flow_that_is_not_a_number_is_seen():
    found = flow_measures.warp(jnp.ones((1, H, W)), uniform(0, 0).at[0, 4, 5].set(jnp.nan))
    assert np.isnan(found[0, 4, 5]) and np.isnan(found).sum() == 1


def test_inside_leaves_out_what_came_into_the_picture():
    seen = flow_measures.inside(uniform(2, -1))[0]
    np.testing.assert_array_equal(seen, (X <= W - 3) & (Y >= 1))


def test_warp_error_of_a_picture_that_moved():
    image = np.random.default_rng(0).normal(size=(1, H, W))
    moved = np.roll(image, (1, -2), (1, 2))  # down by 1, to the left by 2
    error = np.array(flow_measures.warp_error(jnp.array(image), jnp.array(moved), uniform(-2, 1)))
    np.testing.assert_allclose(error[:, :-1, 2:], 0, atol=1e-6)
    standing = flow_measures.warp_error(jnp.array(image), jnp.array(moved), uniform(0, 0))
    np.testing.assert_allclose(standing, np.abs(image - moved), atol=1e-6)


def test_forward_and_backward():
    there, back = uniform(1.5, -2), uniform(-1.5, 2)
    np.testing.assert_array_equal(flow_measures.forward_backward(there, back), np.zeros((1, H, W)))
    np.testing.assert_allclose(flow_measures.forward_backward(there, uniform(1.5, 2)), 3)
    # Read where one has gone: a backward flow (-x / 2, 0) undoes (x, 0), for x / 2 of 2 x is x.
    gap = flow_measures.forward_backward(flow_of(X, 0), flow_of(-X / 2, 0))
    np.testing.assert_allclose(gap[..., : W // 2], 0, atol=1e-6)
    gradient = jax.grad(lambda flow: flow_measures.forward_backward(flow, back).sum())(there)
    assert np.isfinite(gradient).all()


def test_divergence_is_of_expansion_and_not_of_rotation():
    x, y = X - 3, Y - 5
    np.testing.assert_allclose(flow_measures.divergence(flow_of(0.1 * x, 0.2 * y)), 0.3, atol=1e-6)
    np.testing.assert_allclose(flow_measures.divergence(flow_of(-y, x)), 0, atol=1e-6)


def test_acceleration_along_the_path():
    speeds = jnp.stack([uniform(0.5 * t, 1 - 0.25 * t) for t in range(4)], 1)
    found = flow_measures.acceleration(speeds)
    assert found.shape == (1, 3, H, W, 2)
    np.testing.assert_allclose(found, np.broadcast_to([0.5, -0.25], found.shape), atol=1e-6)
    # A shear that stays the same at each place speeds up whatever drifts across it.
    shear = jnp.stack([flow_of(0.5 * Y, 1)] * 2, 1)
    found = np.array(flow_measures.acceleration(shear))
    np.testing.assert_allclose(found[0, 0, :-1, :, 0], 0.5, atol=1e-6)
    np.testing.assert_allclose(found[..., 1], 0, atol=1e-6)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"warp: expected image .* found \(1, 9, 14\), \(1, 9, 13, 2\)"):
        flow_measures.warp(jnp.zeros((1, H, W)), jnp.zeros((1, H, W - 1, 2)))
    with pytest.raises(ValueError, match=r"at least 2, found \(1, 1, 9, 14, 2\)"):
        flow_measures.acceleration(jnp.zeros((1, 1, H, W, 2)))
