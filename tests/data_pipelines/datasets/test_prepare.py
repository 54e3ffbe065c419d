"""Readers through the prepare command, from tiny real files to records."""

import inspect
import pathlib
import subprocess
import sys

import cv2
import numpy as np
import pytest

from data_pipelines.datasets import folder
from data_pipelines.prepare import records
from experiments import prepare

ROOT = pathlib.Path(prepare.__file__).parents[1]
NAMES = sorted(path.stem for path in pathlib.Path(folder.__file__).parent.glob("[a-z]*.py"))
CROPS = {"face": "whole", "mouth": False, "face_size": 32}


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"folder", "talking_heads"}))
def test_every_reader_takes_a_root_and_options_by_name(name, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        prepare.read_clips(name, {"root": str(tmp_path / "none")})
    with pytest.raises(ValueError, match=f"datasets.{name} has no field no_such_option; known: root"):
        prepare.read_clips(name, {"root": str(tmp_path), "no_such_option": 1})
    read = sys.modules[f"data_pipelines.datasets.{name}"].read
    first, *options = inspect.signature(read).parameters.values()
    assert (first.name, first.default) == ("root", inspect.Parameter.empty)
    assert all(option.kind == option.KEYWORD_ONLY for option in options)
    assert read.__doc__


def test_video_with_sound_apart_and_folders_of_pictures(tree, write_media, tmp_path):
    fakes, reals = tree.root / "DeepfakeTIMIT/lower_quality", tree.root / "VidTIMIT"
    times = np.arange(10) / 25
    for person, other in (("fadg0", "fram1"), ("fram1", "fadg0")):
        for sentence in ("sa1", "si9"):
            sound, pictures = reals / person / "audio", reals / person / "video" / sentence
            for new in (fakes / person, sound, pictures):
                new.mkdir(parents=True, exist_ok=True)
            write_media(fakes / person / f"{sentence}-video-{other}.avi", times=times, rate=0, bframes=0)
            for file in (fakes / person / f"{sentence}.wav", sound / f"{sentence}.wav"):
                write_media(file, rate=16000, seconds=0.5, audio_codec="pcm_s16le", click=0.1)
            for i in range(10):
                image = cv2.imencode(".jpg", np.full((64, 64, 3), 20 * i, np.uint8))[1]
                (pictures / f"{i + 1:03d}").write_bytes(image.tobytes())
    data = {"name": "df_timit", "root": str(tree.root / "DeepfakeTIMIT"), "options": {"vidtimit": str(reals)}}
    data |= {"out": str(tmp_path / "out"), "crops": CROPS}
    out = prepare.ensure(data, workers=1)
    assert [row["status"] for row in records.read_report(out)] == ["ok"] * 8
    stored = records.Records(out, records.read_index(out)[0][0])
    real = next(record for record in (stored[i] for i in range(len(stored))) if record["clip"].label == 0)
    assert (len(real["frames"]), len(real["audio"]), real["codecs"]) == (10, 6400, "mjpeg")
    shades = [cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR).mean() for image in real["frames"]]
    assert shades == pytest.approx(20 * np.arange(10), abs=3)


def test_the_command_on_a_dataset_of_sound(tree, write_media):
    flac = tree.root / "LA/ASVspoof2019_LA_{}/flac"
    for part, list_ in (("train", "train.trn"), ("dev", "dev.trl"), ("eval", "eval.trl")):
        pathlib.Path(str(flac).format(part)).mkdir(parents=True)
        rows = [f"LA_1 {part}_0 - - bonafide\n", f"LA_1 {part}_1 - A01 spoof\n", f"LA_1 {part}_2 - A01 spoof\n"]
        tree.add(f"LA/ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.{list_}.txt", text="".join(rows))
        for i in range(2):
            path = pathlib.Path(str(flac).format(part)) / f"{part}_{i}.flac"
            write_media(path, rate=16000, seconds=0.5, audio_codec="flac")
    command = [sys.executable, "-m", "experiments.prepare", "--dataset=asvspoof2019", f"--root={tree.root}"]
    done = subprocess.run([*command, f"--out={tree.root / 'out'}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "6 clips, 6 records" in done.stdout
    assert "val 2, test 2, train 2" in done.stdout
    assert "asvspoof2019: val: found 2, expected 3, missing 1" in done.stderr
    done = subprocess.run([*command[:-1], f"--root={tree.root / 'out'}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "not the layout of asvspoof2019" in done.stderr
