"""Spans and their form per step: there and back without a shift, in any order, over any number of windows."""

import numpy as np
import pytest

from experiments.evaluators import windows_to_clips
from mmdf_jax import segments, spans

STEP = 0.04


def perfect(given, steps, step=STEP):
    """The curves of a localiser that knows all."""
    inside, distances = spans.encode(np.array([given], np.float32).reshape(1, -1, 2), spans.middles(steps, step))
    scores = np.where(np.array(inside[0]), 0.95, 0.01)
    return scores, *np.array(distances[0]).T.astype(float)


def best_ious(found, given):
    return segments.interval_iou(np.array(given), found).max(1)


@pytest.mark.parametrize("step", [0.04, 0.08, 0.16])
def test_a_perfect_output_is_decoded_to_its_spans(step):
    rng = np.random.default_rng(0)
    for _ in range(20):
        lengths = rng.uniform(0.3, 1.5, 3)
        starts = np.cumsum([0.2, *(lengths[:2] + 0.3)]) + rng.uniform(0, 0.1)
        given = np.column_stack([starts, starts + lengths])
        found = spans.Decoder(smooth=1)([perfect(given, round(6.4 / step), step)], step)
        assert len(found) == 3 and (best_ious(found, given) >= 0.99).all()


def test_no_span_gives_no_segment():
    assert spans.Decoder()([perfect([(-1, -1)], 40)], STEP).shape == (0, 3)
    assert spans.Decoder()([(np.full(40, np.nan), np.zeros(40), np.zeros(40))], STEP).shape == (0, 3)


def test_spans_may_come_in_any_order_overlap_and_lie_outside():
    times = spans.middles(50, STEP)
    given = np.array([[[1.2, 1.6], [0.4, 1.0], [0.2, 1.8], [-1, -1], [-0.5, 0.1], [5.0, 6.0], [1.9, 1.9]]])
    inside, distances = spans.encode(given, times)
    shuffled = spans.encode(given[:, ::-1], times)
    np.testing.assert_array_equal(inside, shuffled[0])
    np.testing.assert_allclose(distances, shuffled[1], atol=1e-6)
    inside, distances = np.array(inside[0]), np.array(distances[0])
    np.testing.assert_array_equal(inside, (times >= 0.2) & (times < 1.8))
    for i, (low, high) in {2: (0, 0), 6: (0.2, 1.8), 15: (0.4, 1.0), 27: (0.2, 1.8), 35: (1.2, 1.6)}.items():
        expected = (times[i] - low, high - times[i]) if high else (0, 0)
        np.testing.assert_allclose(distances[i], expected, atol=1e-5)


def test_a_segment_of_several_windows_is_found_whole():
    """Windows of 1.6 s, 0.8 s apart, each of which knows only what it sees, and of its edges that it does not."""
    given, steps, clip = [(0.5, 4.3), (4.9, 5.4), (7.0, 8.0)], 40, 200  # the last goes on to the clip's end
    starts = np.arange(0, clip - steps + 1, 20)
    curves = []
    for start in starts * STEP:
        seen = [(max(a - start, 0), min(b - start, steps * STEP)) for a, b in given]
        score, begin, end = perfect([span if span[1] > span[0] else (-1, -1) for span in seen], steps)
        at = spans.middles(steps, STEP)
        begin[at - begin < STEP], end[at + end > (steps - 1) * STEP] = np.nan, np.nan
        curves.append((score, begin, end))
    index = np.zeros(len(starts), int)
    stitched = [
        windows_to_clips.reduce("stitched", np.array(one), index, 1, starts=starts * STEP, seconds=steps * STEP)[0]
        for one in zip(*curves, strict=True)
    ]
    found = spans.Decoder()([tuple(stitched)], STEP)
    assert len(stitched[0]) == clip
    assert len(found) == 3 and (best_ious(found, given) >= 0.99).all()


def test_a_segment_that_only_scores_know_ends_with_its_run():
    scores = np.full(50, 0.01)
    scores[10:30] = 0.9
    unknown = np.full(50, np.nan)
    np.testing.assert_allclose(spans.Decoder()([(scores, unknown, unknown)], STEP)[0, :2], (0.4, 1.2))


def test_levels_of_a_pyramid_are_decoded_together():
    fine = perfect([(0.4, 0.8)], 80)
    coarse = perfect([(1.6, 3.0)], 80)
    found = spans.Decoder()([fine, coarse], STEP)
    assert len(found) == 2 and (best_ious(found, [(0.4, 0.8), (1.6, 3.0)]) >= 0.99).all()


def test_a_long_clip_keeps_all_its_segments():
    given = [(4.0 * i + 1, 4.0 * i + 2.5) for i in range(150)]
    found = spans.Decoder(most=50)([perfect(given, 15_000)], STEP)
    assert len(found) == 150 and (best_ious(found, given) >= 0.99).all()
