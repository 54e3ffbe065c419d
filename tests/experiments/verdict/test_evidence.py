"""Likelihood ratios of stretches, their interval, and the wording of the scale."""

import dataclasses
import math

import hand_made
import numpy as np
import pytest

from experiments import score_table
from experiments.verdict import evidence, verdict
from experiments.verdict.distance import Reference
from experiments.verdict.quality import MEASURES
from mmdf_jax.metrics import calibrators, likelihood


@pytest.fixture(scope="module")
def scale(tmp_path_factory):
    return hand_made.make(tmp_path_factory.mktemp("scale")).scale


def test_the_ratio_of_stretches_is_the_mean_of_their_ratios(scale):
    scores = np.array([[0.55], [0.4], [np.nan]])
    ratios = np.exp(scale.llr(scores))
    assert np.isnan(ratios[2])
    found = scale.of_stretches(scores)
    assert found.lr == pytest.approx(ratios[:2].mean())
    assert scale.of_stretches(scores[:1]).lr == pytest.approx(ratios[0])
    assert scale.of_stretches(scores[2:]) is None
    assert found.low < found.llr < found.high and "6 people" in found.interval_of


def test_no_ratio_is_beyond_what_the_calibration_supports(scale):
    found = scale.of_stretches(np.array([[0.9999]]))
    assert found.llr == 3.0 and found.capped and found.high <= 3.0
    assert not scale.of_stretches(np.array([[0.5]])).capped


def test_the_probability_for_the_thresholds_is_the_systems_own(scale):
    own = scale.system.probability(np.array([[0.7]]))
    assert scale.probability(np.array([[0.7]])) == pytest.approx(own[0])


def test_an_interval_that_cannot_be_had_is_named(tmp_path):
    missing = evidence.Scale(hand_made.system(), tmp_path).of_stretches(np.array([[0.5]]))
    assert math.isnan(missing.low) and "validation scores of the calibration are not beside" in missing.interval_of
    hand_made.make(tmp_path)
    other = evidence.Scale(hand_made.system(), tmp_path).of_stretches(np.array([[0.5]]))
    assert math.isnan(other.low) and "does not hold the scores that the system was calibrated on" in other.interval_of


def test_a_systems_interval_is_that_of_its_last_calibration(tmp_path):
    """It was fitted to held-out scores, the column `uncalibrated`, and not to what the fitted system makes of them."""
    hand_made.make(tmp_path)
    rows = score_table.read(tmp_path / "scores" / "val.csv")
    member = dataclasses.replace(hand_made.MEMBER, run="../a")
    labels, held_out = [row.label for row in rows], [row.extra["score_image"] for row in rows]
    calibration = calibrators.fit("platt", labels, held_out)
    score_table.write(
        tmp_path / "scores" / "val.csv",
        [dataclasses.replace(row, extra={"uncalibrated": score}) for row, score in zip(rows, held_out, strict=True)],
    )
    scale = evidence.Scale(hand_made.system(members=(member,), calibration=calibration), tmp_path)
    found = scale.of_stretches(np.array([[0.55]]))
    assert "6 people" in found.interval_of and found.low < found.llr < found.high
    assert found.llr == pytest.approx(float(likelihood.log_lr(calibration(0.55), 0.5)))


def test_streams_are_read_on_their_own_scale(tmp_path):
    (scorer,) = hand_made.make(tmp_path).scorers
    by_stream = {one.stream: one for one in scorer.model.streams}
    assert set(by_stream) == {"image", "audio"}
    assert by_stream["image"].evidence([0.7]).llr > 0 > by_stream["image"].evidence([0.3]).llr
    assert by_stream["audio"].evidence([math.nan]) is None


@pytest.mark.parametrize(
    ("lr", "words"),
    [
        (40.0, "40 times more probable if the file is manipulated than if it is genuine"),
        (0.025, "40 times more probable if the file is genuine than if it is manipulated"),
        (1.0, "as probable in a manipulated file as in a genuine one"),
    ],
)
def test_a_ratio_in_words(lr, words):
    assert words in verdict.sentence(lr, "heads") and "trained on heads" in verdict.sentence(lr, "heads")
    assert verdict.LR_SCALE[0]["words"] == likelihood.BANDS[0][2]


def test_the_distance_is_in_robust_scales_and_knows_gaps():
    rng = np.random.default_rng(0)
    columns = {name: np.full(40, np.nan) for name in MEASURES} | {"duration": np.full(40, 3.0)}
    columns["brightness"], columns["loudness"] = rng.normal(100, 10, 40), rng.normal(-20, 2, 40)
    columns["loudness"][:20] = np.nan  # clips without sound
    people = [f"p{i // 4}" for i in range(40)]
    reference = Reference(columns, people)
    assert reference.seconds == 3.0
    unknown = dict.fromkeys(MEASURES, math.nan)
    assert reference.distance(unknown) is None
    low, middle, high = np.quantile(columns["brightness"], [0.25, 0.5, 0.75])
    found = reference.distance(unknown | {"brightness": 200.0})
    assert found.value == pytest.approx((200 - middle) / ((high - low) / 1.349)) and found.out and found.quantile == 1
    near = reference.distance(unknown | {"brightness": float(middle), "loudness": -20.0})
    assert not near.out and near.quantile < 0.5 and near.clips == 40
    with pytest.raises(ValueError, match="10 validation clips of two people or more, found 5 of 2"):
        Reference({name: values[:5] for name, values in columns.items()}, people[:5])


def test_the_distances_limit_is_held_out():
    """A person of whom half of the clips are lies nearer to a median of all than to that of the others."""
    bright = np.repeat([100.0, 160.0], 20) + np.tile(np.linspace(-5, 5, 20), 2)
    columns = {name: np.full(40, np.nan) for name in MEASURES} | {"duration": np.full(40, 3.0), "brightness": bright}
    measured = dict.fromkeys(MEASURES, math.nan) | {"brightness": 130.0}
    known = Reference(columns, [f"p{i % 8}" for i in range(40)]).distance(measured)
    alone = Reference(columns, ["a"] * 20 + ["b"] * 20).distance(measured)
    assert alone.value == known.value and alone.limit > 5 * known.limit
