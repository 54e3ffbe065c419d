"""The sync command: what it says of files, and of records with an oracle in the network's place."""

import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys
import types

import av
import cv2
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines.clip import Clip, read_manifest
from data_pipelines.loading.loader import Loaded
from data_pipelines.prepare import extract
from experiments import sync
from mmdf_jax.tasks import lip_sync

ROOT = pathlib.Path(sync.__file__).parent.parent
DATA = {"window": 1.6, "streams": {"mouth": {"fps": 25.0, "size": 8}, "audio": {}}, "threads": 0}


@dataclasses.dataclass(frozen=True)
class Row:
    clip: Clip
    frames: int
    audio_samples: int
    status: str = "ok"


class Spoken(Loaded):
    """One clip whose sound in each 40 ms spells the mouth's 64 pixels, `late` frames later."""

    def __init__(self, frames=100, late=0, gain=1.0, speaker="only"):
        mouths = np.random.default_rng(0).integers(0, 255, (frames, 8, 8), np.uint8)
        spelled = np.repeat((mouths.reshape(frames, 64).astype(float) - 127) * 60 * gain, 10, axis=1).ravel()
        self.record = {
            "mouth": [cv2.imencode(".png", mouth)[1].tobytes() for mouth in mouths],
            "frames": [],
            "found": np.ones(frames, np.uint8),
            "audio": np.roll(spelled, 640 * late).astype(np.int16),
            "speaker": speaker,
        }
        self.index = [Row(Clip("a", "a.mp4", 0), frames, 640 * frames)]

    def __len__(self):
        return 1

    def __getitem__(self, i):
        return self.record


def oracle():
    """A run that reads the spelling."""
    task = lip_sync.Task()

    def predict(variables, batch):
        lips = batch["mouth"].reshape(*batch["mouth"].shape[:2], 64) - 127.0
        sound = batch["audio"].reshape(len(lips), -1, 64, 10)[..., 5].astype(float)
        steps = {
            name: x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-6)
            for name, x in (("mouth", lips), ("audio", sound))
        }
        valid = batch["mouth_valid"] & batch["audio_valid"]
        outputs = {
            "steps": {k: jnp.array(v) for k, v in steps.items()},
            "valid": jnp.array(valid),
            "scale": jnp.float32(10),
            "baselines": {},
        }
        found = task.outputs(outputs, batch)
        return {**{name: batch[name] for name in ("mask", "window_start", "clip_index")}, **found}

    config = {"data": DATA, "evaluate": {"batch_size": 4}}
    return types.SimpleNamespace(config=config, task=task, predict=predict, variables={})


@pytest.mark.parametrize(("late", "word"), [(0, "in step"), (3, "the sound is late"), (-5, "the sound is early")])
def test_the_offset_is_positive_where_the_sound_is_late(late, word):
    found = sync._measure(oracle(), Spoken(late=late), "a.mp4")
    assert found.offset == late and found.confidence > 0.5 and found.coverage == 1
    assert f"offset {late:+d} frames ({late / 25:+.2f} s, {word})" in found.line()
    assert len(found.timeline) == 100 and found.windows[-1][0] == pytest.approx(2.4)
    assert {offset for _, offset, _ in found.windows} == {late}
    assert json.loads(json.dumps(found.as_json()))["offset_frames"] == late


def test_what_is_written_can_be_read_again(tmp_path):
    known = dataclasses.replace(sync._measure(oracle(), Spoken(late=3), "a.mp4"), path=str(tmp_path / "a.mp4"))
    outputs = {"table": tmp_path / "t.json", "manifest": tmp_path / "m.csv", "figures": tmp_path / "f"}
    sync.write([known, sync.Found("b.mp4", "no face")], **{name: str(path) for name, path in outputs.items()})
    (one, other) = json.loads(outputs["table"].read_text())
    assert one["offset_seconds"] == pytest.approx(0.12) and other == {"path": "b.mp4", "problem": "no face"}
    (clip,) = read_manifest(outputs["manifest"])
    assert (clip.path, clip.audio_offset) == (str(tmp_path / "a.mp4"), 0.12)
    (figure,) = outputs["figures"].iterdir()
    assert figure.name == "000-a.png" and figure.stat().st_size > 10_000


def test_what_cannot_be_measured_is_told():
    run = oracle()
    assert sync._measure(run, Spoken(gain=0.0), "a").line() == "a: no voice: silence"
    assert sync._measure(run, Spoken(frames=8), "a").problem == "too short: 0.32 s of face and sound, 1.16 s are needed"
    still = Spoken()
    still.record["mouth"] = still.record["mouth"][:1] * 100
    assert sync._measure(run, still, "a").problem == "the mouth does not move with a voice"
    assert "of several faces" in sync._measure(run, Spoken(speaker="sound"), "a").line()


