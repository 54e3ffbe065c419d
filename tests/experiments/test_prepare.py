"""The prepare command, and `ensure` as the main command uses it."""

import os
import pathlib
import shutil
import subprocess
import sys

import av
import cv2
import numpy as np
import pytest
from ml_collections import ConfigDict

from data_pipelines import cache
from data_pipelines.prepare import folds, records
from experiments import experiment, prepare

ROOT = pathlib.Path(prepare.__file__).parent.parent


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Six clips of three people with landmarks beside them, and one file that is none."""
    folder = tmp_path_factory.mktemp("data")
    rows = ["path,label,method,identity,landmarks_path"]
    for i in range(6):
        with av.open(str(folder / f"{i}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
            stream.width = stream.height = 64
            stream.pix_fmt = "yuv420p"
            for j in range(10):
                picture = np.full((64, 64, 3), 20 * j + i, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        points = np.random.default_rng(i).uniform(20, 44, (10, 68, 2))
        np.savez(folder / f"{i}.npz", landmarks=points, times=np.arange(10) / 25)
        rows.append(f"{i}.mp4,{i % 2},{'swap' if i % 2 else 'real'},p{i // 2},{i}.npz")
    (folder / "bad.mp4").write_text("hello")
    rows.append("bad.mp4,0,real,p0,")
    (folder / "manifest.csv").write_text("\n".join(rows))
    return folder / "manifest.csv"


def data(table, **fields):
    crops = {"face_size": 32, "mouth_size": 32}
    known = {"name": "folder", "root": "", "manifest": str(table), "out": "", "options": {}, "crops": crops}
    return ConfigDict(known | fields)


def test_ensure_prepares_once(manifest, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("MMDF_JAX_CACHE", str(tmp_path / "cache"))
    folder = prepare.ensure(data(manifest), workers=2)
    assert folder.parent == tmp_path / "cache" / "records"
    assert folder.name.startswith("folder-")
    splits = {split: len(records.Records(folder, split)) for split in ("train", "val", "test")}
    assert splits == {"train": 2, "val": 2, "test": 2}
    prepare.warn_of_clips_without_record(folder)
    assert "1 of 7 clips have no record, so no score either (undecodable 1)" in caplog.text
    missing = [clip for split in splits for clip in records.read_without_record(folder, split)]
    assert [(clip.identity, status) for clip, status in missing] == [("p0", "undecodable")]
    monkeypatch.setattr(records, "_prepare", None)
    assert prepare.ensure(data(manifest)) == folder
    with pytest.raises(TypeError):  # other crops are other records
        prepare.ensure(data(manifest, crops={"face_size": 40}))


def test_moved_and_foreign_data(manifest, tmp_path, monkeypatch):
    monkeypatch.setenv("MMDF_JAX_CACHE", str(tmp_path / "cache"))
    shutil.copytree(manifest.parent, tmp_path / "here")
    made = prepare.ensure(data(tmp_path / "here" / "manifest.csv"), workers=2)
    (tmp_path / "here").rename(tmp_path / "there")
    moved = data(tmp_path / "there" / "manifest.csv")
    assert prepare.ensure(moved) == made
    whole = prepare.ensure(moved, whole="test", workers=2)
    assert whole != made and len(records.Records(whole, "test")) == 6
    (tmp_path / "copy").mkdir()  # other files of the same names
    for path in (tmp_path / "there").iterdir():
        (tmp_path / "copy" / path.name).write_bytes(path.read_bytes())
    assert prepare.ensure(data(tmp_path / "copy" / "manifest.csv"), workers=2) not in (made, whole)
    assert records.read_header(made)


def test_a_run_goes_on_from_its_records_where_the_raw_data_are_gone(manifest, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("MMDF_JAX_CACHE", str(tmp_path / "cache"))
    shutil.copytree(manifest.parent, tmp_path / "raw")
    config = {"data": data(tmp_path / "raw" / "manifest.csv"), "folds": 0}
    (tmp_path / "run").mkdir()
    made = experiment.prepare_records(config, tmp_path / "run")
    shutil.rmtree(tmp_path / "raw")
    assert experiment.prepare_records(config, tmp_path / "run") == made
    (tmp_path / "other").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no such manifest; .*config\.data\.out"):
        experiment.prepare_records(config, tmp_path / "other")


def test_without_a_home_folder_it_is_told_what_to_set(monkeypatch):
    monkeypatch.delenv("MMDF_JAX_CACHE", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(ValueError, match="no home folder; set MMDF_JAX_CACHE"):
        cache.root()


def test_folds_deal_out_the_clips_without_a_record_too(manifest, tmp_path):
    folder = prepare.ensure(data(manifest, out=str(tmp_path / "out")), workers=2)
    opened = [folds.open_fold(folder, 3, fold) for fold in (1, 2, 3)]
    for side in ("train", "val", "test"):
        for fold, sides in enumerate(opened, 1):
            people = {entry.clip.identity for entry in sides[side].index}
            missing = experiment.without_record({"folds": 3, "fold": fold, "data": {}}, folder, side)
            assert [(clip.identity, status) for clip, status in missing] == [("p0", "undecodable")] * ("p0" in people)
    assert sum(len(sides["test"]) for sides in opened) == 6


def test_a_fold_without_any_record_is_told(manifest, tmp_path):
    folder = manifest.parent
    rows = [f"{folder}/{i}.mp4,{i % 2},p{i // 2},{folder}/{i}.npz" for i in range(4)]
    (tmp_path / "clips.csv").write_text(
        "\n".join(["path,label,identity,landmarks_path", *rows, f"{folder}/bad.mp4,0,p2,"])
    )
    out = prepare.ensure(data(tmp_path / "clips.csv", out=str(tmp_path / "out")), workers=2)
    with pytest.raises(
        ValueError, match=r"config\.folds=3: fold 1 has no clip with a record to be its .* part: .*prepare_report"
    ):
        folds.open_fold(out, 3, 1)


def test_ensure_takes_finished_records_as_they_are(manifest, tmp_path):
    out = tmp_path / "out"
    assert prepare.ensure(data(manifest, out=str(out)), workers=1) == out
    assert prepare.ensure(data("", out=str(out))) == out
    with pytest.raises(FileNotFoundError, match="no prepared records"):
        prepare.ensure(data("", out=str(tmp_path)))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "imagenet"}, "no dataset 'imagenet'; known: .*folder.*talking_heads"),
        ({"name": "../evil"}, "must be a module path"),
        ({"name": "os.path"}, "outside the allowed packages"),
        ({"options": {"speed": 3}}, "datasets.folder has no field speed; known: root, manifest"),
        ({"crops": {"size": 3}}, "crops has no field size; known: face, face_size"),
        ({"manifest": ""}, "needs config.data.manifest"),
    ],
)
def test_mistakes_in_a_config(manifest, fields, words):
    with pytest.raises(ValueError, match=words) as error:
        prepare.ensure(data(manifest, **fields))
    assert "\n" not in str(error.value)


def test_shares():
    assert [prepare.share(text) for text in ("0.01", "1%", " 20 %", "1", "0")] == [0.01, 0.01, 0.2, 1.0, 0.0]
    for text in ("", "-1", "200%", "1.2.3", "few"):
        with pytest.raises(ValueError, match="expected a share"):
            prepare.share(text)


def command(*arguments, limit=""):
    line = [sys.executable, "-m", "experiments.prepare", *map(str, arguments)]
    shell = ["bash", "-c", f'{limit} exec "$@"', "bash", *line]
    return subprocess.run(shell, cwd=ROOT, capture_output=True, text=True)


CROPS = '--crops={"face_size": 32, "mouth_size": 32}'


def test_the_command_tells_what_it_made(manifest, tmp_path):
    out = tmp_path / "out"
    done = command(f"--manifest={manifest}", f"--out={out}", CROPS)
    assert done.returncode == 0, done.stderr
    for words in ("7 clips, 6 records", "real 4, fake 3", "no_audio 6, undecodable 1", "bad.mp4", "prepare_report.csv"):
        assert words in done.stdout
    sheet = cv2.imread(str(out / "contact_sheet.png"))
    assert sheet.shape[0] > 500
    assert sheet.shape[1] > 900
    assert command(f"--manifest={manifest}", f"--out={out}", CROPS).stdout == done.stdout


def test_two_processes_share_one_preparation(manifest, tmp_path):
    line = [sys.executable, "-m", "experiments.prepare", f"--manifest={manifest}", f"--out={tmp_path / 'out'}", CROPS]
    both = [subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    outputs = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]
    assert sum(b"100%" in errors for _, errors in outputs) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--manifest=none.csv"], "no such manifest"),
        (["--crops={"], "--crops='{' is not JSON"),
        (["--max_bad=few"], "expected a share"),
        (["--root=/nowhere"], "no such folder"),
        (["--pipeline_options={}"], "they need --runner"),
        (["--runner=direct", "--pipeline_options=fast"], "--pipeline_options='fast' is not JSON"),
        (["--manifest={manifest}", "--yunet=none.onnx"], "crops.yunet='none.onnx': there is no such file"),
        (["--manifest={manifest}", "--yunet={manifest}"], "expected the ONNX file of OpenCV's YuNet"),
    ],
)
def test_mistakes_on_the_command_line(manifest, arguments, words):
    done = command(*(argument.format(manifest=manifest) if "{m" in argument else argument for argument in arguments))
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_budget_for_bad_clips(manifest, tmp_path):
    done = command(f"--manifest={manifest}", f"--out={tmp_path / 'out'}", CROPS, "--max_bad=10%")
    assert done.returncode == 1
    assert "1 of 7 clips cannot be used (limit 10%)" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_clip_longer_than_max_seconds_is_not_read(manifest, tmp_path):
    done = command(f"--manifest={manifest}", f"--out={tmp_path / 'out'}", CROPS, "--max_seconds=0.3", "--workers=1")
    assert done.returncode == 1 and "7 of 7 clips cannot be used" in done.stderr
    assert "too_large, 0.4 s, limit 0.3 s (crops.max_seconds; --max_seconds of experiments.prepare)" in done.stderr


def test_a_full_disk_is_one_line(manifest, tmp_path):
    done = command(f"--manifest={manifest}", f"--out={tmp_path / 'out'}", CROPS, limit="ulimit -f 4;")
    assert done.returncode == 1
    assert "cannot write the records" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
