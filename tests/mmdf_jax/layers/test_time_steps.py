"""Common time steps: means where steps get fewer, interpolation where they get more."""

import numpy as np
import pytest

from mmdf_jax.layers.time_steps import to_steps, valid_steps


def test_fewer_steps_are_means_by_overlap():
    x = np.arange(6, dtype=np.float32).reshape(1, 6, 1)
    np.testing.assert_allclose(to_steps(x, 3)[0, :, 0], [0.5, 2.5, 4.5])
    # Three steps on two: the middle one is halved.
    np.testing.assert_allclose(to_steps(x[:, :3], 2)[0, :, 0], [(0 + 0.5 * 1) / 1.5, (0.5 * 1 + 2) / 1.5])


def test_more_steps_are_interpolated_between_the_middles():
    x = np.array([0.0, 1.0], np.float32).reshape(1, 2, 1)
    np.testing.assert_allclose(to_steps(x, 4)[0, :, 0], [0, 0.25, 0.75, 1])


@pytest.mark.parametrize("t, steps", [(8, 40), (40, 8), (79, 40), (7, 5), (5, 7), (1, 3)])
def test_a_constant_stays_and_a_ramp_stays_a_ramp(t, steps):
    assert np.allclose(to_steps(np.ones((2, t, 3), np.float32), steps), 1, atol=1e-6)
    middles = (np.arange(t, dtype=np.float32) + 0.5) / t
    made = np.asarray(to_steps(middles[None, :, None], steps))[0, :, 0]
    if steps > t or t % steps == 0:
        wanted = np.clip((np.arange(steps) + 0.5) / steps, middles[0], middles[-1])
        np.testing.assert_allclose(made, wanted, atol=1e-6)
    else:  # steps that cut others in two lean to their middles; the mean over the window is kept
        np.testing.assert_allclose(made.mean(), middles.mean(), atol=1e-6)
        assert (np.diff(made) > 0).all()


def test_a_step_is_valid_where_more_than_half_of_it_is():
    valid = np.array([[True, True, False, False, True, False]])
    np.testing.assert_array_equal(valid_steps(valid, 6), valid)
    np.testing.assert_array_equal(valid_steps(valid, 3), [[True, False, False]])
    np.testing.assert_array_equal(valid_steps(valid[:, :3], 6), [[True, True, True, True, False, False]])
