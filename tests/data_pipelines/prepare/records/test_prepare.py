"""Preparing clips: once, again, after being killed, and when files are bad."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
from prepared_clips import CROPS, clip_of, image

from data_pipelines.clip import Clip
from data_pipelines.prepare import child_processes, extract, record_files, records
from experiments import prepare
from experiments.figures import contact_sheet


def test_a_second_time_nothing_is_done(prepared, clips, monkeypatch):
    monkeypatch.setattr(child_processes, "run", None)
    assert records.prepare(clips, prepared, crops=CROPS) == prepared


def test_stale_records_are_made_again(tmp_path, talking_clip):
    path = talking_clip(tmp_path, "a")
    clip = clip_of(path, split="train")
    out = records.prepare([clip], tmp_path / "out", crops=CROPS, workers=1)
    assert records.is_fresh(out, [clip], CROPS)
    assert not records.is_fresh(out, [dataclasses.replace(clip, label=1)], CROPS)
    assert not records.is_fresh(out, [clip], dataclasses.replace(CROPS, margin=0.5))
    assert not records.is_fresh(tmp_path / "none", [clip], CROPS)
    os.utime(path, ns=(1, 1))
    assert not records.is_fresh(out, [clip], CROPS)
    other = dataclasses.replace(CROPS, face_size=32)
    assert records.prepare([clip], out, crops=other, workers=1) == out
    assert image(records.Records(out, "train")[0]["frames"][0]).shape == (32, 32, 3)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.mp4", "a.npz", "out"]
    path.unlink()
    assert records.is_fresh(out, [clip], other)  # raw files may be deleted afterwards


def test_a_killed_run_goes_on(tmp_path, clips, monkeypatch):
    real = child_processes.run

    def killed(function, items, **options):
        running = real(function, items, **options)
        yield next(running)
        yield next(running)
        running.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(child_processes, "run", killed)
    with pytest.raises(KeyboardInterrupt):
        records.prepare(clips, tmp_path / "out", crops=CROPS, workers=1)
    assert not (tmp_path / "out").exists()
    done = []
    monkeypatch.setattr(
        child_processes, "run", lambda function, items, **o: (done.extend(items), real(function, items, **o))[1]
    )
    records.prepare(clips, tmp_path / "out", crops=CROPS, workers=1)
    assert len(done) == 3
    assert len(records.Records(tmp_path / "out", "train")) == 3


def test_bad_clips_cost_themselves_only(tmp_path, talking_clip, write_media):
    good = [clip_of(talking_clip(tmp_path, name), split="test") for name in "ab"]
    silent = write_media(tmp_path / "silent.mp4", times=np.arange(25) / 25, rate=0)
    np.savez(silent.with_suffix(".npz"), **np.load(good[0].landmarks_path))
    write_media(tmp_path / "sound.wav", audio_codec="pcm_s16le")
    write_media(tmp_path / "blank.mp4", times=np.arange(10) / 25)
    cut = tmp_path / "cut.mp4"
    noise = np.random.default_rng(0).integers(0, 255, (50, 64, 64, 3), np.uint8)
    options = {"movflags": "+faststart"}
    whole = write_media(tmp_path / "whole.mp4", times=np.arange(50) / 25, images=noise, options=options)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    np.savez(cut.with_suffix(".npz"), **np.load(good[0].landmarks_path))
    (tmp_path / "text.mp4").write_text("hello")
    (tmp_path / "empty.mp4").write_bytes(b"")
    lost = talking_clip(tmp_path, "lost")
    lost.with_suffix(".npz").write_text("broken")
    odd = tmp_path / os.fsdecode("line\nbreak 😀 \xff'.mp4".encode("latin-1", "ignore") + b"\xfe.mp4")
    os.link(good[0].path, odd)
    names = ["silent.mp4", "sound.wav", "blank.mp4", "cut.mp4", "text.mp4", "empty.mp4", "none.mp4", "lost.mp4"]
    others = [clip_of(tmp_path / name, split="test") for name in names]
    strange = Clip("t/odd", str(odd), 0, landmarks_path=good[0].landmarks_path, split="test")
    out = records.prepare([good[0], *others, strange, good[1]], tmp_path / "out", crops=CROPS, workers=2)
    status = {os.path.basename(row["path"]): row["status"] for row in records.read_report(out)}
    assert status == {
        "a.mp4": "ok",
        "silent.mp4": "no_audio",
        "sound.wav": "no_video",
        "blank.mp4": "no_face",
        "cut.mp4": "truncated",
        "text.mp4": "undecodable",
        "empty.mp4": "undecodable",
        "none.mp4": "missing",
        "lost.mp4": "error",
        odd.name: "ok",
        "b.mp4": "ok",
    }
    assert all(row["reason"] and "\n" not in row["reason"] for row in records.read_report(out) if row["status"] != "ok")
    source = records.Records(out, "test")
    kept = {os.path.basename(row.clip.path): i for i, row in enumerate(source.index)}
    assert list(kept) == ["a.mp4", "silent.mp4", "sound.wav", "blank.mp4", "cut.mp4", odd.name, "b.mp4"]
    presence = {name: (source[i]["video_present"], source[i]["audio_present"]) for name, i in kept.items()}
    assert presence["silent.mp4"] == (1, 0)
    assert presence["sound.wav"] == (0, 1)
    assert presence["blank.mp4"] == (0, 1)
    assert source[kept["sound.wav"]]["frames"] == []
    assert source.index[kept["sound.wav"]].duration == 3.0
    assert source[kept[odd.name]]["clip"] == strange


def test_too_many_bad_clips_are_an_error(tmp_path, clips):
    missing = [Clip(f"t/{i}", str(tmp_path / f"{i}.mp4"), 0, split="train") for i in range(5)]
    with pytest.raises(ValueError, match=r"5 of 10 clips cannot be used \(limit 20%\)") as error:
        records.prepare([*clips, *missing], tmp_path / "out", crops=CROPS, workers=2, max_bad=0.2)
    assert str(tmp_path / "0.mp4") in str(error.value)
    assert str(error.value).endswith("prepare_report.csv")
    assert not (tmp_path / "out").exists()
    records.prepare([*clips, *missing], tmp_path / "out", crops=CROPS, workers=2, max_bad=0.5)
    with pytest.raises(ValueError, match="5 of 5 clips"):
        records.prepare(missing, tmp_path / "nothing", crops=CROPS, workers=2)


def test_clips_left_out_for_crossing_splits_are_reported(tmp_path, clips, monkeypatch):
    monkeypatch.setattr(records.splits, "assign", lambda clips: clips[:2])
    out = records.prepare(clips[:3], tmp_path / "out", crops=CROPS, max_bad=0)
    *_, crossing = report = records.read_report(out)
    assert [row["status"] for row in report] == ["ok", "ok", "crosses_splits"]
    assert (crossing["clip_id"], crossing["record"]) == (clips[2].clip_id, "0")
    assert len(contact_sheet.write(out)) == 1
    assert "crosses_splits 1" in prepare.summary(out)


def test_one_clip_id_for_two_clips_is_an_error(tmp_path, clips):
    with pytest.raises(ValueError, match=r"the first is 't/a\.mp4'"):
        records.prepare([clips[0], dataclasses.replace(clips[1], clip_id=clips[0].clip_id)], tmp_path / "out")


def test_a_crash_in_the_decoder_is_a_status(tmp_path, clips, monkeypatch):
    failures = [child_processes.Failure(kind, "why") for kind in ("crash", "memory", "time", "error")]
    outcome = extract.extract(extract.Job(clips[0], CROPS))
    monkeypatch.setattr(child_processes, "run", lambda *_, **__: (pair for pair in enumerate([outcome, *failures])))
    out = records.prepare(clips, tmp_path / "out", crops=CROPS)
    assert [row["status"] for row in records.read_report(out)] == ["ok", "crashed", "too_large", "timeout", "error"]
    assert {"crashed", "too_large", "timeout", "error"} <= set(extract.BAD)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_bomb_is_refused_in_little_memory(tmp_path):
    """8192² pixels in a file of a few kB; the whole process stays below 512 MiB."""
    code = """
