"""Segments in time: soft-NMS against its formula, and segments from frames."""

import math

import numpy as np
import pytest

from mmdf_jax import segments


def test_soft_nms_by_hand():
    found = segments.soft_nms([(0, 1, 0.5), (0, 2, 0.9), (5, 6, 0.4), (0, 2, 0.3)], sigma=0.5)
    expected = [
        (0, 2, 0.9),
        (5, 6, 0.4),  # alone
        (0, 1, 0.5 * math.exp(-(0.5**2) / 0.5)),
        (0, 2, 0.3 * math.exp(-1 / 0.5) * math.exp(-(0.5**2) / 0.5)),
    ]
    np.testing.assert_allclose(found, expected)


def test_soft_nms_keeps_what_does_not_overlap_and_sigma_0_removes_what_does():
    apart = [(i, i + 1, 0.1 * (i + 1)) for i in range(5)]
    np.testing.assert_allclose(segments.soft_nms(apart), apart[::-1])
    np.testing.assert_allclose(
        segments.soft_nms([(0, 2, 0.9), (1, 3, 0.8), (2, 4, 0.7)], sigma=0), [(0, 2, 0.9), (2, 4, 0.7)]
    )


def test_soft_nms_does_not_depend_on_the_order_and_its_scores_fall():
    rng = np.random.default_rng(0)
    spans = np.sort(rng.uniform(0, 5, (40, 2)), axis=1)
    given = np.column_stack([spans, rng.uniform(size=40).round(1)])
    found = segments.soft_nms(given, keep=20)
    assert len(found) == 20 and (np.diff(found[:, 2]) <= 0).all()
    for _ in range(3):
        np.testing.assert_array_equal(segments.soft_nms(rng.permutation(given), keep=20), found)


def test_soft_nms_drops_scores_below_the_least_and_takes_nothing():
    assert segments.soft_nms([]).shape == (0, 3)
    np.testing.assert_allclose(segments.soft_nms([(0, 1, 0.5), (3, 4, 0.0005)]), [(0, 1, 0.5)])
    with pytest.raises(ValueError, match="sigma must not be negative, found -1"):
        segments.soft_nms([], sigma=-1)
    with pytest.raises(ValueError, match=r"soft_nms: expected \(start, end, score\) with finite numbers"):
        segments.soft_nms([(1, 0, 0.5)])


def test_segments_from_frames():
    scores = [0.9, 0.7, 0.1, np.nan, 0.8, np.nan, 0.5, 0.6]
    np.testing.assert_allclose(
        segments.from_frames(scores, 0.5, fps=10), [(0, 0.2, 0.8), (0.4, 0.5, 0.8), (0.6, 0.8, 0.55)]
    )
    np.testing.assert_allclose(
        segments.from_frames(scores, 0.5, fps=10, shortest=0.2), [(0, 0.2, 0.8), (0.6, 0.8, 0.55)]
    )
    for nothing in ([], [0.1, 0.2], [np.nan]):
        assert segments.from_frames(nothing, 0.5).shape == (0, 3)


def test_frame_labels_invert_segments_from_frames():
    rng = np.random.default_rng(0)
    inside = rng.uniform(size=60) < 0.5
    spans = segments.from_frames(inside, 1.0)[:, :2]
    np.testing.assert_array_equal(segments.frame_labels(spans, 60), inside)
    assert not segments.frame_labels([], 4).any()
