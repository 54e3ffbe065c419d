"""Differences of frames: by hand, without the exposure, and with gaps."""

import numpy as np

from mmdf_jax.layers.frame_changes import differences, luminance, relative


def test_differences_by_hand():
    x = np.array([1.0, 4.0, 9.0, 16.0, 30.0], np.float32).reshape(1, 5, 1)
    first, second = np.moveaxis(np.asarray(differences(x))[0, :, 0], -1, 0)
    np.testing.assert_array_equal(first, [0, 3, 5, 7, 14])
    np.testing.assert_array_equal(second, [0, 2, 2, 7, 0])
    valid = np.array([[True, True, False, True, True]])
    first, second = np.moveaxis(np.asarray(differences(x, valid))[0, :, 0], -1, 0)
    np.testing.assert_array_equal(first, [0, 3, 0, 0, 14])
    np.testing.assert_array_equal(second, [0, 0, 0, 0, 0])


def test_a_gain_of_each_frame_changes_nothing():
    rng = np.random.default_rng(0)
    film = rng.random((2, 6, 8, 8, 3), np.float32)
    gains = rng.uniform(0.5, 2, (2, 6, 1, 1, 1)).astype(np.float32)
    before, after = (np.asarray(differences(relative(luminance(x)))) for x in (film, film * gains))
    np.testing.assert_allclose(after, before, atol=1e-5)
    assert np.abs(before).max() > 0.1


def test_luminance_of_bytes_and_of_floats_and_of_a_still():
    film = np.random.default_rng(0).integers(0, 256, (1, 3, 4, 4, 3), np.uint8)
    grey = np.asarray(luminance(film))
    np.testing.assert_allclose(grey, film @ np.array([0.299, 0.587, 0.114]) / 255, rtol=1e-5)
    np.testing.assert_allclose(luminance(film / np.float32(255)), grey, rtol=1e-5)
    assert not np.any(differences(relative(luminance(np.repeat(film[:, :1], 3, 1)))))
    assert np.isfinite(relative(np.zeros((1, 2, 4, 4), np.float32))).all()
