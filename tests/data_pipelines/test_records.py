"""Preparing clips and reading them back, also when things go wrong."""

import dataclasses
import functools
import json
import os
import pickle
import subprocess
import sys

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_pipelines import extract, faces, guard, media, record_files, records
from data_pipelines.clip import Clip
from data_pipelines.record import Layout
from data_pipelines.windows import BadRecord

CROPS = records.Crops(face_size=48, mouth_size=32)


def clip_of(path, label=0, **fields):
    landmarks = str(path.with_suffix(".npz")) if path.with_suffix(".npz").exists() else ""
    return Clip(f"t/{path.name}", str(path), label, landmarks_path=landmarks, dataset="t", **fields)


@pytest.fixture(scope="module")
def clips(tmp_path_factory, talking_clip):
    folder = tmp_path_factory.mktemp("clips")
    names = [("a", "train"), ("b", "val"), ("c", "train"), ("d", "test"), ("e", "train")]
    return [
        clip_of(talking_clip(folder, name, 1.0 + 0.2 * i, i), i % 2, split=split, identity=name)
        for i, (name, split) in enumerate(names)
    ]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, clips):
    return records.prepare(clips, tmp_path_factory.mktemp("out") / "records", crops=CROPS, workers=2)


def image(data, flag=cv2.IMREAD_COLOR):
    return cv2.imdecode(np.frombuffer(data, np.uint8), flag)


def test_records_hold_what_the_contract_says(prepared, clips):
    train = records.Records(prepared, "train")
    assert [row.clip for row in train.index] == [clips[0], clips[2], clips[4]]  # the manifest's order
    for i in range(len(train)):
        record, row = train[i], train.index[i]
        count = round(25 * (1.0 + 0.4 * i))
        assert record["clip"] == row.clip
        assert (row.status, row.frames, row.duration) == ("ok", count, count / 25)
        assert len(record["frames"]) == len(record["mouth"]) == count
        assert image(record["frames"][0]).shape == (48, 48, 3)
        assert image(record["mouth"][-1], cv2.IMREAD_UNCHANGED).shape == (32, 32)
        assert record["boxes"].shape == (count, 4)
        assert record["boxes"].dtype == record["times"].dtype == np.float32
        np.testing.assert_allclose(record["times"], np.arange(count) / 25, atol=1e-3)
        assert record["found"].dtype == np.uint8
        assert record["found"].all()
        assert record["audio"].dtype == np.int16
        assert len(record["audio"]) == row.audio_samples
        assert abs(row.audio_samples - count * 640) < 320
        assert (record["audio_present"], record["video_present"], record["status"]) == (1, 1, "ok")
        assert record["source_sha256"] == extract.sha256(row.clip.path)
        assert record["crops"] == dataclasses.asdict(CROPS)
        assert "PyAV" in record["decoder"]
    with pytest.raises(IndexError, match="record 3 of 3"):
        train[3]


def test_crops_are_cut_where_the_landmarks_say(prepared, clips):
    record = records.Records(prepared, "val")[0]
    shown = []
    media.read(clips[1].path, on_frame=lambda i, time, picture: shown.append(picture))
    maps = faces.face_transforms(faces.given(clips[1].landmarks_path), 48, CROPS.margin)
    for i in (0, 10, len(shown) - 1):
        expected = faces.crop(shown[i], maps[i], 48)
        assert np.abs(image(record["frames"][i]).astype(int) - expected).mean() < 4
    np.testing.assert_allclose(record["boxes"], faces.boxes(maps, 48), atol=1e-3)


def test_records_are_picklable_and_open_anew(prepared):
    source = records.Records(prepared, "train")
    first = source[0]
    copy = pickle.loads(pickle.dumps(source))
    assert copy[0]["frames"] == first["frames"]
    assert copy.index == source.index


def test_a_second_time_nothing_is_done(prepared, clips, monkeypatch):
    monkeypatch.setattr(guard, "run", None)
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
    real = guard.run

    def killed(function, items, **options):
        running = real(function, items, **options)
        yield next(running)
        yield next(running)
        running.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(guard, "run", killed)
    with pytest.raises(KeyboardInterrupt):
        records.prepare(clips, tmp_path / "out", crops=CROPS, workers=1)
    assert not (tmp_path / "out").exists()
    done = []
    monkeypatch.setattr(guard, "run", lambda function, items, **o: (done.extend(items), real(function, items, **o))[1])
    records.prepare(clips, tmp_path / "out", crops=CROPS, workers=1)
    assert len(done) == 3
    assert len(records.Records(tmp_path / "out", "train")) == 3


def test_bad_clips_cost_themselves_only(tmp_path, talking_clip, write_media):
    good = [clip_of(talking_clip(tmp_path, name), split="train") for name in "ab"]
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
    others = [clip_of(tmp_path / name, split="train") for name in names]
    strange = Clip("t/odd", str(odd), 0, landmarks_path=good[0].landmarks_path, split="train")
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
    source = records.Records(out, "train")
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


