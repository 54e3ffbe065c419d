"""Segments against published programs and the textbook (localisation_vectors.json says which), and invariants."""

import json
import math
import pathlib
import time

import numpy as np
import pytest

from mmdf_jax.metrics import classification, localisation
from mmdf_jax.metrics.localisation import average_precision, average_recall
from mmdf_jax.segments import interval_iou
from mmdf_jax.stats.bootstrap import interval_of_weights

VECTORS = json.loads(pathlib.Path(__file__).with_name("localisation_vectors.json").read_text())
CASES = {case["name"]: case for case in VECTORS["cases"]}
IOUS = ("0.5", "0.75", "0.9", "0.95")
COUNTS = ("100", "50", "30", "20", "10", "5")


def of_case(name):
    """(proposals, truths) in seconds, in the order of listing."""
    inputs = CASES[name]["inputs"]
    proposals = [
        [(start / inputs["fps"], end / inputs["fps"], score) for score, start, end in video["proposals"]]
        for video in inputs["videos"]
    ]
    return proposals, [video["fake_segments"] for video in inputs["videos"]]


def number(value):
    return float(value)  # of "NaN" too


def test_all_seventeen_cases_are_here():
    assert len(CASES) == 17


@pytest.mark.parametrize("name", CASES)
def test_strict_ap_is_the_textbook_with_tied_scores_grouped(name):
    # Listed order decides between tied scores in `ap_ge`; grouped ones do not depend on it. The published code from
    # ActivityNet agrees wherever no scores tie.
    proposals, truths = of_case(name)
    expected = CASES[name]["expected"]
    for iou in IOUS:
        found = average_precision(proposals, truths, float(iou))
        grouped = expected["textbook"]["ap_ge_ties_grouped"][iou]
        np.testing.assert_allclose(found, number(grouped), atol=1e-11, err_msg=iou)
        if name not in ("score_ties", "no_fakes_at_all", "random_50_videos"):
            np.testing.assert_allclose(found, expected["textbook"]["ap_ge"][iou], atol=1e-11)
            np.testing.assert_allclose(found, expected["activitynet_code_ap"][iou], atol=1e-11)


@pytest.mark.parametrize("name", CASES)
def test_strict_ar_is_the_textbook(name):
    proposals, truths = of_case(name)
    found = average_recall(proposals, truths)
    expected = CASES[name]["expected"]["textbook"]["ar_ge"]
    for count in COUNTS:
        np.testing.assert_allclose(found[int(count)], number(expected[count]), atol=1e-11, err_msg=count)


@pytest.mark.parametrize("name", CASES)
def test_official_lavdf(name):
    proposals, truths = of_case(name)
    expected = CASES[name]["expected"]["lavdf"]
    if expected["ap"] == "IndexError":  # a clip without any proposal
        with pytest.raises(ValueError, match="needs a proposal of every clip, found none of clip 1: give it one"):
            average_precision(proposals, truths, official="lavdf")
    else:
        for iou in IOUS:
            found = average_precision(proposals, truths, float(iou), official="lavdf")
            np.testing.assert_allclose(found, number(expected["ap"][iou]), atol=1e-6, err_msg=iou)
    for count, value in expected["ar"].items():
        if value == "IndexError":  # fewer than `count` proposals of a clip with spans
            with pytest.raises(ValueError, match=rf"AR@{count} .* needs {count} proposals a clip, found"):
                average_recall(proposals, truths, [int(count)], official="lavdf")
        else:
            found = average_recall(proposals, truths, [int(count)], official="lavdf")
            np.testing.assert_allclose(found[int(count)], number(value), atol=1e-6, err_msg=count)


