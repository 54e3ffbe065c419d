"""Similarities over shifts against a plain loop."""

import jax.numpy as jnp
import numpy as np
import pytest

from mmdf_jax.layers import shifts


def case(t=9, reach=4):
    rng = np.random.default_rng(0)
    x, y = (v / np.linalg.norm(v, axis=-1, keepdims=True) for v in rng.normal(size=(2, 2, t, 3)))
    valid = np.ones((2, t), bool)
    valid[1, 6:] = False
    valid[1, 2] = False
    return x, y, valid, reach


def test_band_equals_a_loop_and_leaves_out_what_cannot_be():
    x, y, valid, reach = case()
    values, possible = shifts.band(jnp.array(x), jnp.array(y), jnp.array(valid), reach)
    for b in range(2):
        for i in range(x.shape[1]):
            for k in range(-reach, reach + 1):
                j = i + k
                there = 0 <= j < x.shape[1] and valid[b, i] and valid[b, j]
                assert possible[b, i, k + reach] == there
                expected = x[b, i] @ y[b, j] if there else 0
                assert values[b, i, k + reach] == pytest.approx(expected, abs=1e-6)


def test_sound_that_is_late_peaks_at_a_positive_shift():
    x, *_ = case(t=20)
    late = np.roll(x, 3, axis=1)  # what belongs to picture t comes at t + 3
    values, possible = shifts.band(jnp.array(x), jnp.array(late), jnp.ones((2, 20), bool), 5)
    curve = np.sum(values, 1) / np.sum(possible, 1)
    assert (curve.argmax(1) - 5 == 3).all()


def test_runs_are_means_over_what_is_possible():
    x, y, valid, reach = case()
    values, possible = map(np.array, shifts.band(jnp.array(x), jnp.array(y), jnp.array(valid), reach))
    curves, usable = shifts.averaged(jnp.array(values), jnp.array(possible), 3)
    for start in range(7):
        here = values[0, start : start + 3].sum(0) / np.maximum(possible[0, start : start + 3].sum(0), 1)
        np.testing.assert_allclose(curves[0, start], here, atol=1e-6)
        assert usable[0, start] == (possible[0, start : start + 3].sum(0) >= 1).all()
    assert usable[0].any() and not usable[0].all() and not usable[1].any()


def test_a_run_longer_than_the_window_is_refused():
    with pytest.raises(ValueError, match="a run of at most 9 steps, found 10"):
        shifts.averaged(jnp.zeros((1, 9, 3)), jnp.ones((1, 9, 3), bool), 10)
