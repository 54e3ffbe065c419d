"""The benchmark of the data side: what it tells, and that loader and torch make the same batches."""

import dataclasses
import fractions
import json
import math
import shutil

import av
import cv2
import numpy as np
import pytest

from data_pipelines.clip import Clip
from data_pipelines.prepare import child_processes, extract, records
from experiments.benchmark import data

CROPS = records.Crops(face="whole", face_size=32, mouth=True, mouth_size=24)


def outcome(clip, frames, samples):
    """What extraction might give: noise, but for one record without sound."""
    rng = np.random.default_rng(frames)
    pictures = rng.integers(0, 255, (frames, 32, 32, 3), np.uint8)
    info = {"clip": dataclasses.asdict(clip), "status": "ok", "audio_present": int(samples > 0), "video_present": 1}
    record = {
        "frames": [cv2.imencode(".jpg", p)[1].tobytes() for p in pictures],
        "mouth": [cv2.imencode(".jpg", p[:24, :24, 0])[1].tobytes() for p in pictures],
        "boxes": np.zeros((frames, 4), np.float32).tobytes(),
        "times": (np.arange(frames, dtype=np.float32) / 25).tobytes(),
        "found": b"\1" * frames,
        "audio": rng.integers(-99, 99, samples).astype(np.int16).tobytes(),
        "info": json.dumps(info).encode(),
    }
    return extract.Outcome("ok", frames=frames, duration=frames / 25, audio_samples=samples, record=record)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Records of noise, as if it came from copies of a grey film: three to train on, one to validate."""
    root = tmp_path_factory.mktemp("data")
    film = root / "film.mp4"
    with av.open(str(film), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for i in range(12):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 * i, np.uint8))
            frame.pts, frame.time_base = i, fractions.Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    films = [shutil.copy(film, root / f"{name}.mp4") for name in ("real", "fake", "mute", "held")]
    spans = {"video_segments": ((0.2, 0.9),), "audio_segments": ((1.0, 1.5),)}
    clips = [
        Clip("real", str(films[0]), 0, split="train", video_label=0, audio_label=0),
        Clip("fake", str(films[1]), 1, split="train", video_label=1, audio_label=1, **spans),
        Clip("mute", str(films[2]), 1, split="train", video_label=1),
        Clip("held", str(films[3]), 0, split="val"),
    ]
    sizes = ((60, 60_000), (35, 30_000), (10, 0), (10, 0))  # frames, samples
    made = [outcome(clip, *size) for clip, size in zip(clips, sizes, strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(child_processes, "run", lambda *_, **__: (pair for pair in enumerate(made)))
        return records.prepare(clips, root / "records", crops=CROPS)


def test_the_loader_beside_decode_and_torch(folder, monkeypatch):
    monkeypatch.setattr(data, "_together", lambda contenders, rounds: {n: np.ones(rounds) for n in contenders})
    (title, *_, everything), cuts = data.cuts(folder), data.cuts(folder)
    assert title == "4 images of 32"
    assert [*cuts[everything]] == ["image", "video", "mouth", "audio"]
    row = data.measure_loader(folder, everything, cuts[everything], rounds=2, batch=4)
    alone, together = {"ours", "decode", "read", "torch"}, {"ours, 2 workers", "torch, 2 workers"}
    assert row["windows_per_second"].keys() == alone | together
    assert row["ratio"].keys() == {"torch", "torch, 2 workers"}
    assert row["over_decode"].keys() == {"ours", "torch"}
    assert row["ratio"]["torch, 2 workers"]["median"] == 1
    assert 40 < row["images_per_window"] < 50  # of 64: short clips show their last more than once
    for spread in (*row["windows_per_second"].values(), *row["over_decode"].values()):
        assert 0 < spread["low"] <= spread["median"] <= spread["high"]
    json.dumps(row)


@pytest.mark.parametrize("cut", range(4))
def test_both_make_the_same_batches(folder, cut):
    """All that the loader gives: streams, masks, labels and places."""

    streams = [*data.cuts(folder).values()][cut]
    source = records.Records(folder, "train")
    config = {"window": data.WINDOW, "streams": streams, "batch_size": 4, "balance": "none", "threads": 0}
    with source.train_batches(config, seed=1) as batches:
        own = [next(batches) for _ in range(6)]
    places = [place for batch in own for place in data.places_of(batch)]
    theirs = list(data.data_loader(data.Clips(source, streams, places), 4))
    assert own[0].keys() == theirs[0].keys()
    data.check_equal(own, theirs)
    assert {int(label) for b in own for label in b["video_label"]} >= {0, 1}
    theirs[-1][next(iter(streams))][0, 0] += 1
    with pytest.raises(ValueError, match="nothing was timed"):
        data.check_equal(own, theirs)


def test_workers_of_both_go_on_for_ever(folder):
    clips = data.Clips(records.Records(folder, "train"), {"audio": {}}, [(0, 0.0), (1, 0.2)])
    endless = iter(data.data_loader(clips, 2, workers=1))
    rows = [next(endless)["clip_index"].tolist() for _ in range(3)]
    assert rows == [[0, 1]] * 3
    seconds = data._together(dict.fromkeys("ab", lambda: iter(range(10**6))), 2)
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2}


def test_where_the_time_of_prepare_goes(folder):
    row = data.measure_prepare(folder, most=2)
    assert row["clips"] == 2 and row["statuses"] == {"no_audio": 2}
    assert row["clips_per_minute"] > 0
    assert row["shares"].keys() == {"decode", "faces", "crops", "encode", "write", "rest"}
    assert math.isclose(sum(row["shares"].values()), 1)
    assert not [*folder.parent.glob("tmp*")]


def test_files_that_are_gone_are_told(folder, tmp_path):
    for name in ("records.json", "manifest.csv"):
        text = (folder / name).read_text()
        (tmp_path / name).write_text(text.replace("real.mp4", "gone.mp4"))
    with pytest.raises(FileNotFoundError, match=r"gone\.mp4: the file that .* was made of is not there any more"):
        data.measure_prepare(tmp_path)


def test_the_command(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(data, "_together", lambda contenders, rounds: {n: np.ones(rounds) for n in contenders})
    monkeypatch.setattr(
        data, "cuts", lambda folder: {"sound": {"audio": {}}, "image": {"image": {"frames": 1, "size": 8}}}
    )
    about = {"device": "abacus", "versions": {"python": "3"}, "command": "python -m experiments.benchmark"}
    for what, name in (("loader", "windows_per_second"), ("prepare", "clips_per_minute")):
        file = tmp_path / f"{what}.json"
        data.report(what, str(folder), 1, 2, str(file), about)
        found = json.loads(file.read_text())
        assert found["device"] == "abacus" and "grain" in found["versions"]
        assert len(found["rows"]) == (2 if what == "loader" else 1)
        assert all(name in row for row in found["rows"])
        printed = capsys.readouterr().out
        assert printed.startswith("abacus, one thread; python 3, numpy 2.")
        assert ("÷ bare decode: ours" if what == "loader" else "clips/min") in printed
    with pytest.raises(FileNotFoundError, match="no prepared records here"):
        data.report("loader", str(tmp_path), 1, 2, "", about)