import fractions, sys
import av
with av.open(sys.argv[1], "w") as container:
    stream = container.add_stream("png", rate=25)
    stream.width = stream.height = 8192
    stream.pix_fmt = "gray"
    frame = av.VideoFrame(8192, 8192, "gray")
    frame.pts, frame.time_base = 0, fractions.Fraction(1, 25)
    container.mux(stream.encode(frame))
    container.mux(stream.encode())
"""
    path = tmp_path / "bomb.mov"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    look = """
import pathlib, sys
from data_pipelines.prepare import extract
from data_pipelines.clip import Clip
outcome = extract.extract(extract.Job(Clip("bomb", sys.argv[1], 0), extract.CROPS))
status = pathlib.Path("/proc/self/status").read_text()  # ru_maxrss would begin with the parent's peak
print(outcome.status, int(status.split("VmHWM:")[1].split()[0]) >> 10)
"""
    done = subprocess.run([sys.executable, "-c", look, str(path)], check=True, capture_output=True, text=True)
    status, peak = done.stdout.split()
    assert status == "too_large"
    assert int(peak) < 512


def test_the_same_records_are_the_same_bytes(tmp_path, clips, prepared):
    """Also from another process, in which hashes of strings are others."""
    code = f"""
from data_pipelines.prepare import records
from data_pipelines.clip import Clip
records.prepare([{", ".join(map(repr, clips))}], {str(tmp_path / "again")!r}, crops=records.{CROPS!r}, workers=2)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    files = [path.relative_to(prepared) for path in prepared.rglob("*") if path.is_file()]
    assert len(files) > 6
    for path in files:
        assert (tmp_path / "again" / path).read_bytes() == (prepared / path).read_bytes(), path


def test_digests_tell_clips_and_crops_apart(clips):
    key = record_files.digest(clips, CROPS)
    assert key == record_files.digest(list(clips), records.Crops(face_size=48, mouth_size=32))
    others = [(clips[:-1], CROPS), (clips[::-1], CROPS), (clips, records.Crops())]
    assert len({key, *(record_files.digest(*what) for what in others)}) == 4


def test_no_heavy_imports():
    code = (
        "import sys; from data_pipelines.prepare import extract, records; "
        "print([m for m in sys.argv[1:] if m in sys.modules])"
    )
    heavy = ["jax", "tensorflow", "torch", "pandas", "tensorflow_datasets", "dlib", "matplotlib"]
    done = subprocess.run([sys.executable, "-c", code, *heavy], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
