"""system.json: what it says survives the disk to the bit, what it computes is what was fitted, and what it refuses."""

import dataclasses
import hashlib
import json
import math

import numpy as np
import pytest

from experiments import checkpoints, score_table, system_file
from experiments.score_table import ScoreRow
from experiments.system_file import Member, System
from mmdf_jax.fusion import late
from mmdf_jax.metrics import calibrators, likelihood
from mmdf_jax.metrics.calibrators import Isotonic, Scaling
from mmdf_jax.metrics.classification import threshold_for
from mmdf_jax.stats import conformal

POINT = {
    "what": "conformal",
    "threshold": {"low": -math.inf, "high": 0.75},
    "false_alarms": [0.1, 0.05, 0.2],
    "misses": [0.0, 0.0, 0.3],
    "abstained": [0.25, math.nan, math.nan],
    **{"clips": 40, "identities": 8, "data": {"dataset": "set", "split": "test"}},
}


def member(name, calibration):
    return Member(name, f"../{name}", "ab" * 32, "score", "video_label", False, ("image", "video"), calibration)


@pytest.fixture
def system():
    return System(
        name="système",
        members=(member("film", Scaling(1.7, -0.3)), member("voice", Isotonic((0.0, 0.5, 1.0), (0.1, 0.2, 0.9)))),
        ensemble="stacking",
        weights={"film": 0.8, "voice": 0.31, "offset": -0.12345678901234567},
        calibration=Scaling(math.inf, 0.4),
        prior=0.6,
        llr_bounds=(-2.5, math.inf),
        thresholds={"balanced": 0.55, "conformal": {"error": 0.2, "low": -math.inf, "high": 0.75}},
        operating_points=(POINT,),
        data={"dataset": "set", "split": "val", "clips": 40, "identities": 8, "embedded": False},
        code=system_file.code(),
    )


def same(a, b):
    """Equal, where unknown is unknown."""
    return str(dataclasses.asdict(a)) == str(dataclasses.asdict(b))


def test_what_is_written_is_read_to_the_bit(tmp_path, system):
    system_file.write(tmp_path / "system.json", system)
    found = system_file.read(tmp_path / "system.json")
    assert same(found, system) and isinstance(found.members[1].calibration, Isotonic)
    system_file.write(tmp_path / "again.json", found)
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "system.json").read_bytes()
    assert "Infinity" not in (tmp_path / "again.json").read_text()  # which is not JSON


def test_probabilities_and_ratios(system):
    system = dataclasses.replace(system, calibration=Scaling(0.5, 0.2), llr_bounds=(-1.0, 1.5))
    scores = np.array([[0.9, 0.9], [0.1, math.nan], [math.nan, math.nan], [0.001, 0.0]])
    probability, llr = system.probability(scores), system.llr(scores)
    assert np.isnan(probability).tolist() == np.isnan(llr).tolist() == [False, False, True, False]
    odds = probability / (1 - probability) / (0.6 / 0.4)
    assert llr[0] == 1.5 and np.log(odds[0]) > 1.5 and llr[3] == -1.0 and np.log(odds[3]) < -1
    assert system.llr(np.array([[0.5, 0.75]])) == pytest.approx(
        likelihood.log_lr(system.probability(np.array([[0.5, 0.75]])), 0.6)
    )
    stated = system.probability(scores, prior=0.01)
    assert stated[0] == pytest.approx(1 / (1 + 99 * math.exp(-1.5)))  # Bayes, with the ratio at its bound
    assert system.verdicts(np.array([0.8, 0.3, math.nan])).tolist() == [1, -1, -1]


