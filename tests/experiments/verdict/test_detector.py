"""A run and the model exported from it judge a file alike; what is damaged or foreign is refused in one line."""

import json
import shutil

import hand_made
import pytest

from experiments import detect, score_table, system_file
from experiments.study import models
from experiments.verdict import detector, evidence, quality
from tests.experiments.study import hand_written


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A run, the exported model, and a film."""
    folder = tmp_path_factory.mktemp("detector")
    data = hand_written.config()["data"] | {"crops": {"face": "whole", "face_size": 64, "mouth": False}}
    hand_written.put(folder / "run", changes={"data": data})
    models.export(folder / "run", folder / "best_3dresnet")
    return folder / "run", folder / "best_3dresnet", hand_made.film(folder / "film.mp4", seconds=1.7)


def test_a_run_and_its_exported_model_judge_alike(places, monkeypatch, capsys):
    run, exported, film = places
    monkeypatch.setattr(evidence, "SAMPLES", 20)
    monkeypatch.setattr(detector, "_cache_compiled", lambda: None)
    found = []
    for model in (run, exported):
        assert detect.run([str(film)], model, as_json=True)
        found.append(json.loads(capsys.readouterr().out))
        hand_made.check(found[-1])
    (one,), (other,) = (document["verdicts"] for document in found)
    assert one["evidence"]["lr"] == other["evidence"]["lr"] and one["stretches"] == other["stretches"]
    assert one["system"]["sha256"] == other["system"]["sha256"]
    assert one["system"]["members"][0]["streams"] == ["video"] and one["streams"][0]["stream"] == "video"
    assert one["statement"].startswith("Trained on the embedded corpus")
    assert one["distance"]["unknown_because"] == "the run has no quality.csv, the measures of its validation clips"
    assert one["operating_points"][0]["clips"] == 48


def test_a_run_that_was_trained_again_is_refused(places, tmp_path):
    run = shutil.copytree(places[0], tmp_path / "run")
    system = system_file.of_run(run, samples=20)
    system_file.write(run / "system.json", system)
    hand_written.copy_checkpoint(tmp_path / "other", 0.5, seed=1)
    shutil.rmtree(run / "checkpoints")
    shutil.copytree(tmp_path / "other", run / "checkpoints")
    with pytest.raises(ValueError, match="trained again") as raised:
        detector.load(run)
    assert "\n" not in str(raised.value)


def test_a_run_is_only_read_and_a_damaged_table_of_measures_is_told(places, tmp_path, monkeypatch):
    monkeypatch.setattr(detector, "_cache_compiled", lambda: None)
    run = shutil.copytree(places[0], tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert detector.load(run).reference is None
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    clips = [row.clip_id for row in score_table.read(run / "scores" / "val.csv")]
    columns = ["clip_id", "duration", *quality.MEASURES]
    rows = [dict.fromkeys(columns, 1.0) | {"clip_id": clip} for clip in clips]
    score_table.write_csv(run / quality.TABLE, columns, rows)
    assert detector.load(run).reference.clips == len(clips)
    (run / quality.TABLE).write_text((run / quality.TABLE).read_text()[:-20])
    with pytest.raises(ValueError, match="line 49: the row ends before column face_seen") as raised:
        detector.load(run)
    assert "\n" not in str(raised.value)


def test_a_system_that_was_changed_is_refused(places, tmp_path):
    path = tmp_path / "system.json"
    content = json.loads((places[1] / "system.json").read_text())
    path.write_text(json.dumps(content | {"prior": 0.9}))
    with pytest.raises(ValueError, match="checksum"):
        detector.load(path)


def test_a_system_without_its_run_is_refused_and_makes_no_folder(places, tmp_path):
    moved = tmp_path / "moved" / "system.json"
    moved.parent.mkdir()
    shutil.copy(places[1] / "system.json", moved)
    with pytest.raises(FileNotFoundError, match="no trained run there"):
        detector.load(moved)
    assert sorted(tmp_path.rglob("*")) == [moved.parent, moved]