def test_one_clip_id_for_two_clips_is_an_error(tmp_path, clips):
    with pytest.raises(ValueError, match=r"the first is 't/a\.mp4'"):
        records.prepare([clips[0], dataclasses.replace(clips[1], clip_id=clips[0].clip_id)], tmp_path / "out")


def test_a_crash_in_the_decoder_is_a_status(tmp_path, clips, monkeypatch):
    failures = [guard.Failure(kind, "why") for kind in ("crash", "memory", "time", "error")]
    outcome = extract.extract(extract.Job(clips[0], CROPS))
    monkeypatch.setattr(guard, "run", lambda *_, **__: (pair for pair in enumerate([outcome, *failures])))
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
from data_pipelines import extract
from data_pipelines.clip import Clip
outcome = extract.extract(extract.Job(Clip("bomb", sys.argv[1], 0), extract.CROPS))
status = pathlib.Path("/proc/self/status").read_text()  # ru_maxrss would begin with the parent's peak
print(outcome.status, int(status.split("VmHWM:")[1].split()[0]) >> 10)
"""
    done = subprocess.run([sys.executable, "-c", look, str(path)], check=True, capture_output=True, text=True)
    status, peak = done.stdout.split()
    assert status == "too_large"
    assert int(peak) < 512


def test_whole_pictures_need_no_face(tmp_path, write_media):
    path = write_media(tmp_path / "a.mp4", times=np.arange(10) / 25, size=(96, 64), flash=0.0)
    crops = records.Crops(face="whole", face_size=48, mouth=False, codec="png")
    out = records.prepare([clip_of(path, split="val")], tmp_path / "out", crops=crops, workers=1)
    record = records.Records(out, "val")[0]
    square = image(record["frames"][0])
    assert square.shape == (48, 48, 3)
    assert square[24].min() > 180
    assert square[:7].max() == square[-7:].max() == 0
    assert record["mouth"] == []
    assert record["status"] == "ok"
    np.testing.assert_allclose(record["boxes"][0], [-0.5, -16.5, 95.5, 79.5], atol=0.01)


@pytest.mark.parametrize(("fps", "video_start", "audio_start"), [(25, 0.0, 0.0), (30, 0.3, 0.0), (24, 0.0, 0.25)])
def test_flash_and_click_stay_together_in_a_record(tmp_path, write_media, fps, video_start, audio_start):
    times = video_start + np.arange(3 * fps) / fps
    moment = float(times[2 * fps])
    path = write_media(tmp_path / "a.mp4", times=times, flash=moment, click=moment, audio_start=audio_start)
    crops = records.Crops(face="whole", face_size=32, mouth=False)
    out = records.prepare([clip_of(path, split="test")], tmp_path / "out", crops=crops, workers=1)
    record = records.Records(out, "test")[0]
    flash = next(i for i, data in enumerate(record["frames"]) if image(data).mean() > 128) / 25
    click = np.argmax(np.abs(record["audio"].astype(int)) > 6000) / 16000
    assert flash == 2.0
    assert abs(click - flash) < 0.005


@pytest.mark.parametrize("codec", ["jpeg", "png", "webp"])
def test_codecs(clips, codec):
    quality = 101 if codec == "webp" else 95
    crops = records.Crops(face_size=48, codec=codec, quality=quality, mouth=False)
    record = extract.extract(extract.Job(clips[0], crops)).record
    lossless = extract.extract(extract.Job(clips[0], dataclasses.replace(crops, codec="png"))).record
    assert record["mouth"] == []
    error = np.abs(image(record["frames"][3]).astype(int) - image(lossless["frames"][3]))
    assert error.max() == 0 if codec != "jpeg" else 0 < error.mean() < 3


def test_sound_apart_from_the_picture(tmp_path, talking_clip, write_media):
    path = talking_clip(tmp_path, "a")
    tone = 0.5 * np.sin(np.arange(32000) * 0.3)
    sound = write_media(tmp_path / "b.wav", sound=tone, rate=16000, audio_codec="pcm_s16le")
    clip = dataclasses.replace(clip_of(path), audio_path=str(sound))
    outcome = extract.extract(extract.Job(clip, CROPS))
    audio = np.frombuffer(outcome.record["audio"], np.int16)
    assert outcome.status == "ok"
    assert len(audio) == 16000  # cut where the pictures end
    np.testing.assert_allclose(audio, np.round(tone[:16000] * 32767), atol=2)
    gone = dataclasses.replace(clip, audio_path=str(tmp_path / "none.wav"))
    outcome = extract.extract(extract.Job(gone, CROPS))
    assert (outcome.status, outcome.audio_samples) == ("no_audio", 0)
    assert "the sound file is missing" in outcome.reason


def test_a_face_that_goes_away_for_long_is_told(tmp_path, talking_clip):
    path = talking_clip(tmp_path, "a", 4.0)
    data = dict(np.load(path.with_suffix(".npz")))
    data["landmarks"][30:70] = np.nan
    np.savez(path.with_suffix(".npz"), **data)
    outcome = extract.extract(extract.Job(clip_of(path), CROPS))
    assert (outcome.status, outcome.frames) == ("ok", 100)
    assert 58 <= outcome.found <= 62
    assert "no face for 1." in outcome.reason
    strict = dataclasses.replace(CROPS, min_found=0.9)
    outcome = extract.extract(extract.Job(clip_of(path), strict))
    assert outcome.status == "no_face"
    assert "of 100 frames" in outcome.reason


@pytest.mark.parametrize(
    "fields",
    [{"face": "head"}, {"codec": "gif"}, {"face_size": 0}, {"margin": -1}, {"quality": 0}, {"min_found": 2}],
)
def test_crops_that_make_no_sense(fields):
    with pytest.raises(ValueError, match=f"crops.{next(iter(fields))} is"):
        records.Crops(**fields)


def test_folders_that_hold_no_records(tmp_path, prepared, clips):
    with pytest.raises(FileNotFoundError, match="no prepared records"):
        records.Records(tmp_path, "train")
    with pytest.raises(ValueError, match="no records of split 'dev'; there are train, val, test"):
        records.Records(prepared, "dev")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    with pytest.raises(ValueError, match="holds something else"):
        records.prepare(clips, tmp_path / "mine", crops=CROPS)
    with pytest.raises(ValueError, match="cannot write the records"):
        records.prepare(clips, tmp_path / "mine" / "thesis.txt" / "out", crops=CROPS)


def test_another_version_is_refused(tmp_path, clips, monkeypatch):
    out = records.prepare(clips[:1], tmp_path / "out", crops=CROPS, workers=1)
    header = json.loads((out / "records.json").read_text())
    (out / "records.json").write_text(json.dumps(header | {"version": 0}))
    with pytest.raises(ValueError, match="records of version 0"):
        records.Records(out, "train")


def test_a_damaged_file_names_the_record(tmp_path, clips):
    out = records.prepare(clips, tmp_path / "out", crops=CROPS, workers=2)
    (path,) = out.glob("clips/*/*-train*")
    data = bytearray(path.read_bytes())
    data[20_000:24_000] = bytes(4000)
    path.write_bytes(data)
    source = records.Records(out, "train")
    with pytest.raises(BadRecord, match=r"record 0 of split 'train' cannot be read"):
        list(source[0].items()), list(source[0]["frames"]), list(source[0]["mouth"])


def test_pieces_are_read_alone_and_make_up_the_whole(prepared, clips):
    source = records.Records(prepared, "train")
    whole = [extract.extract(extract.Job(clips[i], CROPS)).record for i in (0, 2, 4)]
    for i, stored in enumerate(whole):
        record, layout = source[i], source.index[i].layout
        assert layout.first == (source.index[i - 1].layout.starts[-1] if i else 0)
        assert record["frames"] == stored["frames"]
        assert [record["mouth"][j] for j in (-1, 0)] == [stored["mouth"][j] for j in (-1, 0)]
        assert record["frames"][3:12:2] == stored["frames"][3:12:2]
        audio = np.frombuffer(stored["audio"], np.int16)
        np.testing.assert_array_equal(record["audio"], audio)
        for first, last in ((0, 1), (8191, 8193), (9000, 10**6), (0, 0), (10**6, 10**6 + 5), (16384, 16384)):
            np.testing.assert_array_equal(record.sound(first, last), audio[first:last])
        assert {*record} == {*stored, *json.loads(stored["info"])} - {"info"}
        assert len(record) == len({**record})
    read = []
    record = source[2]
    reader, record._read = record._read, lambda *what: (read.append(what), reader(*what))[1]
    record["frames"][len(record["frames"]) // 2]
    record.sound(0, 100)
    assert [last - first for first, last, _ in read] == [1, 1]
    with pytest.raises(IndexError, match="image 45 of 45"):
        record["frames"][45]
    with pytest.raises(KeyError):
        record["tracks"]


def test_records_may_lie_in_several_files(tmp_path, clips, prepared, monkeypatch):
    """As TFDS writes large ones; a clip's pieces then go on in the next file."""
    builder = tfds.core.GeneratorBasedBuilder
    shards = tfds.download.DownloadConfig(num_shards=3)
    write = functools.partialmethod(builder.download_and_prepare, download_config=shards)
    monkeypatch.setattr(builder, "download_and_prepare", write)
    out = records.prepare(clips, tmp_path / "out", crops=CROPS, workers=2)
    assert len([*out.glob("clips/*/*-train*")]) == 3
    for one, other in zip(records.Records(out, "train"), records.Records(prepared, "train"), strict=True):
        assert one["frames"] == other["frames"] and one["mouth"] == other["mouth"]
        np.testing.assert_array_equal(one["audio"], other["audio"])
        np.testing.assert_array_equal(one["times"], other["times"])