@pytest.mark.parametrize("name", CASES)
def test_official_avdeepfake1m(name):
    proposals, truths = of_case(name)
    expected = CASES[name]["expected"]["avdeepfake1m"]
    if isinstance(expected, str):
        # The wheels fail on a clip without proposals. Its source counts the clip's span in AP, and nothing of it in AR.
        assert expected.startswith("PanicException")
        assert average_precision(proposals, truths, official="avdeepfake1m") == pytest.approx(1 / 3, abs=1e-6)
        assert average_recall(proposals, truths, official="avdeepfake1m")[5] == 1
        return
    for iou in IOUS:
        found = average_precision(proposals, truths, float(iou), official="avdeepfake1m")
        np.testing.assert_allclose(found, number(expected["ap"][iou]), atol=1e-6, err_msg=iou)
    found = average_recall(proposals, truths, official="avdeepfake1m")
    for count in COUNTS:
        np.testing.assert_allclose(found[int(count)], number(expected["ar"][count]), atol=1e-6, err_msg=count)


def random_clips(seed, clips=12, ties=False):
    """Noisy detections of random spans, with false alarms."""
    rng = np.random.default_rng(seed)
    proposals, truths = [], []
    for _ in range(clips):
        starts = np.sort(rng.uniform(0, 10, rng.integers(0, 4)))
        spans = np.stack([starts, starts + rng.uniform(0.2, 2, len(starts))], axis=1)
        near = np.repeat(spans, 2, axis=0) + rng.normal(0, 0.15, (2 * len(spans), 2))
        far = np.sort(rng.uniform(0, 12, (rng.integers(0, 4), 2)), axis=1)
        found = np.concatenate([np.sort(near, axis=1), far])
        scores = rng.uniform(0, 1, len(found))
        proposals.append(np.column_stack([found, np.round(scores, 1) if ties else scores]))
        truths.append(spans)
    return proposals, truths


