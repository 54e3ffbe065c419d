"""Comparisons tell the truth where it is known: simulated studies with several clips of each person.

A person's reals share what makes them easy or hard, and so do its fakes: in part for all detectors alike, in part for
each alone. The random numbers are fixed; the limits are what a method of the nominal level would keep to.
"""

import numpy as np
import pytest
from scipy.stats import kstest, norm, t

from mmdf_jax.metrics.classification import auc, confusion
from mmdf_jax.stats.bootstrap import interval, paired_difference, pairwise_differences
from mmdf_jax.stats.corrections import holm
from mmdf_jax.stats.delong import paired_test

PEOPLE, CLIPS = 30, 6
COMMON, OWN = 0.5, 0.7  # the standard deviation of each part of the noise, shared by the detectors and of each alone


def study(shifts, seed):
    """labels [n], scores [detectors n] and people [n]; a shift is what a fake adds to that detector's score."""
    rng = np.random.default_rng(seed)
    people, labels = np.repeat(np.arange(PEOPLE), CLIPS), np.tile(np.arange(CLIPS) % 2, PEOPLE)
    shared = (rng.normal(size=(2, PEOPLE))[labels, people] + rng.normal(size=len(labels))) * COMMON
    of_people = rng.normal(size=(len(shifts), 2, PEOPLE))[:, labels, people]
    own = (of_people + rng.normal(size=(len(shifts), len(labels)))) * OWN
    return labels, np.array(shifts)[:, None] * labels + shared + own, people


def true_auc(shift):
    """P(a fake scores above a real), of a person's own pair and of two people's alike."""
    return norm.cdf(shift / np.sqrt(4 * (COMMON**2 + OWN**2)))


def test_p_values_are_uniform_between_two_copies_of_one_detector():
    of_people, of_clips = [], []
    for seed in range(1000):
        labels, (a, b), people = study((1.5, 1.5), seed)
        of_people.append(paired_difference(auc, labels, a, b, people, samples=120, seed=seed).p)
        of_clips.append(paired_test(labels, a, b).p)
    assert kstest(of_people, "uniform").pvalue > 0.05
    assert 0.036 < np.mean(np.array(of_people) < 0.05) < 0.064  # two standard errors
    # Clips taken as independent are found out by the same measure.
    assert kstest(of_clips, "uniform").pvalue < 0.001


def test_intervals_cover_the_truth():
    shifts = (1.5, 1.0)
    truths = [true_auc(shift) for shift in shifts]
    of_auc, of_difference = [], []
    for seed in range(800):
        labels, (a, b), people = study(shifts, 10_000 + seed)
        one = interval(auc, labels, a, people, samples=120, seed=seed)
        two = paired_difference(auc, labels, a, b, people, samples=120, seed=seed)
        of_auc.append(one.low <= truths[0] <= one.high)
        of_difference.append(two.low <= truths[0] - truths[1] <= two.high)
    assert 0.93 <= np.mean(of_auc) <= 0.97
    assert 0.93 <= np.mean(of_difference) <= 0.97


def test_of_twenty_equal_detectors_no_two_differ_after_holm():
    single, corrected = [], []
    for seed in range(150):
        labels, scores, people = study([1.5] * 20, 20_000 + seed)
        found = pairwise_differences(auc, labels, scores, people, samples=300, seed=seed)
        p = [difference.p for _, _, difference in found]
        assert len(p) == 190
        single.append(min(p) < 0.05)
        corrected.append(holm(p).min() < 0.05)
    assert np.mean(corrected) <= 0.05
    assert np.mean(single) > 0.8  # without a correction there nearly always is one


def test_all_pairs_are_what_each_pair_gives():
    labels, scores, people = study((1.5, 1.0, 0.5), 0)
    found = pairwise_differences(auc, labels, scores, people, samples=50, seed=3)
    assert [pair[:2] for pair in found] == [(0, 1), (0, 2), (1, 2)]
    for a, b, difference in found:
        assert difference == paired_difference(auc, labels, scores[a], scores[b], people, samples=50, seed=3)
    assert pairwise_differences(auc, labels, scores[:1], people) == []


def test_chance_in_training_is_no_difference_either():
    # Trainings differ by chance: one draw of 0.3 shifts all fakes of a training. Three of each detector are compared.
    p, of_first = [], []
    for seed in range(200):
        luck = 1.5 + 0.3 * np.random.default_rng(seed).normal(size=6)
        labels, scores, people = study(luck, 30_000 + seed)
        found = paired_difference(auc, labels, scores[:3], scores[3:], people, samples=80, seed=seed)
        p.append(found.p)
        of_first.append(paired_difference(auc, labels, scores[0], scores[3], people, samples=80, seed=seed).p)
    assert np.mean(np.array(p) < 0.05) <= 0.05  # it errs on this side: 3 % in 1000 draws
    assert np.mean(np.array(of_first) < 0.05) > 0.15  # one training of each knows nothing of that chance


def test_trainings_add_their_spread_to_that_of_people():
    labels, scores, people = study((1.5, 1.5, 1.0, 1.0), 0)
    one = paired_difference(auc, labels, scores[0], scores[2], people, samples=200)
    assert paired_difference(auc, labels, scores[:1], scores[2:3], people, samples=200) == one
    assert one.freedom == PEOPLE - 1
    assert one.high - one.value == pytest.approx(t.isf(0.025, one.freedom) * one.error)
    two = paired_difference(auc, labels, scores[:2], scores[2:], people, samples=200)
    aucs = np.array([auc(labels, each) for each in scores]).reshape(2, 2)
    assert two.value == pytest.approx(aucs[0].mean() - aucs[1].mean())
    assert two.error**2 > (aucs.var(axis=1, ddof=1) / 2).sum() and two.freedom < PEOPLE - 1 + 2


def test_a_detector_without_a_value_spoils_no_other_pair():
    labels, scores, people = study((1.5, 1.0, 0.5), 0)
    labels, scores = labels.astype(int), scores - scores.max(1, keepdims=True)
    scores[1] += 1  # of this one alone something is called fake
    precision = lambda y, s: confusion(y, s, 0.5).precision  # noqa: E731
    found = pairwise_differences(precision, labels, [scores[1], scores[0], scores[1] + 2], people, samples=50)
    assert [np.isnan(difference.p) for _, _, difference in found] == [True, False, True]


def test_nothing_to_resample_is_no_error():
    assert np.isnan(paired_difference(auc, [], [], [], []).value)
    assert np.isnan(paired_difference(auc, [0, 1], [0, 1], [1, 0], ["a", "b"], samples=0).p)
    assert np.isnan(interval(auc, [0, 1] * 2, [0, 1, 1, 2], list("abcd"), samples=0).low)
