"""The cluster bootstrap: what it resamples, that its intervals cover, and its limits."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.stats import norm

from mmdf_jax.metrics.classification import auc, confusion, roc_curve
from mmdf_jax.stats.bootstrap import interval, interval_of_weights, paired_difference, roc_band


def study(people, clips, seed, shift=2.0, spread=0.7):
    """Scores of `people` with `clips` each, half of them fake, that share a person's own offset and gain."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(people), clips)
    labels = np.tile(np.arange(clips) % 2, people)
    own, gain = rng.normal(size=(2, people)) * spread
    return labels, shift * labels + own[groups] + gain[groups] * labels + rng.normal(size=len(labels)), groups


@pytest.mark.parametrize("people, clips", [(8, 16), (30, 16)])
def test_intervals_over_people_cover_and_intervals_over_rows_do_not(people, clips):
    truth = norm.cdf(2.0 / math.sqrt(3 * 1.2**2 + 2))
    by_people = by_rows = 0
    for seed in range(80):
        labels, scores, groups = study(people, clips, seed, spread=1.2)
        over_people = interval(auc, labels, scores, groups, samples=120, seed=seed)
        over_rows = interval(auc, labels, scores, range(len(labels)), samples=120, seed=seed)
        by_people += over_people.low <= truth <= over_people.high
        by_rows += over_rows.low <= truth <= over_rows.high
    assert by_people >= 70  # nominal 95 %, that is 76; 70 is three standard errors below
    assert by_rows <= by_people - 10


def test_independent_rows_agree_with_delong():
    from mmdf_jax.stats.delong import auc_variance

    labels, scores, _ = study(400, 2, 0, spread=0.0)
    found = interval(auc, labels, scores, range(800))
    reference = auc_variance(labels, scores)
    width = 2 * 1.96 * math.sqrt(reference.variance)
    assert found.value == auc(labels, scores)
    np.testing.assert_allclose(found.high - found.low, width, rtol=0.08)


def test_duplicating_every_clip_of_everybody_adds_no_evidence():
    labels, scores, groups = study(20, 6, 0)
    once = interval(auc, labels, scores, groups, samples=500)
    tenfold = interval(auc, np.tile(labels, 10), np.tile(scores, 10), np.tile(groups, 10), samples=500)
    np.testing.assert_allclose([tenfold.low, tenfold.high], [once.low, once.high])


def test_it_depends_on_the_seed_and_on_nothing_else():
    labels, scores, groups = study(15, 6, 0)
    first = interval(auc, labels, scores, groups, samples=300)
    order = np.random.default_rng(0).permutation(len(labels))
    names = [f"person {group}" for group in groups]
    assert interval(auc, labels, scores, groups, samples=300) == first
    assert interval(auc, labels[order], scores[order], groups[order], samples=300) == first
    named = interval(auc, labels, scores, names, samples=300)
    assert named == interval(auc, labels[order], scores[order], [names[i] for i in order], samples=300)
    assert interval(auc, labels, scores, groups, samples=300, seed=1) != first


def test_any_metric_and_level():
    labels, scores, groups = study(30, 6, 0)
    accuracy = lambda y, s: confusion(y, s, 1.0).accuracy  # noqa: E731
    wide = interval(accuracy, labels, scores, groups, samples=300, level=0.99)
    narrow = interval(accuracy, labels, scores, groups, samples=300, level=0.8)
    assert 0 <= wide.low < narrow.low < narrow.value < narrow.high < wide.high <= 1
    assert narrow.groups == 30 and narrow.failed == 0


def test_perfect_scores_do_not_claim_certainty():
    labels, scores, groups = [0, 1] * 10, [0.1, 0.9] * 10, np.repeat(np.arange(10), 2)
    found = interval(auc, labels, scores, groups, samples=50)
    assert (found.value, found.high) == (1.0, 1.0)
    np.testing.assert_allclose(found.low, 0.025 ** (1 / 10))
    mirrored = interval(auc, labels, [-s for s in scores], groups, samples=50)
    assert (mirrored.value, mirrored.low) == (0.0, 0.0)
    np.testing.assert_allclose(mirrored.high, 1 - 0.025 ** (1 / 10))