@pytest.mark.parametrize("spans", [1, 2, 100])
def test_a_perfect_detector_has_ap_1_and_officially_less(spans):
    truths = [[(i, i + 0.5)] for i in range(spans)] + [[]]
    proposals = [[(i, i + 0.5, 0.9 - i / 200)] for i in range(spans)] + [[(50, 51, 0.1)]]
    for iou in localisation.IOUS:
        assert average_precision(proposals, truths, iou) == 1
    assert set(average_recall(proposals, truths).values()) == {1.0}
    for official in ("lavdf", "avdeepfake1m"):
        found = average_precision(proposals, truths, official=official)
        assert found == pytest.approx((spans - 1) / spans, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_withholding_proposals_never_helps(seed):
    rng = np.random.default_rng(seed)
    proposals, truths = random_clips(seed)
    counts = (100, 10)  # more than any clip has
    whole, recall = localisation.match(proposals, truths, 0.5), average_recall(proposals, truths, counts)
    ap = localisation.average_precision_of(whole)
    for share in (0.0, 0.3, 0.7):
        fewer = [found[rng.uniform(size=len(found)) < share] for found in proposals]
        assert localisation.match(fewer, truths, 0.5).hit.sum() <= whole.hit.sum()
        assert all(average_recall(fewer, truths, counts)[count] <= recall[count] for count in counts)
        # What a threshold on the score withholds only cuts the curve's end off.
        assert average_precision([found[found[:, 2] >= share] for found in proposals], truths) <= ap + 1e-12
    # A clip whose proposals are all withheld counts as missed, which the official recall forgets.
    found = localisation.find(proposals, truths)
    clip = found.clip[np.argmax(found.best[:, 0])]
    without = [*proposals[:clip], [], *proposals[clip + 1 :]]
    assert average_recall(without, truths)[100] < recall[100]
    perfect = [[(*span, 0.5) for span in true] for true in truths]
    missing = [*perfect[:clip], [], *perfect[clip + 1 :]]
    assert average_recall(missing, truths)[100] < 1 == average_recall(missing, truths, official="avdeepfake1m")[100]
    total = sum(map(len, truths))
    assert average_precision(missing, truths) == pytest.approx(1 - len(truths[clip]) / total)


@pytest.mark.parametrize("seed", range(4))
def test_no_order_matters_where_scores_tie(seed):
    rng = np.random.default_rng(seed)
    proposals, truths = random_clips(seed, ties=True)
    expected = [average_precision(proposals, truths, iou) for iou in (0.5, 0.75)]
    recall = average_recall(proposals, truths, (1, 2, 5))
    for _ in range(5):
        clips = rng.permutation(len(truths))
        shuffled = [rng.permutation(proposals[i]) for i in clips], [rng.permutation(truths[i]) for i in clips]
        np.testing.assert_allclose([average_precision(*shuffled, iou) for iou in (0.5, 0.75)], expected, rtol=1e-12)
        np.testing.assert_allclose(list(average_recall(*shuffled, (1, 2, 5)).values()), list(recall.values()))


def test_tied_scores_by_hand():
    # One of two spans at precision 1, then a hit and two false alarms together at precision 2 / 4.
    found = [[(0, 1, 0.9)], [(5, 6, 0.5), (0, 1, 0.5), (7, 8, 0.5)]]
    assert average_precision(found, [[(0, 1)], [(0, 1)]]) == 0.5 * 1 + 0.5 * 0.5
    # The first fits both spans, better the one that is all that the second fits: the first in time goes first.
    truths, tied = [[(0, 10), (0, 8)]], [(0, 9.9, 0.5), (0, 10, 0.5)]
    assert average_precision([tied], truths, 0.805) == average_precision([tied[::-1]], truths, 0.805) == 0.25


def test_spans_without_length_find_nothing_and_are_nothing_to_find():
    truths = [[(1.0, 2.0)]]
    assert average_precision([[(1.5, 1.5, 0.9), (1.0, 2.0, 0.8)]], truths) == 0.5
    with pytest.raises(ValueError, match=r"true spans of clip 0: \(3.0, 3.0\) has no length, nothing finds it"):
        average_precision([[(3.0, 3.0, 0.9)]], [[(3.0, 3.0)]])


@pytest.mark.parametrize(
    "proposals, truths, ap, ar",
    [
        ([], [], math.nan, math.nan),
        ([[], []], [[], []], math.nan, math.nan),
        ([[(0, 1, 0.5)]], [[]], math.nan, math.nan),
        ([[]], [[(0, 1)]], 0.0, 0.0),
    ],
)
def test_nothing_to_find_is_nan_and_nothing_found_is_0(proposals, truths, ap, ar):
    np.testing.assert_equal(average_precision(proposals, truths), ap)
    np.testing.assert_equal(average_recall(proposals, truths, [5]), {5: ar})


def test_touching_spans_and_negative_times_are_spans_like_others():
    truths = [[(2.0, 3.0), (-1.0, 0.5), (3.0, 4.0)]]
    assert average_precision([[(3.0, 4.0, 0.2), (-1.0, 0.5, 0.9), (2.0, 3.0, 0.5)]], truths, 0.95) == 1


@pytest.mark.parametrize(
    "proposals, truths, message",
    [
        ([[]], [], "proposals and truths of the same clips, found 1 and 0"),
        ([[(0, 1)]], [[]], r"proposals of clip 0: expected a list of \(start, end, score\), found \[\(0, 1\)\]"),
        ([[], [(2, 1, 0.5)]], [[], []], r"proposals of clip 1: .* start <= end, found \(2.0, 1.0, 0.5\)"),
        ([[(0, 1, math.nan)]], [[]], "proposals of clip 0: .* finite numbers"),
        ([[]], [[(0, math.inf)]], r"true spans of clip 0: expected \(start, end\) with finite numbers"),
        ([[]], [["a"]], "true spans of clip 0: expected a list of"),
    ],
)
def test_what_is_no_segment_is_refused(proposals, truths, message):
    with pytest.raises(ValueError, match=message):
        average_precision(proposals, truths)


def test_an_unknown_program_is_refused():
    with pytest.raises(ValueError, match="official must be 'lavdf' or 'avdeepfake1m', found 'activitynet'"):
        average_precision([[]], [[]], official="activitynet")


def test_weights_are_clips_that_come_as_often():
    rng = np.random.default_rng(0)
    proposals, truths = random_clips(3, ties=True)
    matches, found = localisation.match(proposals, truths, 0.5), localisation.find(proposals, truths)
    curves = [rng.uniform(size=100).round(1) for _ in truths]
    steps = localisation.steps(curves, truths)
    for _ in range(5):
        weights = rng.integers(0, 4, len(truths))
        many = [[clips[i] for i in np.repeat(np.arange(len(truths)), weights)] for clips in (proposals, truths, curves)]
        np.testing.assert_allclose(
            localisation.average_precision_of(matches, weights), average_precision(many[0], many[1]), rtol=1e-12
        )
        weighted = localisation.average_recall_of(found, weights=weights)
        np.testing.assert_allclose(list(weighted.values()), list(average_recall(many[0], many[1]).values()))
        repeated = localisation.pooled_frame_auc(localisation.steps(many[2], many[1]))
        np.testing.assert_allclose(localisation.pooled_frame_auc(steps, weights), repeated, rtol=1e-12)
    np.testing.assert_equal(localisation.average_precision_of(matches, np.zeros(len(truths))), np.nan)


def test_two_thousand_resamples_of_people_are_quick():
    proposals, truths = random_clips(0, clips=384)
    matches = localisation.match(proposals, truths, 0.5)
    start = time.process_time()
    found = interval_of_weights(
        lambda weights: localisation.average_precision_of(matches, weights),
        [f"person {i % 24}" for i in range(384)],
        rarer=matches.truths > 0,
    )
    assert time.process_time() - start < 10
    assert found.low < found.value < found.high and found.groups == 24 and found.failed == 0


def test_frame_auc_by_hand():
    truths = [[(0.0, 0.08)], [(0.04, 0.12)], []]
    scores = [[0.9, 0.8, 0.1, np.nan], [0.2, 0.3, 0.2], [0.5, 0.5]]
    steps = localisation.steps(scores, truths)
    # clip 0: fakes .9 .8, real .1; clip 1: fakes .3 .2, real .2; clip 2 has no fake
    np.testing.assert_allclose(localisation.clip_frame_aucs(steps), [1, 0.75, np.nan])
    assert localisation.mean_frame_auc(steps) == 0.875
    assert localisation.mean_frame_auc(steps, [1, 3, 5]) == (1 + 3 * 0.75) / 4
    labels, flat = [1, 1, 0, 0, 1, 1, 0, 0], [0.9, 0.8, 0.1, 0.2, 0.3, 0.2, 0.5, 0.5]
    assert localisation.pooled_frame_auc(steps) == pytest.approx(classification.auc(labels, flat))


def test_frame_auc_of_nothing_is_nan():
    for scores, truths in (([], []), ([[0.1, 0.2]], [[]]), ([[]], [[(0, 1)]]), ([[np.nan]], [[(0, 1)]])):
        steps = localisation.steps(scores, truths)
        assert math.isnan(localisation.pooled_frame_auc(steps, np.ones(len(truths))))
        assert math.isnan(localisation.pooled_frame_auc(steps)) and math.isnan(localisation.mean_frame_auc(steps))


def test_scores_of_other_clips_are_refused():
    with pytest.raises(ValueError, match="scores and truths of the same clips, found 1 and 2"):
        localisation.steps([[0.5]], [[], []])


def test_overlap_by_hand():
    found = interval_iou([(0, 2), (5, 5)], [(1, 3), (0, 2), (5, 5), (7, 9)])
    np.testing.assert_allclose(found, [[1 / 3, 1, 0, 0], [0, 0, 0, 0]])
    assert interval_iou([], [(0, 1)]).shape == (0, 1) and interval_iou([(0, 1)], []).shape == (1, 0)
