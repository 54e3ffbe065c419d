"""Measures of a shared space, in closed form."""

import math

import numpy as np
import pytest

from mmdf_jax.metrics import alignment


def on_circle(*degrees):
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_alignment_is_the_mean_squared_distance():
    assert alignment.alignment(on_circle(0, 90), on_circle(0, 270)) == pytest.approx((0 + 4) / 2)
    assert math.isnan(alignment.alignment(np.zeros((0, 2)), np.zeros((0, 2))))


def test_uniformity_is_wang_and_isolas():
    x = on_circle(0, 90, 180)
    squared = [2, 4, 2]
    assert alignment.uniformity(x) == pytest.approx(math.log(np.mean(np.exp(-2 * np.array(squared)))))
    assert alignment.uniformity(on_circle(5, 5)) == pytest.approx(0)
    assert math.isnan(alignment.uniformity(on_circle(0)))


def test_retrieval_within_a_group_and_among_others():
    x, y = on_circle(0, 30, 100, 200), on_circle(35, 30, 100, 200)
    groups = ["a", "a", "b", "c"]
    # The first is nearer to the second (30 degrees) than to its own (35); b and c have no company.
    assert alignment.retrieval(x, y, groups, same=True) == (0.5, 0.5)
    found, chance = alignment.retrieval(x, y, groups, same=False)
    assert found == 1 and chance == pytest.approx((1 / 3 + 1 / 3 + 1 / 4 + 1 / 4) / 4)
    assert math.isnan(alignment.retrieval(x, y, list("abcd"), same=True)[0])


def test_identity_leakage():
    groups = ["a", "a", "b", "b"]
    assert alignment.identity_leakage(on_circle(0, 10, 90, 100), on_circle(0, 10, 90, 100), groups) == 1
    assert alignment.identity_leakage(on_circle(0, 10, 90, 100), on_circle(90, 100, 0, 10), groups) == 0
    assert alignment.identity_leakage(on_circle(0, 0, 0, 0), on_circle(0, 0, 0, 0), groups) == 0.5
    assert math.isnan(alignment.identity_leakage(on_circle(0, 1), on_circle(0, 1), ["a", "b"]))
