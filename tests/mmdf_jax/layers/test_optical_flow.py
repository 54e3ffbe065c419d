"""Optical flow on known motions, beside OpenCV, and its steps against plain NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from experiments.benchmark import flow as benchmark
from mmdf_jax.layers import optical_flow

METHODS = {name: getattr(optical_flow, name) for name in ("lucas_kanade", "horn_schunck")}
both = pytest.mark.parametrize("method", METHODS)


@functools.cache
def jitted(method):
    return jax.jit(METHODS[method])


@pytest.fixture(scope="module")
def faces():
    """Six faces of 64 px warped by smooth fields of at most 3 px, with noise: first, second, flow."""
    return benchmark.pairs(benchmark.faces(6), 64)


def error(found, flow):
    return np.linalg.norm(np.array(found) - flow, axis=-1).mean()


@both
def test_known_motions_beside_opencv(method, faces):
    first, second, flow = faces
    found = error(jitted(method)(first, second), flow)
    opencv = {name: error(other(first, second), flow) for name, other in benchmark.opencv().items()}
    assert found < 0.45 * error(0, flow)
    assert found < opencv["Farneback"]
    assert found < 1.3 * min(opencv.values())


def waves(x, y):
    """A smooth texture without end."""
    return 128 + 40 * np.sin(x / 3.1 + y / 7.3) + 30 * np.cos(y / 3.7 - x / 11.9) + 20 * np.sin(x / 5.3 - y / 4.1)


@pytest.mark.parametrize(
    ("method", "sides"), [("lucas_kanade", (56, 112)), ("lucas_kanade", (45, 37)), ("horn_schunck", (45, 37))]
)
def test_a_translation_is_found(method, sides):
    y, x = np.mgrid[: sides[0], : sides[1]]
    motion = np.array([1.7, -0.6])
    first, second = waves(x, y)[None], waves(x - motion[0], y - motion[1])[None]
    found = jitted(method)(first.astype(np.float32), second.astype(np.float32))
    assert found.shape == (1, *sides, 2) and found.dtype == jnp.float32
    away = np.abs(np.array(found) - motion)[:, 8:-8, 8:-8]
    assert away.mean() < 0.04 and away.max() < 0.25


@both
def test_what_stands_still_or_is_flat_does_not_move(method, faces):
    first = faces[0]
    np.testing.assert_array_equal(jitted(method)(first, first), np.zeros((*first.shape, 2)))
    flat = np.full_like(first, 7)
    np.testing.assert_array_equal(jitted(method)(flat, flat + 30), np.zeros((*first.shape, 2)))


@both
def test_gradients_are_finite_also_where_nothing_is_seen(method, faces):
    first, second = (x[:2, 8:32, 8:32].astype(np.float32) for x in faces[:2])
    first[1], second[1] = 50, 60
    squares = jax.jit(jax.grad(lambda a, b: (METHODS[method](a, b, levels=2) ** 2).sum(), argnums=(0, 1)))
    gradient = squares(first, second)
    for of in gradient:
        assert np.isfinite(of).all()
        assert np.abs(of[0]).max() > 0


@both
def test_each_pair_is_alone_and_its_dtype_does_not_matter(method, faces):
    first, second, _ = faces
    together = jitted(method)(first, second)
    reverse = jitted(method)(first[::-1], second[::-1])[::-1]
    np.testing.assert_allclose(together, reverse, atol=1e-5)
    one = jitted(method)(*(np.concatenate([x[:1], 0 * x[1:]]) for x in (first, second)))
    np.testing.assert_allclose(together[0], one[0], atol=1e-4)
    rough = (x.astype(jnp.bfloat16) for x in (first, second))  # holds 0 to 255
    np.testing.assert_array_equal(jitted(method)(*rough), together)


def test_one_step_of_lucas_kanade_is_least_squares_in_a_window(faces):
    first, second = (x[0].astype(np.float64) for x in faces[:2])
    flow = np.array(
        optical_flow.lucas_kanade(
            *(jnp.array(x[None]) for x in (first, second)), levels=1, iterations=1, ridge=2.0, max_step=9.0, smooth=0.0
        )
    )[0]
    dy, dx = np.gradient(first)
    rows, columns = np.mgrid[:64, :64]
    for y, x in [(0, 0), (20, 31), (40, 63), (33, 12)]:
        away = np.maximum(np.abs(rows - y), np.abs(columns - x))
        weight = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * 2.0**2)) * (away <= 6)
        weight = np.sqrt(weight / weight.sum())
        slopes = np.stack([(dx * weight).ravel(), (dy * weight).ravel()], 1)
        system = np.concatenate([slopes, np.sqrt(2) * np.eye(2)])
        target = np.concatenate([((first - second) * weight).ravel(), [0, 0]])
        expected = np.linalg.lstsq(system, target, rcond=None)[0]
        np.testing.assert_allclose(flow[y, x], expected, atol=1e-3)


def test_steps_are_limited(faces):
    first, second = (jnp.array(x) for x in faces[:2])
    found = optical_flow.lucas_kanade(first, second, levels=1, iterations=2, max_step=0.25, smooth=0.0)
    assert np.abs(found).max() == 0.5


def test_horn_schunck_solves_its_equation(faces):
    """One level, one warp: Jacobi's iterations in NumPy, and that they come to rest at the minimum."""
    first, second = (x[0].astype(np.float64) for x in faces[:2])
    kernel = np.array([[1, 2, 1], [2, 0, 2], [1, 2, 1]]) / 12
    dy, dx = (np.add(*of) / 2 for of in zip(np.gradient(first), np.gradient(second), strict=True))
    u = v = np.zeros_like(first)
    for _ in range(30):
        mean_u, mean_v = (ndimage.convolve(of, kernel, mode="nearest") for of in (u, v))
        change = (second - first + dx * mean_u + dy * mean_v) / (12.0**2 + dx**2 + dy**2)
        u, v = mean_u - dx * change, mean_v - dy * change
    pair = [jnp.array(x[None]) for x in (first, second)]
    found = optical_flow.horn_schunck(*pair, levels=1, warps=1, iterations=30, alpha=12.0)
    np.testing.assert_allclose(found[0], np.stack([u, v], -1), atol=1e-3)


@both
def test_what_does_not_fit_is_refused(method):
    with pytest.raises(ValueError, match=rf"{method}: expected two batches .* \(1, 16, 16\) and \(1, 16, 15\)"):
        METHODS[method](jnp.zeros((1, 16, 16)), jnp.zeros((1, 16, 15)))
    with pytest.raises(ValueError, match=rf"{method}: expected two batches .* \(1, 16, 16, 3\)"):
        METHODS[method](jnp.zeros((1, 16, 16, 3)), jnp.zeros((1, 16, 16, 3)))
    with pytest.raises(ValueError, match=r"found 3 levels for \(16, 15\): take fewer levels"):
        METHODS[method](jnp.zeros((1, 16, 15)), jnp.zeros((1, 16, 15)))
    with pytest.raises(ValueError, match="expected at least 1 level"):
        METHODS[method](jnp.zeros((1, 16, 16)), jnp.zeros((1, 16, 16)), levels=0)
