"""Selection finds what helps, refuses what does not, and nested cross-validation shows what a choice overfits."""

import dataclasses
import itertools

import numpy as np
import pytest

from mmdf_jax.fusion import late, selection
from mmdf_jax.metrics import calibrators
from mmdf_jax.metrics.calibration import log_loss
from mmdf_jax.metrics.classification import auc

# Seven of the detectors say nothing; the third and the fifth say much, each by errors of its own.
SIGNAL = (0, 0, 0.8, 0, 0.7, 0, 0)
ENTROPY = np.log(2)


def table(signal, people=8, takes=12, seed=0):
    """Detectors of independent errors; signal: how far the logits of fakes and reals lie apart in each, halved."""
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(takes) % 2, people)
    logits = rng.normal(size=(len(labels), len(signal))) + np.array(signal) * (2 * labels - 1)[:, None]
    own = np.repeat(labels[:, None], len(signal), axis=1)
    names = tuple(f"m{i}" for i in range(len(signal)))
    groups = np.repeat(np.arange(people), takes)
    return late.Data(names, 1 / (1 + np.exp(-logits)), own, labels, groups, (False,) * len(signal))


def loss(data, ensemble, columns):
    """What selection minimises, computed by the public functions alone."""
    fused = late.cross_fitted(ensemble, data.only(columns), selection.PENALTY)
    return log_loss(data.labels, calibrators.fit("platt", data.labels, fused)(fused))


@pytest.mark.parametrize("ensemble", late.ENSEMBLES)
def test_useful_detectors_are_found_and_useless_ones_left(ensemble):
    data = table(SIGNAL)
    assert selection.best_single(data, ensemble) == (2,)
    assert set(selection.greedy(data, ensemble)[:2]) == {2, 4}
    assert selection.greedy(data, ensemble, most=1) == (2,)


def test_detectors_of_chance_level_have_next_to_no_weight(monkeypatch):
    """Their noise lowers the loss a little in most samples, and a mean may count it as often as it likes."""
    samples = [table((1.5, 1.2, 1, 0, 0, 0), takes=16, seed=seed) for seed in range(8)]

    def share_of_noise():
        found = [selection.greedy(data, ensemble) for data in samples for ensemble in ("log_pool", "weighted")]
        return np.mean([np.mean(np.array(chosen) > 2) for chosen in found])

    assert share_of_noise() < 0.05
    monkeypatch.setattr(selection, "BEYOND_CHANCE", -99)
    assert share_of_noise() > 0.2


@pytest.mark.parametrize("ensemble", ["log_pool", "stacking"])
def test_the_best_set_is_the_best_of_all(ensemble):
    data = table((0.6, 0, 0.8, 0.7))
    sets = [each for k in range(1, 5) for each in itertools.combinations(range(4), k)]
    losses = {each: loss(data, ensemble, each) for each in sets}
    best = min(losses, key=losses.get)
    found = selection.under_budget(data, ensemble, [1, 1, 1, 1], 4)
    assert found == best
    # Here nothing misleads a greedy search.
    assert set(selection.greedy(data, "stacking")) == set(selection.under_budget(data, "stacking", [0] * 4, 0))


def test_a_budget_can_be_better_spent_than_on_the_best():
    data = table((0.6, 0.7, 0.6, 0))
    assert selection.best_single(data) == (1,)
    costs = [2.0, 4.0, 2.0, 0.0]
    found = selection.under_budget(data, "log_pool", costs, 4)
    assert {0, 2} <= set(found) and 1 not in found
    assert 1 in selection.under_budget(data, "log_pool", costs, 8)
    assert set(selection.under_budget(data, "log_pool", costs, 1)) == {3}


@pytest.mark.parametrize("subsets", [4096, 1])
def test_costs_that_meet_the_budget_exactly_fit(monkeypatch, subsets):
    monkeypatch.setattr(selection, "SUBSETS", subsets)
    data = table((0.8, 0.8, 0.8))
    assert 0.1 + 0.2 > 0.3  # in floats
    assert set(selection.under_budget(data, "log_pool", [0.1, 0.2, 0.4], 0.3)) == {0, 1}


def test_many_sets_are_searched_greedily_within_the_budget(monkeypatch):
    data, costs = table(SIGNAL), np.array([1, 1, 2, 1, 2, 1, 1])
    monkeypatch.setattr(selection, "SUBSETS", 3)
    found = selection.under_budget(data, "log_pool", costs, 4)
    assert found[0] == 2 and costs[list(found)].sum() <= 4 and len(set(found)) == len(found)