@pytest.mark.parametrize("ensemble", late.ENSEMBLES)
def test_an_ensemble_from_a_file_is_the_one_that_was_fitted(ensemble, system):
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 20)
    scores = 1 / (1 + np.exp(-(2 * labels[:, None] - 1 + rng.normal(size=(40, 3)))))
    scores[3, 1] = scores[7, 0] = math.nan
    own = np.repeat(labels[:, None], 3, axis=1)
    data = late.Data(("a", "b", "c"), scores, own, labels, np.arange(40) // 8, (False,) * 3)
    fitted = late.fit(ensemble, data)
    members = tuple(member(name, found) for name, found in zip("abc", late.calibrations(data), strict=True))
    weights = fitted.weights or dict.fromkeys("abc", 1.0)
    kept = dataclasses.replace(system, members=members, ensemble=ensemble, weights=weights)
    np.testing.assert_allclose(kept.fused(scores), fitted.apply(scores), rtol=1e-12)


def test_a_member_that_counts_twice(system):
    kept = dataclasses.replace(system, ensemble="log_pool", weights={"film": 2.0, "voice": 1.0})
    film, voice = (kept.member_probability(i, np.array([0.7]))[0] for i in (0, 1))
    odds = (film / (1 - film)) ** (2 / 3) * (voice / (1 - voice)) ** (1 / 3)
    assert kept.fused(np.array([[0.7, 0.7]]))[0] == pytest.approx(odds / (1 + odds))


def changed(content, path, value):
    *way, last = path
    for key in way:
        content = content[key]
    if value is KeyError:
        del content[last]
    else:
        content[last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["schema"], 2, "a system of schema 2; this program reads schema 1"),
        (["prior"], KeyError, "'prior' is missing"),
        (["extra"], 1, "unknown key 'extra'"),
        (["prior"], 1.0, "prior: expected a share between 0 and 1"),
        (["prior"], True, "prior: expected int or float, found True"),
        (["weights", "film"], "1", "weights.film: expected int or float"),
        (["weights"], {"film": 1.0}, "weights: 'offset' is missing"),
        (["weights"], [], "weights: expected an object"),
        (["members"], [], "members: expected a list"),
        (["members", 0, "digest"], None, r"members\[0\].digest: expected str, found None"),
        (["members", 1, "calibration", "y"], [0.2, 0.1, 0.9], r"members\[1\].calibration: .*do not fall"),
        (["calibration", "temperature"], -1, "calibration.temperature: expected"),
        (["ensemble"], "majority", "ensemble: expected one of log_pool"),
        (["llr_bounds"], [0.0], "llr_bounds: expected a list of 2"),
        (["thresholds", "conformal"], {"error": 0.1}, "thresholds.conformal: 'high' is missing"),
        (["operating_points", 0, "misses"], [0.1, 0.2, "x"], r"operating_points\[0\].misses\[2\]: expected"),
        (["data", "embedded"], 1, "data.embedded: expected bool"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, system, path, value, message):
    place = tmp_path / "system.json"
    system_file.write(place, system)
    content = json.loads(place.read_text())
    changed(content, path, value)
    place.write_text(json.dumps(content))
    if path != ["schema"]:
        with pytest.raises(ValueError, match="checksum does not fit: it was changed after it was written"):
            system_file.read(place)
    # Somebody who mends the checksum too is told what else is wrong.
    content.pop("sha256")
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    place.write_text(json.dumps({**content, "sha256": hashlib.sha256(canonical.encode()).hexdigest()}))
    with pytest.raises(ValueError, match=message) as error:
        system_file.read(place)
    assert str(error.value).startswith(f"{place}: ") and "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"a": 1}', "[" * 100_000, "\udc80"])
def test_a_file_that_is_no_system(tmp_path, text):
    (tmp_path / "system.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=r"not JSON|expected a system") as error:
        system_file.read(tmp_path / "system.json")
    assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError, match=r"no such file; expected a system\.json"):
        system_file.read(tmp_path / "other.json")


# A trained run as a system


def rows(split, people=10, target="label"):
    rng = np.random.default_rng(len(split))
    table = []
    for i in range(12 * people):
        fake = i % 2
        score = float(1 / (1 + np.exp(-(2 * (2 * fake - 1) + 2 * rng.normal()))))
        table.append(
            ScoreRow(
                f"{split}{i}",
                1,
                score,
                "set",
                split,
                f"{split}{i // 2 % people}",
                **{target: fake} | {"audio_label": 1},
            )
            if target == "video_label"
            else ScoreRow(f"{split}{i}", fake, score, "talking_heads", split, f"{split}{i // 2 % people}")
        )
    return table


def run_of(folder, target="label", **tables):
    task = {"name": "mmdf_jax.tasks.detection", "target": target}
    config = {"model": {"name": "x"}, "task": task, "data": {"streams": {"video": {}, "audio": {}}}}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    for split in ("val", "test"):
        score_table.write(folder / "scores" / f"{split}.csv", tables.get(split, rows(split, target=target)))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = run_of(tmp_path_factory.mktemp("runs") / "mine")
    save(folder, np.arange(4.0))
    return folder


def save(folder, kernel):
    saved = checkpoints.Checkpoints(folder / "checkpoints")
    saved.save("best", 3, {"params": {"head": kernel}, "batch_stats": {}}, {"best_step": 3})
    saved.close()


def test_a_run_is_a_system_of_one_member(run, tmp_path):
    system = system_file.of_run(run, samples=50)
    (only,) = system.members
    assert (only.run, only.column, only.label, only.streams) == (".", "score", "label", ("audio", "video"))
    assert only.digest == checkpoints.digest(
        checkpoints.describe({"params": {"head": np.arange(4.0)}, "batch_stats": {}})
    )
    assert system.data == {"dataset": "talking_heads", "split": "val", "clips": 120, "identities": 10, "embedded": True}
    assert system.prior == 0.5 and system.thresholds["conformal"]["error"] == 0.1  # ten people are enough for that
    test = score_table.read(run / "scores" / "test.csv")
    scores = np.array([[row.score] for row in test])
    np.testing.assert_allclose(system.probability(scores), only.calibration(scores[:, 0]), rtol=1e-9)
    # The calibrator is fitted to all of validation; what the file promises comes from fits without the person.
    val = score_table.read(run / "scores" / "val.csv")
    people = [row.group for row in val]
    truth, given = np.array([row.label for row in val]), np.array([row.score for row in val])
    chosen = calibrators.chosen(truth, given, people)
    low, high = conformal.thresholds(truth, chosen.held_out, 0.1, people)
    assert system.thresholds["conformal"] == {"error": 0.1, "low": low, "high": high}
    assert (low, high) != conformal.thresholds(truth, only.calibration(given), 0.1, people)
    assert system.thresholds["balanced"] == threshold_for(truth, chosen.held_out)
    assert system.llr_bounds == likelihood.bounds(truth, likelihood.log_lr(chosen.held_out, 0.5), people)
    assert only.calibration == chosen.calibrator
    np.testing.assert_allclose(
        system.probability(scores, prior=0.5), likelihood.probability(system.llr(scores), 0.5), rtol=1e-12
    )
    balanced, abstaining = system.operating_points
    called = system.probability(scores) >= balanced["threshold"]["high"]
    labels = np.array([row.label for row in test])
    assert balanced["false_alarms"][0] == called[labels == 0].mean() and balanced["abstained"][0] == 0
    assert balanced["misses"][0] == (~called[labels == 1]).mean() and balanced["data"]["split"] == "test"
    low, value, high = (balanced["misses"][i] for i in (1, 0, 2))
    assert low < value < high and abstaining["threshold"]["low"] < abstaining["threshold"]["high"]
    verdicts = system.verdicts(system.probability(scores))
    assert abstaining["abstained"][0] == (verdicts == -1).mean() > 0
    system_file.write(tmp_path / "system.json", system)
    assert same(system_file.of_run(tmp_path), system)  # a folder that has one says it itself


def test_a_digest_that_no_longer_fits(run, tmp_path):
    system = system_file.of_run(run, samples=10)
    system_file.refuse_other_digest(system.members[0], system_file.digest_of(run), run)
    other = tmp_path / "other"
    save(other, np.arange(1.0, 5.0))
    with pytest.raises(
        ValueError, match=r"member model of this system had parameters of digest \w{12}…, found \w{12}…"
    ):
        system_file.refuse_other_digest(system.members[0], system_file.digest_of(other), other)


def test_a_detector_of_one_stream_is_calibrated_by_its_own_label(tmp_path):
    folder = run_of(tmp_path / "film", target="video_label")  # every clip is fake, by its sound
    save(folder, np.ones(2))
    assert system_file.of_run(folder, samples=10).prior == 0.5


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"val": [row for row in rows("val") if row.label]}, "needs real and fake clips, found 0 real and 60 fake"),
        ({"val": rows("val", people=1)}, "two identities or more on validation, found 1"),
        ({"val": [dataclasses.replace(row, score=math.nan, status="x") for row in rows("val")]}, "found none"),
    ],
)
def test_a_run_that_cannot_be_calibrated_is_one_line(tmp_path, tables, message):
    folder = run_of(tmp_path / "run", **tables)
    with pytest.raises(ValueError, match=message) as error:
        system_file.of_run(folder)
    assert "val.csv: " in str(error.value) and "\n" not in str(error.value)


def test_a_folder_that_is_no_trained_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no config\.json there"):
        system_file.of_run(tmp_path)
    (tmp_path / "config.json").write_text('{"producer": {}}')
    with pytest.raises(ValueError, match=r"this run has no model and no system\.json"):
        system_file.of_run(tmp_path)
    untrained = run_of(tmp_path / "untrained")
    with pytest.raises(FileNotFoundError, match="no trained run there"):
        system_file.of_run(untrained)
