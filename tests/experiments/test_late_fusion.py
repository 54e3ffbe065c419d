"""A run that fuses score tables: what it writes, what it needs, and what it refuses in one line."""

import csv
import dataclasses
import json
import math
import pathlib
import shutil

import numpy as np
import pytest

from configs import late_fusion
from experiments import check_options, evaluate, experiment, run_directory, score_table
from experiments.report.terminal import WIDTH
from experiments.score_table import ScoreRow

METHODS = {"real": (0, 0), "face_swap": (1, 0), "voice_clone": (0, 1), "both": (1, 1)}


def rows(split, seed, people=6):
    """Clips whose picture, film and voice a detector each tells well, each by its own label."""
    rng = np.random.default_rng(seed)
    table = []
    for person in range(people):
        for method, (video, audio) in METHODS.items():
            for take in range(2):
                draw = lambda fake: float(1 / (1 + np.exp(-(3 * (2 * fake - 1) + rng.normal()))))  # noqa: E731
                extra = {"score_image": draw(video), "score_audio": draw(audio), "score_video": draw(video)}
                labels = (int(method != "real"), draw(video), "set", split, f"{split}{person}", method, video, audio)
                table.append(ScoreRow(f"{split}/{method}/{person}_{take}", *labels, extra=extra))
    return table


def put(folder, val, test):
    score_table.write(folder / "val.csv", val)
    score_table.write(folder / "test.csv", test)


def of(folder, **members):
    config = late_fusion.get_config().to_dict() | {"fusion": "noisy_or"}
    config["members"] = {
        name: {"scores": str(folder), "column": f"score_{name}", **spec}
        for name, spec in (members or {"image": {}, "audio": {}, "video": {}}).items()
    }
    config["evaluate"]["bootstrap"] = 60
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder, workdir = tmp_path_factory.mktemp("tables"), tmp_path_factory.mktemp("run")
    put(folder, rows("val", 0), rows("test", 1))
    experiment.run(of(folder), workdir)
    return folder, workdir


