"""An exported model is the run's best checkpoint, to the bit, and nothing else passes for one."""

import json
import shutil

import jax
import numpy as np
import pytest
import safetensors
from safetensors import numpy as safetensors_numpy

from experiments import best_model, exported_model, run_directory, score_table, system_file
from experiments.producers import members
from experiments.study import models
from tests.experiments.study import hand_written


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    hand_written.put(folder / "run")
    models.export(folder / "run", folder / "best_3dresnet")
    return folder / "run", folder / "best_3dresnet"


@pytest.fixture
def copy(exported, tmp_path):
    return shutil.copytree(exported[1], tmp_path / "copy")


def test_it_loads_as_the_run_does(exported):
    run, folder = exported
    config = json.loads((folder / "config.json").read_text())
    from_run, from_folder = (best_model.load(place, config) for place in exported)
    jax.tree.map(np.testing.assert_array_equal, from_run.variables, from_folder.variables)
    assert jax.tree.leaves(from_folder.variables["batch_stats"])
    assert from_run.step == from_folder.step == 6
    assert {leaf.sharding for leaf in jax.tree.leaves(from_folder.variables)} == {
        leaf.sharding for leaf in jax.tree.leaves(from_run.variables)
    }
    with safetensors.safe_open(folder / exported_model.WEIGHTS, "numpy") as file:
        assert {name.split("/")[0] for name in file.keys()} == {"params", "batch_stats"}
    assert system_file.digest_of(run) == system_file.digest_of(folder)


def test_what_lies_in_the_folder(exported):
    run, folder = exported
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert names == {
        "model.safetensors",
        "config.json",
        "README.md",
        "system.json",
        "results.csv",
        "report.txt",
        "scores/val.csv",
        "scores/test.csv",
    }
    assert score_table.read(folder / "scores" / "test.csv") == score_table.read(run / "scores" / "test.csv")
    card = (folder / "README.md").read_text()
    (row,) = hand_written.table(run / "results.csv")
    for words in (
        "# run\n",
        "--model=best_3dresnet",
        f"| AUC | {float(row['AUC']):.4g} |",
        "means nothing",
        "| Clips | 48 |",
    ):
        assert words in card
    system = system_file.read(folder / "system.json")
    assert [member.run for member in system.members] == ["."] and system == system_file.of_run(folder)


def test_again_changes_nothing_and_other_weights_do(exported, tmp_path):
    run, _ = exported
    folder = tmp_path / "best_3dresnet"
    models.export(run, folder)
    (folder / "mine.txt").write_text("kept")
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir() if path.is_file()}
    models.export(run, folder)
    after = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir() if path.is_file()}
    assert before == after and before["model.safetensors"][0] == (exported[1] / "model.safetensors").read_bytes()
    hand_written.put(tmp_path / "other", seed=1)
    models.export(tmp_path / "other", folder)
    assert (folder / "model.safetensors").read_bytes() != before["model.safetensors"][0]
    assert (folder / "mine.txt").read_text() == "kept"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_fusion_takes_it_wherever_a_run_is(exported):
    made = [members._existing("model", {"run": str(place)}, ()) for place in exported]
    for member in made:
        assert member.label == "video_label" and member.costs["parameters_m"] == 0.1
        assert member.costs["inference_ms"] == 2.5
    assert made[0].costs.keys() == made[1].costs.keys()
    assert run_directory.is_finished(exported[1]) and (exported[1] / "report.txt").read_text() == "report on run\n"


def refused(folder, match):
    with pytest.raises(ValueError, match=match) as error:
        best_model.load(folder, json.loads((folder / "config.json").read_text()))
    assert "\n" not in str(error.value) and str(folder / exported_model.WEIGHTS) in str(error.value)


def test_tampered_weights_are_refused(copy):
    path = copy / exported_model.WEIGHTS
    raw = path.read_bytes()
    damaged = {
        raw[:-1] + bytes([raw[-1] ^ 1]): r"damaged: 1 of \d+ arrays are not what was saved",
        raw.replace(b'\\"best_step\\": 6', b'\\"best_step\\": 7'): "damaged: its metadata is not what was saved",
        raw[: len(raw) // 2]: "not a whole safetensors file",
        b"": "not a whole safetensors file",
    }
    assert len(damaged) == 4 and raw not in damaged
    for content, message in damaged.items():
        path.write_bytes(content)
        refused(copy, message)


def test_other_programs_and_versions_files_are_refused(exported, copy, monkeypatch):
    path = copy / exported_model.WEIGHTS
    with safetensors.safe_open(path, "numpy") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
    first = min(tensors)
    safetensors_numpy.save_file(tensors, path)
    refused(copy, "no key 'checkpoint' in its metadata")
    safetensors_numpy.save_file(tensors, path, {"checkpoint": "{"})
    refused(copy, "damaged: its metadata is not JSON")
    for content in ([], ["sha256"], None, 3, "text"):
        safetensors_numpy.save_file(tensors, path, {"checkpoint": json.dumps(content)})
        refused(copy, "damaged: expected an object as its metadata, found ")
    whole = {**exported_model.contents(exported[1]), "schema": 2}
    for change in ({"info": []}, {"info": {"best": 1}}, {"arrays": None}, {"arrays": {"x": {"dtype": "int8"}}}):
        content = {**whole, **change}
        content["sha256"] = exported_model.checkpoints.digest(content)
        safetensors_numpy.save_file(tensors, path, {"checkpoint": json.dumps(content)})
        refused(copy, "damaged: its metadata lacks `info` or `arrays`")
    safetensors_numpy.save_file({**tensors, "params/more": np.zeros(1)}, path, metadata)
    refused(copy, "damaged: params/more is missing or not in its list")
    safetensors_numpy.save_file({name: x for name, x in tensors.items() if name != first}, path, metadata)
    refused(copy, f"damaged: {first} is missing")
    safetensors_numpy.save_file({**tensors, first: tensors[first].astype(np.float64)}, path, metadata)
    refused(copy, "damaged: 1 of ")
    safetensors_numpy.save_file(tensors, path, metadata)
    monkeypatch.setattr(exported_model.checkpoints, "SCHEMA", 3)
    refused(copy, "of schema 2; this program reads schema 3")


def test_a_config_of_another_model_is_refused(copy):
    config = json.loads((copy / "config.json").read_text())
    config["model"]["encoders"]["video"]["width"] = 12
    (copy / "config.json").write_text(json.dumps(config))
    refused(copy, r"of another model than .*config\.json says \(.* expected float32\[.*, found float32\[")


def test_an_unfinished_run_is_not_exported(tmp_path):
    hand_written.put(tmp_path / "run")
    (tmp_path / "run" / "results.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"run: no results\.csv: the run is not finished; start it again"):
        models.export(tmp_path / "run", tmp_path / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