def test_no_example_is_larger_than_needed(clips):
    rng = np.random.default_rng(0)
    record = {"info": b"{}", "found": b"\1" * 90, "frames": [rng.bytes(n) for n in range(2000, 2090)], "mouth": []}
    record["audio"] = rng.bytes(100_001 * 2)
    layout = Layout.of(record)
    examples = list(layout.split(record))
    assert len(examples) == layout.starts[-1] == 1 + 13 + 12
    assert all(len(e["audio"]) + sum(map(len, e["frames"])) < 17_000 for e in examples)
    assert [image for e in examples for image in e["frames"]] == record["frames"]
    assert b"".join(e["audio"] for e in examples) == record["audio"]
    assert (examples[0]["found"], examples[1]["found"], examples[1]["info"]) == (record["found"], b"", b"")
    huge = {"audio": b"", "frames": [rng.bytes(50_000)] * 3, "mouth": []}
    assert [len(e["frames"]) for e in Layout.of(huge).split(huge)] == [0, 1, 1, 1]


def test_the_same_records_are_the_same_bytes(tmp_path, clips, prepared):
    """Also from another process, in which hashes of strings are others."""
    code = f"""
from data_pipelines import records
from data_pipelines.clip import Clip
records.prepare([{", ".join(map(repr, clips))}], {str(tmp_path / "again")!r}, crops=records.{CROPS!r}, workers=2)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    files = [path.relative_to(prepared) for path in prepared.rglob("*") if path.is_file()]
    assert len(files) > 6
    for path in files:
        assert (tmp_path / "again" / path).read_bytes() == (prepared / path).read_bytes(), path


def test_packing_is_reversible():
    record = {"a": b"", "b": [b"x", b"", b"yz"], "c": [], "d": b"\n{}"}
    assert record_files.unpack(record_files.pack(record)) == record


def test_digests_tell_clips_and_crops_apart(clips):
    key = record_files.digest(clips, CROPS)
    assert key == record_files.digest(list(clips), records.Crops(face_size=48, mouth_size=32))
    others = [(clips[:-1], CROPS), (clips[::-1], CROPS), (clips, records.Crops())]
    assert len({key, *(record_files.digest(*what) for what in others)}) == 4


def test_no_heavy_imports():
    code = (
        "import sys; from data_pipelines import extract, records; print([m for m in sys.argv[1:] if m in sys.modules])"
    )
    heavy = ["jax", "tensorflow", "torch", "pandas", "tensorflow_datasets", "dlib", "matplotlib"]
    done = subprocess.run([sys.executable, "-c", code, *heavy], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_the_detector_is_part_of_what_records_are(tmp_path, write_media, yunet_model):
    """One white square that YuNet's small model takes for a face, and dlib does not."""
    picture = np.zeros((480, 640, 3), np.uint8)
    picture[128:160, 160:192] = 255
    path = write_media(tmp_path / "a.mp4", times=np.arange(6) / 25, images=[picture] * 6)
    clip = clip_of(path, split="val")
    plain = dataclasses.replace(CROPS, face_size=32)
    crops = dataclasses.replace(plain, yunet=str(yunet_model(tmp_path / "one.onnx")))
    out = records.prepare([clip], tmp_path / "out", crops=crops, workers=1)
    record = records.Records(out, "val")[0]
    sha = extract.sha256(tmp_path / "one.onnx")
    assert record["found"].all()
    assert record["crops"]["yunet"] == records.read_header(out)["crops"]["yunet"] == sha
    assert record["detector"].startswith("YuNet (one.onnx) with the landmarks of dlib")
    (tmp_path / "one.onnx").rename(tmp_path / "moved.onnx")
    moved = dataclasses.replace(crops, yunet=str(tmp_path / "moved.onnx"))
    assert records.is_fresh(out, [clip], moved)  # it is the model that counts
    assert not records.is_fresh(out, [clip], plain)
    other = dataclasses.replace(crops, yunet=str(yunet_model(tmp_path / "other.onnx", sure=300)))
    assert not records.is_fresh(out, [clip], other)
    assert extract.extract(extract.Job(clip, other)).status == "no_face"
    assert extract.extract(extract.Job(clip, plain)).status == "no_face"
    gone = dataclasses.replace(crops, yunet=str(tmp_path / "gone.onnx"))
    with pytest.raises(FileNotFoundError, match=r"gone\.onnx': there is no such file"):
        records.prepare([clip], tmp_path / "gone", crops=gone)