def test_an_offset_is_claimed_only_with_the_confidence_of_the_models_own_clips(tmp_path):
    found = sync._measure(oracle(), Spoken(late=3), "a.mp4", least=2.0)
    assert not found.sure and not found.as_json()["sure"]
    assert re.fullmatch(r"a\.mp4: no clear offset: confidence .*, below 2\.000; best guess \+3 frames", found.line())
    sync.write([found], table="", manifest=str(tmp_path / "m.csv"), figures="")
    assert not (tmp_path / "m.csv").exists()


def test_half_a_silence_is_left_out():
    half = Spoken(frames=200)
    half.record["audio"][100 * 640 :] = 0
    found = sync._measure(oracle(), half, "a")
    assert found.offset == 0 and 0.4 < found.coverage < 0.8


def film(path, sound=None, seconds=2):
    """A grey film without a face; sound: samples [s] or None."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.width = video.height = 96
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=16000, layout="mono") if sound is not None else None
        for i in range(25 * seconds):
            picture = np.full((96, 96, 3), 60 + i, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
        if audio:
            frame = av.AudioFrame.from_ndarray(np.float32(sound)[None], format="fltp", layout="mono")
            frame.sample_rate = 16000
            container.mux(audio.encode(frame))
            container.mux(audio.encode())
    return path


def command(*arguments):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    line = [sys.executable, "-m", "experiments.sync", *map(str, arguments)]
    return subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def test_without_a_model_the_command_names_the_one_that_makes_it(tmp_path):
    done = command(film(tmp_path / "a.mp4"), f"--model={tmp_path / 'none'}")
    assert done.returncode == 1
    assert done.stderr.strip().endswith(f"no trained run there; train one with: {sync.TRAIN}")


def test_each_bad_file_gets_a_line(tmp_path, monkeypatch):
    from experiments import best_model

    monkeypatch.setattr(best_model, "load", lambda *_: oracle())
    config = {"data": {**DATA, "crops": {}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "text.mp4").write_text("hello")
    noise = np.random.default_rng(0).normal(size=32000) * 0.1
    files = [
        film(tmp_path / "mute.mp4"),
        film(tmp_path / "empty.mp4", noise),
        tmp_path / "text.mp4",
        tmp_path / "gone.mp4",
    ]
    mute, faceless, text, gone = sync.of_files([str(f) for f in files], tmp_path)
    assert "no face" in mute.problem or "no sound" in mute.problem
    assert faceless.problem.startswith("no face")
    assert text.problem.startswith("undecodable")
    assert gone.problem == "there is no such file"
    assert all("\n" not in one.line() and one.as_json()["problem"] for one in (mute, faceless, text, gone))
    assert [one.problem for one in sync.of_files([str(files[0])], tmp_path)] == [mute.problem]
    with pytest.raises(ValueError, match="named twice"):
        sync.of_files([str(files[0])] * 2, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"data": {"streams": {"image": {}}}}))
    with pytest.raises(ValueError, match="found one of another experiment"):
        sync.of_files(["a"], tmp_path)


@pytest.mark.parametrize("late", [0.2, -0.2])
def test_preparation_makes_the_offset_of_a_manifest_good(tmp_path, late):
    noise = np.random.default_rng(0).normal(size=32000) * 0.1
    path = film(tmp_path / "a.mp4", noise)
    (tmp_path / "m.csv").write_text(f"path,label,audio_offset\na.mp4,0,{late}\n")
    (clip,) = read_manifest(tmp_path / "m.csv")
    crops = extract.Crops(face="whole", mouth=False, face_size=16)
    records = [
        np.frombuffer(extract.extract(extract.Job(one, crops)).record["audio"], np.int16)
        for one in (Clip("a", str(path), 0), clip)
    ]
    plain, moved = (record.astype(float) for record in records)
    n = round(abs(late) * 16000)
    if late > 0:
        np.testing.assert_array_equal(moved, plain[n:])
    else:
        assert not moved[:n].any() and len(moved) == len(plain)
        np.testing.assert_array_equal(moved[n:], plain[:-n])


def test_an_offset_that_is_no_time_is_refused(tmp_path):
    (tmp_path / "m.csv").write_text("path,label,audio_offset\na.mp4,0,soon\n")
    with pytest.raises(ValueError, match="line 2: audio_offset is 'soon', expected seconds from -60 to 60"):
        read_manifest(tmp_path / "m.csv")
