"""Separable filters against scipy and closed forms."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from mmdf_jax.layers import separable


def test_the_gaussian_is_scipys_away_from_the_edges():
    image = np.random.default_rng(0).normal(size=(3, 30, 41))
    found = separable.apply(jnp.array(image), separable.gaussian(30, 2.0), separable.gaussian(41, 2.0))
    expected = ndimage.gaussian_filter(image, 2.0, truncate=3, axes=(1, 2))
    np.testing.assert_allclose(found[:, 6:-6, 6:-6], expected[:, 6:-6, 6:-6], atol=1e-6)
    np.testing.assert_array_equal(separable.gaussian(5, 0.0), np.eye(5))


@pytest.mark.parametrize("n", [4, 7, 56])
def test_sizes_and_places(n):
    half = (n + 1) // 2
    for matrix, shape in ((separable.halve(n), (half, n)), (separable.enlarge(half, n), (n, half))):
        assert matrix.shape == shape and matrix.dtype == np.float32
        np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-6)
    old, new = (np.arange(half) + 0.5) / half, (np.arange(n) + 0.5) / n  # middles of pixels, in pictures
    np.testing.assert_allclose(separable.enlarge(half, n) @ old, np.clip(new, old[0], old[-1]), atol=1e-6)
    inner = slice(2, -2)
    np.testing.assert_allclose((separable.halve(n) @ new)[inner], old[inner], atol=3e-3)