def test_undefined_limits_are_nan_and_failures_are_counted():
    one_class = interval(auc, [0, 0], [0.1, 0.2], ["a", "b"])
    assert math.isnan(one_class.value) and math.isnan(one_class.low) and math.isnan(one_class.high)
    one_person = interval(auc, [0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4], ["a"] * 4)
    assert one_person.value == 0.75 and math.isnan(one_person.low)
    # Two people with fakes among six: some resamples have none.
    few = interval(auc, [1, 1, 0, 0, 0, 0], [0.9, 0.3, 0.5, 0.1, 0.2, 0.3], list("abcdef"), samples=400)
    assert 0 < few.failed < 200 and few.low < few.value < few.high
    assert math.isnan(interval(auc, [], [], []).value)


@pytest.mark.parametrize(
    "arguments, options, message",
    [
        (([0, 1], [0.1, 0.2], ["a"]), {}, "one group per score, found 1 for 2"),
        (([0, 1], [0.1, np.nan], ["a", "b"]), {}, "finite"),
        (([0, 1], [0.1, 0.2], ["a", "b"]), {"level": 95}, "level"),
    ],
)
def test_bad_input_is_refused(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        interval(auc, *arguments, **options)


def test_band_holds_the_curve_and_narrows_with_people():
    def width(people):
        labels, scores, groups = study(people, 6, 0)
        band = roc_band(labels, scores, groups, samples=200)
        fpr, tpr, _ = roc_curve(labels, scores)
        np.testing.assert_allclose(band.tpr, [tpr[fpr <= x].max() for x in band.fpr], atol=0.1)
        assert (band.low <= band.tpr).all() and (band.tpr <= band.high).all()
        assert (np.diff(band.low) >= 0).all() and (np.diff(band.high) >= 0).all()
        return float(np.mean(band.high - band.low))

    assert width(100) < 0.5 * width(10)


def test_band_without_a_class_or_a_second_person_is_nan():
    assert np.isnan(roc_band([1, 1], [0.1, 0.2], ["a", "b"]).tpr).all()
    alone = roc_band([0, 1], [0.1, 0.2], ["a", "a"])
    assert (alone.tpr == 1).all() and np.isnan(alone.low).all()


def paired_study(people, seed, edge=0.0):
    """Two detectors that share a person's offset and noise; the first is better by `edge` standard deviations."""
    labels, common, groups = study(people, 6, seed, shift=0.0)
    rng = np.random.default_rng(seed + 1000)
    a, b = (common + (1 + gain) * labels + rng.normal(size=len(labels)) for gain in (edge, 0.0))
    return labels, a, b, groups


def test_equally_good_detectors_differ_seldom_and_better_ones_are_found():
    apart = [paired_difference(auc, *paired_study(12, seed), samples=120, seed=seed).p < 0.05 for seed in range(150)]
    assert 1 <= sum(apart) <= 15  # nominal 7.5; the upper limit is three standard errors above
    better = paired_difference(auc, *paired_study(40, 0, edge=1.5), samples=400)
    assert 0 < better.low < better.value < better.high and better.p < 0.01


def test_independent_rows_agree_with_delong_of_pairs():
    from mmdf_jax.stats.delong import paired_test

    labels, a, b, _ = paired_study(100, 3, edge=0.4)
    found = paired_difference(auc, labels, a, b, range(len(labels)))
    reference = paired_test(labels, a, b)
    np.testing.assert_allclose(found.value, reference.difference)
    np.testing.assert_allclose(found.high - found.low, 2 * 1.96 * reference.standard_error, rtol=0.08)


def test_a_paired_difference_turns_its_sign_and_keeps_its_p():
    labels, a, b, groups = paired_study(15, 0, edge=0.5)
    found = paired_difference(auc, labels, a, b, groups, samples=200)
    turned = paired_difference(auc, labels, b, a, groups, samples=200)
    np.testing.assert_allclose([turned.value, turned.low, turned.high], [-found.value, -found.high, -found.low])
    assert turned.p == pytest.approx(found.p)
    assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_what_is_the_same_on_every_resample_is_no_certainty():
    labels, perfect, groups = [0, 1] * 10, np.tile([0.1, 0.9], 10), np.repeat(np.arange(10), 2)
    unlike = 1 - 0.025 ** (1 / 10)  # the share of people who may be, and are not among ten
    same = paired_difference(auc, labels, perfect, perfect**2, groups, samples=50)
    assert (same.value, same.p) == (0, 1) and np.isnan([same.error, same.freedom]).all()
    np.testing.assert_allclose([same.low, same.high], [-unlike, unlike])
    above = paired_difference(auc, labels, perfect, np.full(20, 0.5), groups, samples=50)
    np.testing.assert_allclose([above.value, above.low, above.p], [0.5, 0.5 * (1 - unlike) - unlike, 2 / 1.5**10])
    # p is 1 - level where the limits reach 0.
    level = 1 - above.p
    edge = paired_difference(auc, labels, perfect, np.full(20, 0.5), groups, samples=50, level=level)
    assert edge.low == pytest.approx(0)
    # Three trainings alike differ from three that differ among themselves: that spread can be measured.
    others = [perfect, np.full(20, 0.5), perfect]
    assert paired_difference(auc, labels, [perfect] * 3, others, groups, samples=50).error > 0
    alike = interval(auc, labels, np.full(20, 0.3), groups, samples=50)
    np.testing.assert_allclose([alike.value, alike.low, alike.high], [0.5, 0.5 - unlike / 2, 0.5 + unlike / 2])


def test_a_paired_difference_of_one_person_or_class_has_no_limits():
    assert math.isnan(paired_difference(auc, [0, 0], [0.1, 0.2], [0.2, 0.1], ["a", "b"]).value)
    alone = paired_difference(auc, [0, 1], [0.1, 0.2], [0.2, 0.1], ["a", "a"])
    assert alone.value == 1 and math.isnan(alone.low) and math.isnan(alone.p)
    with pytest.raises(ValueError, match="one length"):
        paired_difference(auc, [0, 1], [0.1, 0.2], [0.1], ["a", "b"])


def test_weights_give_the_interval_of_repeated_rows():
    labels, scores, groups = study(15, 6, 0)

    def weighted(weights):
        rows = np.repeat(np.arange(len(labels)), weights.astype(int))
        return auc(labels[rows], scores[rows])

    rows = interval(auc, labels, scores, groups, samples=200)
    weights = interval_of_weights(weighted, groups, rarer=labels == 1, samples=200)
    found, expected = ((x.value, x.low, x.high) for x in (weights, rows))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert (weights.groups, weights.failed) == (rows.groups, rows.failed)


def test_an_interval_of_weights_knows_its_limits():
    groups = ["a", "a", "b", "c"]
    one = interval_of_weights(lambda weights: 0.5, groups, rarer=[True, True, False, False], samples=5)
    assert one.value == 0.5 and math.isnan(one.low) and math.isnan(one.high)
    sure = interval_of_weights(lambda weights: 1.0, groups, samples=5)
    assert (sure.low, sure.high) == (pytest.approx(0.025 ** (1 / 3)), 1.0)
    assert math.isnan(interval_of_weights(lambda weights: math.nan, groups, samples=5).low)
    with pytest.raises(ValueError, match=r"values in \[0, 1\], found 3"):
        interval_of_weights(lambda weights: 3.0, groups, samples=5)
    with pytest.raises(ValueError, match=r"rarer must say yes or no of each clip, found \(1,\) for 4 clips"):
        interval_of_weights(lambda weights: 0.5, groups, rarer=[True])
    with pytest.raises(ValueError, match="level must lie between 0 and 1, found 95"):
        interval_of_weights(lambda weights: 0.5, groups, level=95)


def test_the_auc_of_all_resamples_at_once_is_that_of_each():
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=90)
    a, b = (np.round(labels + rng.normal(size=90), 1) for _ in range(2))  # with ties
    groups = rng.integers(7, size=90).tolist()
    slow = lambda labels, scores: auc(labels, scores)  # noqa: E731
    fast = interval(auc, labels, a, groups, samples=300)
    each = interval(slow, labels, a, groups, samples=300)
    np.testing.assert_allclose(dataclasses.astuple(fast), dataclasses.astuple(each), rtol=1e-10)
    fast, each = (paired_difference(metric, labels, a, b, groups, samples=300) for metric in (auc, slow))
    np.testing.assert_allclose(dataclasses.astuple(fast), dataclasses.astuple(each), rtol=1e-9)
    # Resamples without one of the classes are counted as failed.
    few = ([1, 1, 0, 0, 1, 0], [0.9, 0.8, 0.1, 0.7, 0.3, 0.2], list("aabbcd"))
    fast, each = (interval(metric, *few, samples=200) for metric in (auc, slow))
    assert fast.failed == each.failed > 0