def test_means_may_count_a_detector_twice():
    # The second makes some of the errors of the first, so that the best weights are about 3 to 1.
    data = table((1, 0), people=10, takes=200)
    logits = np.log(data.scores / (1 - data.scores)) @ [[1, 0.4], [0, 0.84**0.5]]
    logits[:, 1] += 0.25 * (2 * data.labels - 1)
    data = dataclasses.replace(data, scores=1 / (1 + np.exp(-logits)))
    chosen = selection.greedy(data, "log_pool")
    assert chosen[:3] == (0, 1, 0)
    assert loss(data, "log_pool", chosen) < loss(data, "log_pool", (0, 1))
    assert selection.greedy(data, "stacking") == (0, 1)


def test_on_noise_the_choice_gains_and_nested_validation_takes_it_back():
    found = []
    for seed in range(8):
        data = table((0,) * 20, people=5, seed=seed)
        choice = selection.nested(selection.best_single, data, "log_pool")
        both = choice.naive, choice.nested
        found.append([[ENTROPY - log_loss(data.labels, scores), auc(data.labels, scores)] for scores in both])
    (naive_gain, naive_auc), (nested_gain, nested_auc) = np.mean(found, axis=0)
    assert naive_gain > 0.005 and naive_auc > 0.55
    assert -0.04 < nested_gain < 0 and 0.4 < nested_auc < 0.52


def test_a_useful_detector_is_chosen_without_anyone_and_its_gain_is_real():
    data = table(SIGNAL)
    choice = selection.nested(lambda data, ensemble: selection.best_single(data), data, "log_pool")
    assert choice.chosen == (2,) and set(choice.without) == {(2,)}
    np.testing.assert_array_equal(choice.naive, choice.nested)
    assert ENTROPY - log_loss(data.labels, choice.nested) > 0.15


@pytest.mark.parametrize("ensemble", ["log_pool", "stacking"])
def test_nested_scores_never_depend_on_the_person_whom_they_score(ensemble):
    data = table((0.3, 0.3, 0.3), people=4)
    mine = data.groups == 1
    lied = dataclasses.replace(
        data, labels=np.where(mine, 1 - data.labels, data.labels), own=np.where(mine[:, None], 1 - data.own, data.own)
    )
    honest, lying = (selection.nested(selection.greedy, each, ensemble) for each in (data, lied))
    np.testing.assert_array_equal(honest.nested[mine], lying.nested[mine])
    assert (honest.nested[~mine] != lying.nested[~mine]).any()


@pytest.mark.parametrize("ensemble", ["log_pool", "weighted"])
def test_a_detector_that_scored_little_does_not_win_by_its_silence(ensemble):
    data = table((0.8, 1.0), people=6)
    scores = data.scores.copy()
    scores[data.groups != 0, 1] = np.nan
    data = dataclasses.replace(data, scores=scores)
    assert selection.best_single(data, ensemble) == (0,)


def test_a_clip_that_no_chosen_detector_has_scored_has_no_score():
    data = table((0.8, 1.0), people=6)
    scores = data.scores.copy()
    scores[::5, 1] = np.nan
    data = dataclasses.replace(data, scores=scores)
    choice = selection.nested(lambda data, ensemble: (1,), data, "log_pool")
    for values in (choice.naive, choice.nested, choice.nested_fused, choice.fitted.probability(scores)):
        np.testing.assert_array_equal(np.isnan(values), np.isnan(scores[:, 1]))
    # In comparisons it counts with the share of fakes.
    known = ~np.isnan(choice.nested)
    whole = log_loss(data.labels[known], choice.nested[known]) * known.mean() + ENTROPY * (~known).mean()
    assert selection.loss_of_all(data.labels, choice.nested) == pytest.approx(whole)


def test_any_detector_may_enter_whatever_it_compares():
    data = dataclasses.replace(table(SIGNAL), compares=(False, False, True, False, False, False, False))
    assert selection.best_single(data) == (2,)
    assert np.isfinite(selection.fit(data, "log_pool", (2, 4)).probability(data.scores)).all()


def one_fake(data):
    """Clips of which one person has the only fakes."""
    return (data.labels == 0) | (data.groups == 0)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda data: selection.greedy(data, "majority"), "ensemble 'majority' is not one of soft, log_pool"),
        (lambda data: selection.best_single(data.take(data.labels == 0)), "real and fake clips, found 12 of one class"),
        (lambda data: selection.greedy(data.take(data.groups == 0), "soft"), "two identities or more"),
        (lambda data: selection.nested(selection.greedy, data.take(data.groups < 2), "soft"), "real clips of 2"),
        (lambda data: selection.nested(selection.greedy, data.take(one_fake(data)), "soft"), "fake clips of 1"),
        (lambda data: selection.under_budget(data, "soft", [1], 1), r"each of 2 detectors, found \[1.0\]"),
        (lambda data: selection.under_budget(data, "soft", [1, float("nan")], 1), "one number of 0 or more"),
        (lambda data: selection.under_budget(data, "soft", [3, 2], 1), "budget of 1: the cheapest, m1, costs 2"),
    ],
)
def test_hostile_input_is_refused_in_one_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call(table((1, 1), people=4, takes=6))
    assert "\n" not in str(error.value)
