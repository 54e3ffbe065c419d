"""The integrated system as a run: what it writes, what it promises, and what it refuses in one line."""

import csv
import dataclasses
import json
import math

import numpy as np
import pytest

from configs import system as config_file
from experiments import check_options, checkpoints, experiment, operating_points, score_table, system_file
from experiments.producers import system
from experiments.report.terminal import WIDTH
from experiments.score_table import ScoreRow
from experiments.termination import Termination
from mmdf_jax.metrics import calibrators, likelihood, selective
from mmdf_jax.metrics.calibration import ece, log_loss
from mmdf_jax.metrics.classification import auc, threshold_for

METHODS = {"real": (0, 0), "face_swap": (1, 0), "voice_clone": (0, 1), "dubbing": (0, 0)}
MEMBERS = {"film": 2.0, "face": 0.8, "voice": 2.0, "sync": 2.0, "noise": 0.0}  # how well each tells its own fakes


def rows(split, seed, people):
    """Clips with a score of each member, by its own label; the noisy one answers for the clip."""
    rng = np.random.default_rng(seed)
    table = []
    for person in range(people):
        for method, (video, audio) in METHODS.items():
            for take in range(6 if method == "real" else 3):
                own = {"film": video, "face": video, "voice": audio, "sync": int(method == "dubbing"), "noise": 0}
                scores = {
                    f"score_{name}": float(1 / (1 + np.exp(-(1.5 * gain * (2 * own[name] - 1) + 1.2 * rng.normal()))))
                    for name, gain in MEMBERS.items()
                }
                fake = int(method != "real")
                clip = f"{split}/{method}/{person}_{take}"
                table.append(
                    ScoreRow(clip, fake, 0.5, "set", split, f"{split}{person}", method, video, audio, extra=scores)
                )
    return table


def put(folder, val, test):
    score_table.write(folder / "val.csv", val)
    score_table.write(folder / "test.csv", test)


def of(folder, names=tuple(MEMBERS), **changes):
    config = config_file.get_config().to_dict()
    config["members"] = {
        name: {"scores": str(folder), "column": f"score_{name}", "ms": 10.0}
        | {"film": {"label": "video_label"}, "face": {"label": "video_label"}, "voice": {"label": "audio_label"}}.get(
            name, {"label": "label", "compares": name == "sync"}
        )
        for name in names
    }
    config["evaluate"]["bootstrap"] = 40
    return config | {"selections": ("single", "greedy", "all"), "ensembles": ("log_pool", "noisy_or")} | changes


def produce(config, workdir):
    """The first half of a run: the score tables and system.json, without the report."""
    workdir.mkdir(parents=True)
    return system.Producer().produce(config, workdir, (), Termination())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder, workdir = tmp_path_factory.mktemp("tables"), tmp_path_factory.mktemp("run")
    put(folder, rows("val", 0, 6), rows("test", 1, 8))
    experiment.run(of(folder), workdir)
    return folder, workdir