def table(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_what_a_fusion_leaves_behind(finished):
    folder, workdir = finished
    for name in ("results.csv", "methods.csv", "fusion_comparison.csv", "fusion_weights.csv", "config.json"):
        assert (workdir / name).stat().st_size > 0, name
    drawn = {path.stem for path in (workdir / "figures").iterdir()}
    assert {"fusion_comparison", "fusion_weights", "score_scatter", "roc"} <= drawn
    (row,) = table(workdir / "results.csv")
    assert row["Model"] == "late fusion (noisy_or)" and row["Modality"] == "image + audio + video"
    assert float(row["AUC"]) > 0.95
    written, given = score_table.read(workdir / "scores" / "test.csv"), score_table.read(folder / "test.csv")
    assert [row.clip_id for row in written] == [row.clip_id for row in given]
    assert all(a.extra["score_audio"] == b.extra["score_audio"] for a, b in zip(written, given, strict=True))
    assert "fused_soft" in written[0].extra and "fused_noisy_or" not in written[0].extra


def test_the_comparison_shows_that_voting_fails_on_fakes_of_one_stream(finished):
    _, workdir = finished
    found = {row["Detector"]: row for row in table(workdir / "fusion_comparison.csv")}
    assert list(found) == [
        *("image", "audio", "video", "noisy_or", "majority", "any_of", "soft", "weighted", "maximum", "logistic")
    ]
    # Two of three detectors look at the picture: a cloned voice is outvoted.
    assert float(found["majority"]["Recall voice_clone"]) < 0.1 < 0.9 < float(found["noisy_or"]["Recall voice_clone"])
    best = [row for row in found.values() if row["Kind"].endswith("the best on validation")]
    assert len(best) == 1 and best[0]["Difference"] == ""
    fusion = found["noisy_or"]
    gap = float(fusion["AUC"]) - float(best[0]["AUC"])
    assert float(fusion["Difference"]) == pytest.approx(gap) and float(fusion["Difference low"]) > 0
    assert float(fusion["p"]) <= float(fusion["Holm p"]) < 0.05
    assert found["image"]["Holm p"] == "" and found["majority"]["Threshold"] == "0.5"
    weights = {(row["Fusion"], row["Weight"]): row for row in table(workdir / "fusion_weights.csv")}
    assert {fusion for fusion, _ in weights} == {"weighted", "noisy_or", "logistic"}
    assert all(float(row["Low"]) <= float(row["High"]) for row in weights.values())


def test_the_report_fits_and_says_what_is_compared(finished):
    page = (finished[1] / "report.txt").read_text()
    shown = page[: page.index("Files:")].splitlines()
    assert max(map(len, shown)) <= WIDTH and "best single stream" in page and "Holm p" in page
    (compared, recalls) = (line.split() for line in shown if line.startswith("majority"))
    (row,) = (row for row in table(finished[1] / "fusion_comparison.csv") if row["Detector"] == "majority")
    assert compared[1] == f"{float(row['AUC']):.3f}" and recalls[3] == f"{float(row['Recall voice_clone']):.3f}"
    assert "nan" not in "\n".join(shown)


def test_a_finished_fusion_is_made_again_of_other_tables(tmp_path):
    config, workdir = of(tmp_path / "tables"), tmp_path / "run"
    config["members"].pop("video")
    config["evaluate"]["bootstrap"] = 10
    errors = []
    for seed in (1, 1, 2):
        put(tmp_path / "tables", rows("val", 0), rows("test", seed))
        assert run_directory.changed_members(workdir) == (["image", "audio"] if seed == 2 else [])
        experiment.run(config, workdir)
        errors.append(table(workdir / "results.csv")[0]["ECE"])
        assert run_directory.is_finished(workdir)
    assert errors[0] == errors[1] != errors[2]
    shutil.rmtree(tmp_path / "tables")  # what is gone has not changed: the results still show
    experiment.run(config, workdir)


def test_a_finished_fusion_cannot_be_evaluated_as_a_model(finished):
    with pytest.raises(ValueError, match="fuses score tables and has no model; evaluate its members instead"):
        evaluate.evaluate_run(finished[1])


def test_a_members_missing_scores_do_not_take_the_clip_away(tmp_path):
    val, test = rows("val", 0), rows("test", 1)
    hole = {**test[0].extra, "score_audio": math.nan}
    empty = dict.fromkeys(test[1].extra, math.nan)
    test[:2] = [dataclasses.replace(test[0], extra=hole), dataclasses.replace(test[1], extra=empty)]
    put(tmp_path / "tables", val, test)
    put(tmp_path / "short", val, test[:-3])  # another detector's table, without the last clips
    config = of(tmp_path / "tables", image={}, audio={"scores": str(tmp_path / "short")})
    experiment.run(config, tmp_path / "run")
    fused = score_table.read(tmp_path / "run" / "scores" / "test.csv")
    assert [row.clip_id for row in fused if not row.scored] == [test[1].clip_id] and fused[1].status == "abstained"
    assert all(math.isnan(row.extra["score_audio"]) and row.scored for row in fused[-3:])
    assert "audio: 3 of 48 clips of test are not in its table" in (tmp_path / "run" / "log.txt").read_text()


def test_a_table_of_anybodys_detector_is_as_good(tmp_path):
    for split, seed in (("val", 0), ("test", 1)):
        (tmp_path / "plain").mkdir(exist_ok=True)
        lines = [f"{row.clip_id},{row.label},{row.score}" for row in rows(split, seed)]
        (tmp_path / "plain" / f"{split}.csv").write_text("\n".join(["clip_id,label,score", *lines]) + "\n")
    put(tmp_path / "ours", rows("val", 0), rows("test", 1))
    config = of(tmp_path / "ours", audio={}, mine={"scores": str(tmp_path / "plain"), "column": "score"})
    experiment.run(config, tmp_path / "run")
    (row,) = table(tmp_path / "run" / "results.csv")
    assert row["Identities"] == "6" and row["Modality"] == "audio + mine"  # what one table lacks, the other says


def test_members_are_trained_as_runs_of_their_own(tmp_path, monkeypatch):
    (tmp_path / "a.py").write_text(
        "from ml_collections import ConfigDict\n"
        "def get_config(arg):\n"
        "    data = {'root': 'x', 'name': 'y'}\n"
        "    task = {'name': 'mmdf_jax.tasks.detection', 'target': 'video_label'}\n"
        "    return ConfigDict({'seed': 3, 'arg': arg, 'data': data, 'task': task})\n"
    )
    config = late_fusion.get_config().to_dict() | {"fusion": "soft"}
    config["members"] = {name: {"config": f"{tmp_path / 'a.py'}:{name}"} for name in ("first", "second")}
    config["override"] = {"seed": 7, "data": {"root": "z"}}
    config["evaluate"]["bootstrap"] = 20
    trained, whole = {}, experiment.run

    def train(own, workdir, allow=()):
        if "producer" in own:
            return whole(own, workdir, allow)
        trained[workdir] = own
        put(workdir / "scores", rows("val", len(trained)), rows("test", len(trained) + 9))
        costs = {
            "Parameters (M)": 1.5,
            "Training time (min)": 2.0,
            "Inference (ms/sample)": 1.0,
            "Peak memory (GB)": 3.0,
        }
        score_table.write_csv(workdir / "results.csv", list(costs), [costs])

    monkeypatch.setattr(experiment, "run", train)
    experiment.run(config, tmp_path / "run")
    assert list(trained) == [(tmp_path / "run" / "members" / name).resolve() for name in ("first", "second")]
    first = next(iter(trained.values()))
    assert (first["seed"], first["arg"], first["data"]) == (7, "first", {"root": "z", "name": "y"})
    (row,) = table(tmp_path / "run" / "results.csv")
    assert (row["Parameters (M)"], row["Training time (min)"], row["Peak memory (GB)"]) == ("3.0", "4.0", "3.0")
    # What is wrong with members that need no training is told before any other is trained.
    trained.clear()
    for gone, message in (
        ({"run": "gone"}, "gone: no config.json there"),
        ({"scores": "gone"}, "gone/val.csv: no s"),
    ):
        with pytest.raises(FileNotFoundError, match=message):
            experiment.run(config | {"members": {**config["members"], "gone": gone}}, tmp_path / "other")
        assert not trained
        shutil.rmtree(tmp_path / "other")


def broken(tmp_path, name):
    """A config that must be refused, and tables that go with it."""
    val, test, config = rows("val", 0), rows("test", 1), of(tmp_path / "tables")
    if name == "one class":
        val = [row for row in val if row.label == 0]
    elif name == "disjoint clips":
        put(tmp_path / "other", rows("dev", 0), rows("eval", 0))
        config["members"]["audio"]["scores"] = str(tmp_path / "other")
    elif name == "no column":
        config["members"]["audio"]["column"] = "score_voice"
    elif name == "no number":
        val = [dataclasses.replace(row, extra={**row.extra, "verdict": "fake"}) for row in val]
        config["members"]["audio"]["column"] = "verdict"
    elif name == "never scored":
        val = [dataclasses.replace(row, extra={**row.extra, "score_audio": math.nan}) for row in val]
    elif name == "labels":
        put(tmp_path / "other", [dataclasses.replace(row, label=1) for row in val], test)
        config["members"]["audio"]["scores"] = str(tmp_path / "other")
    elif name == "leak":
        test = [*test, val[0]]
    elif name == "one person":
        val = [dataclasses.replace(row, identity="x") for row in val]
    elif name in ("foreign costs", "empty costs"):
        config["members"]["audio"]["column"] = "score"  # whose costs are those of the whole run
        (tmp_path / "results.csv").write_text("name,auc\nmine,0.9\n" if name == "foreign costs" else "")
    elif name == "no table":
        config["members"]["audio"]["scores"] = str(tmp_path / "nowhere")
    put(tmp_path / "tables", val, test)
    return config


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("one class", "fitted on validation, which has 12 real clips and no other"),
        ("disjoint clips", r"other/val\.csv: no clip of it is in .*tables/val\.csv, which members audio and image"),
        ("no column", r"val\.csv: no column 'score_voice', which member audio needs; found score_image, score_audio"),
        ("no number", r"column verdict: expected numbers in \[0, 1\], found 'fake'"),
        ("never scored", r"val\.csv: member audio has no score in column 'score_audio'"),
        ("labels", "clip 'val/real/0_0' of val: the members' tables do not agree whether it is fake"),
        ("leak", "clip 'val/real/0_0' is in validation and in test"),
        ("one person", "two identities or more on validation, found 1"),
        ("no table", r"nowhere/val\.csv: no such score table"),
        (
            "foreign costs",
            r"/results\.csv: column 'Parameters \(M\)' is missing; expected the results.csv of a run",
        ),
        ("empty costs", r"/results\.csv: expected one row, found 0; expected the results.csv of a run"),
    ],
)
def test_bad_tables_are_refused_in_one_line(tmp_path, name, message):
    config = broken(tmp_path, name)
    with pytest.raises((ValueError, OSError), match=message) as caught:
        experiment.run(config, tmp_path / "run")
    assert "\n" not in str(caught.value) and not (tmp_path / "run" / "results.csv").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fusion": "median"}, "config.fusion=median: with these members expected one of majority, any_of"),
        (
            {"fusion": "noisy_or_sync", "members": {name: {"scores": "x"} for name in ("image", "audio")}},
            "config.fusion=noisy_or_sync: with these members expected one of",
        ),
        ({"members": {"a": {"scores": "x"}}}, "config.members: expected two detectors or more to fuse, found 1"),
        ({"members": {"a": {"scores": "x"}, "b": {}}}, r"config\.members\.b: expected one of `config`"),
        ({"members": {"a": {"scores": "x"}, "B/": {"scores": "x"}}}, "config.members.B/: expected a name of small"),
        ({"members": {"a": {"scores": "x", "colum": "y"}, "b": {"scores": "x"}}}, "unknown key 'colum'; known: scores"),
        ({"members": {"a": {"scores": "x", "label": "y"}, "b": {"scores": "x"}}}, r"a\.label=y: expected one of label"),
        ({"members": {"a": {"scores": "x"}, "b": {"config": "no.py:x=1"}}}, r"b\.config=no\.py:x=1: no such file"),
        ({"override": {"sede": 1}}, r"config\.override, member audio .*: there is no setting 'sede'; known: data"),
        ({"override": {"data": {"rot": 1}}}, r"audio\.py\): data: there is no setting 'rot'"),
        ({"evaluate": {"bootstrap": -1}}, r"config\.evaluate\.bootstrap=-1: expected a whole number"),
        ({"producer": {"name": "os.path"}}, "outside the allowed packages"),
    ],
)
def test_a_wrong_config_is_refused_before_anything_is_trained(change, message):
    config = late_fusion.get_config().to_dict() | {"fusion": "noisy_or"}
    check_options.check(config)
    with pytest.raises((ValueError, OSError), match=message):
        check_options.check(config | change)


def test_the_config_is_data_and_its_members_follow_its_arguments():
    config = late_fusion.get_config("size=base,data=folder,pseudo_fakes=true").to_dict()
    assert json.loads(json.dumps(config)) == config
    assert config["members"]["audio"]["config"] == (
        "configs/audio.py:encoder=spectrogram_cnn,size=base,data=folder,pseudo_fakes=true"
    )
    for spec in config["members"].values():
        assert pathlib.Path(spec["config"].partition(":")[0]).is_file()
