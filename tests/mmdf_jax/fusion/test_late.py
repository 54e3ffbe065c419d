"""Late fusion: closed forms, what a vote cannot do, cross-fitting, and missing scores."""

import dataclasses
import math

import numpy as np
import pytest

from mmdf_jax.fusion import late
from mmdf_jax.metrics.classification import auc

NAN = math.nan


def table(people=6, takes=8, seed=0, compares=False):
    """Three detectors, each sure of its own stream; fakes are fake in exactly one stream, or (kind 4) in none."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(people), takes)
    kinds = np.tile(np.arange(takes) % (5 if compares else 4), people)  # 0 real, i: only stream i is fake
    own = np.stack([kinds == i for i in (1, 2, 3)], axis=1).astype(int)
    scores = 1 / (1 + np.exp(-(3 * (2 * own - 1) + rng.normal(size=own.shape))))
    labels = (kinds > 0).astype(int)
    names = ("image", "audio", "video")
    if compares:
        sync = (kinds == 4).astype(int)
        scores = np.column_stack([scores, 1 / (1 + np.exp(-(3 * (2 * sync - 1) + rng.normal(size=len(sync)))))])
        own, names = np.column_stack([own, np.where(labels, 2 * sync - 1, 0)]), (*names, "sync")
    return late.Data(names, scores, own, labels, groups, (False,) * 3 + (True,) * compares), kinds


def test_rules_in_closed_form():
    scores = np.array([[0.2, 0.5], [0.9, NAN], [NAN, NAN]])
    np.testing.assert_allclose(late.mean(scores), [0.35, 0.9, NAN])
    np.testing.assert_allclose(late.mean(scores, np.array([3.0, 1.0])), [0.275, 0.9, NAN])
    np.testing.assert_allclose(late.maximum(scores), [0.5, 0.9, NAN])
    np.testing.assert_allclose(late.noisy_or(scores), [1 - 0.8 * 0.5, 0.9, NAN])
    np.testing.assert_allclose(late.noisy_or(scores, np.array([0.5, 1.0])), [1 - 0.9 * 0.5, 0.45, NAN])
    # Odds of 1/4 and 1 have the geometric mean 1/2.
    np.testing.assert_allclose(late.log_pool(scores), [1 / 3, 0.9, NAN])
    np.testing.assert_allclose(late.log_pool(scores, np.array([2.0, 0.0])), [0.2, 0.9, NAN])
    np.testing.assert_allclose(late.stacked(scores, np.array([0.5, 0.5, 0.0])), late.log_pool(scores))
    # Odds (1/4)² 1³ e, and 9⁵ e: the score that is there stands for the one that is missing.
    odds = np.array([np.e / 16, np.e * 9.0**5, NAN])
    np.testing.assert_allclose(late.stacked(scores, np.array([2.0, 3.0, 1.0])), odds / (1 + odds))
    np.testing.assert_allclose(late.logistic(scores, np.array([2.0, 3.0, 1.0, -1.0]))[1], 81 / 82)


def test_a_majority_cannot_find_what_is_fake_in_one_stream_and_an_or_can():
    (val, _), (test, kinds) = table(seed=0), table(seed=1)
    majority = late.fit("majority", val).apply(test.scores)
    assert majority[kinds > 0].mean() < 0.05
    assert auc(test.labels, majority) < 0.55
    any_of = late.fit("any_of", val).apply(test.scores)
    assert any_of[kinds > 0].mean() > 0.95 and any_of[kinds == 0].mean() < 0.2
    for name in ("noisy_or", "maximum", "logistic"):
        assert auc(test.labels, late.fit(name, val).apply(test.scores)) > 0.97, name


def test_votes_are_cast_at_each_detectors_own_threshold():
    scores = np.array([[0.1, 0.6], [0.2, 0.7], [0.3, 0.8], [0.4, 0.9]])
    own = np.array([[0, 0], [0, 0], [1, 1], [1, 1]])
    data = late.Data(("a", "b"), scores, own, own[:, 0], np.arange(4), (False, False))
    fitted = late.fit("majority", data)
    assert fitted.weights == pytest.approx({"a": 0.25, "b": 0.75})
    # Two votes; one of two, which is no majority; one of one; none of none.
    ballots = np.array([[0.3, 0.8], [0.3, 0.7], [0.3, NAN], [NAN, NAN]])
    np.testing.assert_array_equal(fitted.apply(ballots), [1, 0, 1, NAN])
    np.testing.assert_array_equal(late.fit("any_of", data).apply(ballots), [1, 1, 1, NAN])


@pytest.mark.parametrize("name", ["weighted", "noisy_or", "logistic", "stacking"])
def test_a_fit_is_the_lowest_point_of_its_loss(name):
    data, _ = table(people=4)
    scores = np.where(np.random.default_rng(1).random(data.scores.shape) < 0.1, NAN, data.scores)
    data, penalty = dataclasses.replace(data, scores=scores), 0.01
    fitted = late.fit(name, data, penalty)
    weights, scalings = np.array(list(fitted.weights.values())), late.calibrations(data)
    calibrated = np.stack([scaling(np.nan_to_num(x)) for scaling, x in zip(scalings, scores.T, strict=True)], axis=1)
    calibrated[np.isnan(scores)] = NAN

    def loss(w):
        if name == "logistic":
            logits = np.nan_to_num(np.log(calibrated) - np.log1p(-calibrated))
            x = np.column_stack([logits, np.ones(len(logits)), np.isnan(scores).any(1)])
            fused, penalised = 1 / (1 + np.exp(-x @ w)), (w[[0, 1, 2, 4]] ** 2).sum()
        elif name == "stacking":
            fused, penalised = late.stacked(calibrated, w), ((w[:3] - 1 / 3) ** 2).sum()
        else:
            rule, prior = (late.mean, 1 / 3) if name == "weighted" else (late.noisy_or, 1)
            fused, penalised = rule(calibrated, w), ((w - prior) ** 2).sum()
        fused, labels = fused[~np.isnan(fused)], data.labels[~np.isnan(fused)]
        return -np.log(np.where(labels == 1, fused, 1 - fused)).mean() + penalty * penalised

    np.testing.assert_allclose(fitted.apply(scores)[:5], fitted.apply(scores[:5]))
    steps = np.random.default_rng(0).normal(size=(200, len(weights))) * 0.02
    for step in steps - steps.mean(1, keepdims=True) if name == "weighted" else steps:
        moved = np.clip(weights + step, 0, 1) if name in ("weighted", "noisy_or") else weights + step
        if name != "weighted" or (moved == weights + step).all():
            assert loss(moved) > loss(weights) - 1e-7
    if name == "weighted":
        assert weights.sum() == pytest.approx(1) and (weights > 0).all()


def test_a_large_penalty_gives_the_plain_rules():
    data, _ = table()
    plain = late.fit("soft", data).apply(data.scores)
    np.testing.assert_allclose(late.fit("weighted", data, 1e6).apply(data.scores), plain, atol=1e-5)
    assert list(late.fit("noisy_or", data, 1e6).weights.values()) == pytest.approx([1, 1, 1], abs=1e-5)
    *weights, offset = late.fit("stacking", data, 1e6).weights.values()
    assert weights == pytest.approx([1 / 3] * 3, abs=1e-5)
    pool = late.fit("log_pool", data).apply(data.scores)
    stacking = late.fit("stacking", data, 1e6).apply(data.scores)
    np.testing.assert_allclose(stacking / (1 - stacking), pool / (1 - pool) * np.exp(offset), rtol=1e-4)


def test_the_useless_detector_weighs_least():
    data, _ = table(people=10)
    noise = np.random.default_rng(0).random((len(data.labels), 1))
    data = dataclasses.replace(
        data,
        names=("good", "noise"),
        scores=np.column_stack([data.scores[:, :1], noise]),
        own=np.repeat(data.own[:, :1], 2, axis=1),
        labels=data.own[:, 0],
        compares=(False, False),
    )
    weights = late.fit("weighted", data).weights
    assert weights["good"] > 0.8 > weights["noise"]


@pytest.mark.parametrize("name", ["any_of", "soft", "noisy_or", "logistic", "log_pool", "stacking"])
def test_cross_fitting_never_sees_the_person_whom_it_scores(name):
    data, _ = table(people=4)
    fused = late.cross_fitted(name, data)
    mine = data.groups == 2
    # Whatever that person's labels are, the scores stay; those of the others do not.
    lied = dataclasses.replace(
        data, labels=np.where(mine, 1 - data.labels, data.labels), own=np.where(mine[:, None], 1 - data.own, data.own)
    )
    with_lies = late.cross_fitted(name, lied)
    np.testing.assert_array_equal(with_lies[mine], fused[mine])
    assert name == "any_of" or (with_lies[~mine] != fused[~mine]).any()
    # Nor do the person's other clips matter.
    kept = np.flatnonzero(~mine | (np.arange(len(mine)) == np.flatnonzero(mine)[0]))
    alone = late.cross_fitted(name, data.take(kept))
    np.testing.assert_allclose(alone[mine[kept]], fused[mine][:1], rtol=1e-12)


def test_detectors_that_compare_streams_enter_only_the_fusions_named_for_it():
    (val, _), (test, kinds) = table(people=10, takes=10, compares=True), table(takes=10, seed=1, compares=True)
    assert set(late.available(val)) - set(late.available(val.only([0, 1, 2]))) == {"noisy_or_sync", "logistic_sync"}
    disagree = kinds == 4
    kept = disagree | (kinds == 0)
    for name in ("noisy_or", "logistic"):
        without, with_sync = (late.fit(f"{name}{end}", val).apply(test.scores) for end in ("", "_sync"))
        assert auc(disagree[kept].astype(int), without[kept]) < 0.75
        assert auc(disagree[kept].astype(int), with_sync[kept]) > 0.95
    assert len(late.fit("logistic_sync", val).weights) <= late.MAX_PARAMETERS


def test_the_meta_classifier_keeps_to_its_parameters():
    data, _ = table()
    assert len(late.fit("logistic", data).weights) == 4
    gaps = dataclasses.replace(
        data, scores=np.where(np.arange(len(data.labels))[:, None] % 7, data.scores, [[NAN, 1, 1]])
    )
    assert list(late.fit("logistic", gaps).weights) == ["image", "audio", "video", "offset", "missing"]
    wide = data.only([0, 1, 2, 0, 1])
    assert "logistic" not in late.available(wide) and "weighted" in late.available(wide)


def many(detectors=14, people=5, takes=12, seed=0):
    """Detectors of one label: each weak, alike in its errors with the others in part, the last two blind."""
    rng = np.random.default_rng(seed)
    n = people * takes
    labels = np.tile(np.arange(takes) % 2, people)
    strength = np.where(np.arange(detectors) < detectors - 2, 0.5, 0.0)
    logits = strength * (2 * labels - 1)[:, None] + 0.5 * rng.normal(size=(n, 1)) + rng.normal(size=(n, detectors))
    names = tuple(f"m{i}" for i in range(detectors))
    own = np.repeat(labels[:, None], detectors, axis=1)
    people = np.repeat(np.arange(people), takes)
    return late.Data(names, 1 / (1 + np.exp(-logits)), own, labels, people, (False,) * detectors)


@pytest.mark.parametrize("name", late.ENSEMBLES)
def test_ensembles_take_more_detectors_than_clips_could_weigh(name):
    val, test = many(), many(people=20, seed=1)
    fitted = late.fit(name, val)
    best = max(auc(test.labels, column) for column in test.scores.T)
    # An or of detectors that all answer for the same label is wrong whenever one of them is.
    assert auc(test.labels, fitted.apply(test.scores)) > best + (0.05 if name != "noisy_or" else -0.05)
    # What a file keeps of it, calibrations and weights, gives the same scores.
    assert tuple(fitted.weights) == (late.weight_names(name, val.names) if name != "log_pool" else ())
    weights = np.array(list(fitted.weights.values())) if fitted.weights else np.ones(len(val.names))
    calibrated = late.apply_calibrations(late.calibrations(val), test.scores)
    np.testing.assert_allclose(late.combine(name, calibrated, weights), fitted.apply(test.scores), rtol=1e-12)


def test_a_detector_that_tells_nothing_says_the_share_of_fakes():
    data, _ = table()
    blind = dataclasses.replace(data, scores=1 - data.scores)
    for scaling, share in zip(late.calibrations(blind), data.own.mean(0), strict=True):
        np.testing.assert_allclose(scaling([0.1, 0.9]), share, atol=0.02)
    for name in late.available(blind):
        assert np.isfinite(late.fit(name, blind).apply(blind.scores)).all(), name


def test_one_class_or_an_unknown_name_is_refused():
    data, _ = table()
    with pytest.raises(ValueError, match="real and fake clips, found 12 of one class"):
        late.fit("soft", data.take(data.labels == 0))
    with pytest.raises(ValueError, match=r"'median' is not one of majority, any_of, .*, stacking"):
        late.fit("median", data)
    with pytest.raises(ValueError, match="'log_pool' needs a detector of a single stream, found none"):
        late.fit("log_pool", dataclasses.replace(data, compares=(True,) * 3))