def table(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_what_a_system_leaves_behind(finished):
    _, workdir = finished
    names = ("results", "methods", "system_comparison", "system_rivals", "calibration", "risk_coverage")
    for name in (*names, "operating_points", "members"):
        assert table(workdir / f"{name}.csv"), name
    drawn = {path.stem for path in (workdir / "figures").iterdir()}
    assert {"roc", "confusion", "reliability", "tippett", "risk_coverage", "selection_gains"} <= drawn
    (row,) = table(workdir / "results.csv")
    assert row["Model"].startswith("system (") and float(row["AUC"]) > 0.9
    assert float(row["AUC low"]) < float(row["AUC"]) <= float(row["AUC high"])


def test_the_system_is_what_the_tables_say(finished):
    """The file alone turns the members' scores into the table's."""
    _, workdir = finished
    made = system_file.read(workdir / "system.json")
    test = score_table.read(workdir / "scores" / "test.csv")
    scores = np.array([[row.extra[f"score_{member.name}"] for member in made.members] for row in test])
    np.testing.assert_allclose(made.probability(scores), [row.score for row in test], rtol=1e-9)
    np.testing.assert_allclose(made.fused(scores), [row.extra["uncalibrated"] for row in test], rtol=1e-9)
    assert made.data == {"dataset": "set", "split": "val", "clips": 90, "identities": 6, "embedded": False}
    assert all(member.run == "" and len(member.digest) == 64 for member in made.members)
    (row,) = table(workdir / "results.csv")
    assert float(row["Threshold"]) == pytest.approx(made.thresholds["balanced"], abs=1e-9)


def test_the_report_and_the_file_hold_one_calibration(finished):
    """Both take thresholds and bounds from the scores of validation, which are calibrated without the person."""
    _, workdir = finished
    made, val = system_file.read(workdir / "system.json"), score_table.read(workdir / "scores" / "val.csv")
    labels, people = np.array([row.label for row in val]), [row.group for row in val]
    chosen = calibrators.chosen(labels, np.array([row.extra["uncalibrated"] for row in val]), people)
    assert chosen.calibrator == made.calibration
    np.testing.assert_array_equal([row.score for row in val], chosen.held_out)
    limits = operating_points.limits(labels, chosen.held_out, people, 0.2)
    assert (limits.prior, limits.llr_bounds, limits.thresholds) == (made.prior, made.llr_bounds, made.thresholds)
    for row in table(workdir / "calibration.csv"):
        ratios = [float(row["Least ratio"]), float(row["Greatest ratio"])]
        np.testing.assert_allclose(np.log(ratios), made.llr_bounds)
    for line, point in zip(table(workdir / "operating_points.csv"), made.operating_points, strict=True):
        assert [float(line[name]) for name in ("Misses", "Misses low", "Misses high")] == point["misses"]
        assert [float(line["Real up to"]), float(line["Fake from"])] == list(point["threshold"].values())


def test_the_pipeline_is_chosen_on_validation_alone(finished):
    folder, workdir = finished
    val = score_table.read(workdir / "scores" / "val.csv")
    labels = np.array([row.label for row in val])
    found = {row["Detector"]: row for row in table(workdir / "system_comparison.csv")}
    pipelines = [name for name, row in found.items() if not row["Kind"].startswith("member")]
    assert pipelines == ["single", "greedy_log_pool", "greedy_noisy_or", "all_log_pool", "all_noisy_or"]
    for name in pipelines:
        for column, prefix in (("nested", "fused"), ("naive", "naive")):
            values = np.array([row.extra[f"{prefix}_{name}"] for row in val])
            assert float(found[name][f"Log-loss {column}"]) == pytest.approx(log_loss(labels, values))
            assert float(found[name][f"AUC {column}"]) == pytest.approx(auc(labels, values))
    (chosen,) = (name for name in pipelines if found[name]["Kind"] == "system")
    assert chosen == min(pipelines, key=lambda name: float(found[name]["Log-loss nested"]))
    assert f"({chosen})" in table(workdir / "results.csv")[0]["Model"]
    # Fakes of a single stream: `or` finds them, and no mean does.
    assert float(found["greedy_noisy_or"]["AUC"]) > float(found["all_log_pool"]["AUC"]) + 0.02
    # Other test clips, other labels even: the same system but for its operating points.
    other = [dataclasses.replace(row, label=1 - row.label, score=0.5) for row in rows("test", 5, 4)]
    put(folder.parent / "other", score_table.read(folder / "val.csv"), other)
    again = of(folder.parent / "other")
    produce(again, workdir.parent / "again")
    a, b = (
        dataclasses.replace(system_file.read(path / "system.json"), operating_points=(), name="")
        for path in (workdir, workdir.parent / "again")
    )
    assert a == b


def test_the_report_against_the_tables(finished):
    page = (finished[1] / "report.txt").read_text()
    shown = page[: page.index("Files:")].splitlines()
    assert max(map(len, shown)) <= WIDTH and "nan" not in page
    test = score_table.read(finished[1] / "scores" / "test.csv")
    labels, own = np.array([row.label for row in test]), np.array([row.score for row in test])
    prior = system_file.read(finished[1] / "system.json").prior
    (line,) = (line for line in shown if line.startswith("the system, calibrated"))
    cells = line.removeprefix("the system, calibrated").split()
    assert cells[0] == f"{ece(labels, own):.3f}"
    assert cells[4] == f"{likelihood.cllr(labels, likelihood.log_lr(own, prior)):.3f}"
    rivals = table(finished[1] / "system_rivals.csv")
    assert [row["Rival"].split(",")[0] for row in rivals] == ["best member", "mean of all members"]
    for row in rivals:
        rival = next(line for line in shown if line.startswith(row["Rival"]))
        assert f"{float(row['AUC']):.3f} [" in rival and f"{float(row['Difference']):+.3f} [" in rival
    (risk,) = (line.split()[2:] for line in shown if line.startswith("the system  "))
    val = score_table.read(finished[1] / "scores" / "val.csv")
    threshold = threshold_for([row.label for row in val], [row.score for row in val])
    errors, confidence = selective.of_verdicts(labels, own, threshold)
    expected = [selective.risk_at(errors, confidence, share) for share in (1, 0.9, 0.8)]
    assert risk == [f"{value:.3f}" for value in (*expected, selective.aurc(errors, confidence))]
    assert expected[0] == np.mean((own >= threshold) != labels)


@pytest.mark.parametrize("policy", ["present", "exclude", "as_real", "as_fake", "as_chance"])
def test_clips_that_a_table_lacks(tmp_path, policy):
    val, test = rows("val", 0, 4), rows("test", 1, 4)
    silent = dataclasses.replace(test[0], extra={**test[0].extra, "score_film": math.nan})
    val[0] = dataclasses.replace(val[0], extra={**val[0].extra, "score_film": math.nan, "score_voice": math.nan})
    test[1] = dataclasses.replace(test[1], extra=dict.fromkeys(test[1].extra, math.nan))  # nobody has scored it
    put(tmp_path / "whole", val, [silent, *test[1:]])
    put(tmp_path / "short", val[:-2], test[:-3])
    config = of(tmp_path / "whole", ("film", "voice"), missing=policy, selections=("all",), ensembles=("noisy_or",))
    config["members"]["voice"]["scores"] = str(tmp_path / "short")
    (experiment.run if policy == "present" else produce)(config, tmp_path / "run")  # one of them with its report
    found = score_table.read(tmp_path / "run" / "scores" / "test.csv")
    made = system_file.read(tmp_path / "run" / "system.json")
    assert len(found) == len(test) - 3 * (policy == "exclude")
    assert made.data["clips"] == len(val) - 2 * (policy == "exclude")
    taken = {"present": math.nan, "as_real": 0.0, "as_fake": 1.0, "as_chance": 0.5}
    if policy in taken:
        scores = np.array([[row.extra["score_film"], taken[policy]] for row in test[-3:]])
        np.testing.assert_allclose([row.score for row in found[-3:]], made.probability(scores), rtol=1e-9)
    # The detector that abstained has said nothing, whatever the policy for missing rows.
    alone = made.probability(np.array([[math.nan, test[0].extra["score_voice"]]]))
    assert found[0].score == pytest.approx(alone[0], rel=1e-9)
    # What nobody has scored has no score in any column, and no part in the calibration.
    assert math.isnan(found[1].score) and math.isnan(found[1].extra["fused_all_noisy_or"])
    first, *others = score_table.read(tmp_path / "run" / "scores" / "val.csv")
    names = ("uncalibrated", "fused_all_noisy_or", "naive_all_noisy_or")
    assert math.isnan(first.score) and all(math.isnan(first.extra[name]) for name in names)
    assert first.status == "abstained" and made.prior == np.mean([row.label for row in others])


def test_trained_runs_as_members(tmp_path):
    task = {"name": "mmdf_jax.tasks.detection", "target": "video_label"}
    for name, streams, column in (
        ("film", {"video": {}}, "score_film"),
        ("sync", {"mouth": {}, "audio": {}}, "score_sync"),
    ):
        own = task if name == "film" else {**task, "target": "label"}
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(
            json.dumps({"model": {"name": "x"}, "task": own, "data": {"streams": streams}})
        )
        for split, seed in (("val", 0), ("test", 1)):
            some = [dataclasses.replace(row, score=row.extra[column], extra={}) for row in rows(split, seed, 4)]
            score_table.write(folder / "scores" / f"{split}.csv", some)
        saved = checkpoints.Checkpoints(folder / "checkpoints")
        saved.save("best", 1, {"params": {"w": np.full(3, len(name))}, "batch_stats": {}}, {"best_step": 1})
        saved.close()
        costs = {
            "Parameters (M)": 2.0,
            "Training time (min)": 1.0,
            "Inference (ms/sample)": 30.0,
            "Peak memory (GB)": 1.0,
        }
        score_table.write_csv(folder / "results.csv", list(costs), [costs])
    config = of(tmp_path, ("film", "sync"), budget={"ms": 45.0, "parameters_m": 0.0}, selections=("budget", "all"))
    config["members"] = {
        "film": {"run": str(tmp_path / "runs" / "film")},
        "sync": {"run": str(tmp_path / "runs" / "sync"), "compares": True},
    }
    produced = produce(config, tmp_path / "runs" / "system")
    members = {row["Member"]: row for row in produced.tables["members"][0].rows}
    assert sum(row["budget_noisy_or"] for row in members.values()) == 1  # two take 60 ms
    assert members["film"]["Label"] == "video_label" and members["film"]["Inference (ms/sample)"] == 30.0
    made = system_file.read(tmp_path / "runs" / "system" / "system.json")
    for member in made.members:
        run = tmp_path / "runs" / "system" / member.run
        assert run.resolve() == tmp_path / "runs" / member.name and member.digest == system_file.digest_of(run)
    assert produced.run["parameters_m"] == 2.0 * len(made.members)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"members": {}}, "config.members: expected a detector or more"),
        ({"members": {"a": {}}}, "config.members.a: expected one of `config`"),
        ({"members": {"a": {"run": "x", "ms": 1}}}, "config.members.a: unknown key 'ms'"),
        ({"members": {"a": {"scores": "x", "ms": -1}}}, "config.members.a.ms=-1: expected a number"),
        (
            {"members": {"offset": {"scores": "x"}}},
            "offset is the name of a fusion's own weight; choose anot",
        ),
        ({"selections": ("best",)}, "config.selections: 'best' is not one of single, greedy, budget, all"),
        ({"ensembles": ()}, "config.ensembles: expected one or more of log_pool"),
        ({"missing": "zero"}, "config.missing=zero: expected one of present, exclude, as_real, as_fake, as_chance"),
        ({"budget": {"mb": 3.0}}, "config.budget: unknown key 'mb'; known: ms, parameters_m"),
        ({"budget": {"ms": math.nan}}, "config.budget.ms=nan: expected a number"),
        ({"budget": {"ms": 1.0, "parameters_m": 2.0}}, "expected one limit, found ms and parameters_m"),
        ({"selections": ("budget",)}, "config.budget: the selection budget needs a limit"),
        ({"budget": {"ms": 3.0}}, "config.budget.ms=3: no selection of config.selections uses it; add 'budget'"),
        ({"error": 1.0}, "config.error=1.0: expected a rate above 0 and below 1"),
    ],
)
def test_a_wrong_config_is_refused_before_anything_is_trained(change, message):
    config = of("x") | change
    with pytest.raises(ValueError) as error:
        check_options.check(config)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("val", "change", "message"),
    [
        (None, {}, "val.csv: no such score table"),
        (
            [row for row in rows("val", 0, 3) if row.label],
            {},
            "real and fake clips of 3 identities or more each on validation, found real clips of 0",
        ),
        (rows("val", 0, 2), {}, "3 identities or more each on validation, found real clips of 2"),
        (
            [row for row in rows("val", 0, 4) if not row.label or row.identity in ("val0", "val1")],
            {},
            "on validation, found fake clips of 2",
        ),
        (rows("test", 1, 4), {}, "is in validation and in test of the members' tables"),
        (
            rows("val", 0, 4),
            {"budget": {"ms": 5.0}},
            "config.budget.ms=5: no member meets it; the cheapest, film, has 10",
        ),
        (
            rows("val", 0, 4),
            {"budget": {"parameters_m": 5.0}},
            "what film costs is not known; state it as config.members",
        ),
    ],
)
def test_bad_tables_are_one_line(tmp_path, val, change, message):
    score_table.write(tmp_path / "tables" / "test.csv", rows("test", 1, 4))
    if val:
        score_table.write(tmp_path / "tables" / "val.csv", val)
    config = of(tmp_path / "tables", ("film", "voice"), selections=("single", "budget"), **change)
    with pytest.raises((ValueError, OSError)) as error:
        produce(config | {"selections": ("single", "budget")[: 1 + bool(change)]}, tmp_path / "run")
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "run" / "system.json").exists()


def test_tables_of_few_or_other_clips(tmp_path):
    put(tmp_path / "a", rows("val", 0, 3), rows("test", 1, 3))
    put(
        tmp_path / "b",
        *([dataclasses.replace(r, clip_id=f"x{r.clip_id}") for r in rows(s, 0, 3)] for s in ("val", "test")),
    )
    config = of(tmp_path / "a", ("film", "voice"))
    config["members"]["voice"]["scores"] = str(tmp_path / "b")
    with pytest.raises(ValueError, match=r"no clip of it is in .* which members voice and film are joined by"):
        produce(config, tmp_path / "run")
    # Each table shares clips with the first, and no clip is in all three.
    val, test = rows("val", 0, 3), rows("test", 1, 3)
    put(tmp_path / "b", val, test[:20])
    put(tmp_path / "c", val, test[20:])
    config["members"]["third"] = {"scores": str(tmp_path / "c"), "column": "score_voice"}
    with pytest.raises(ValueError, match=r"config\.missing=exclude: no clip of test is in the tables of all members"):
        produce(config | {"missing": "exclude"}, tmp_path / "other")
