"""What is measured of faces and sounds, and what is flagged, on pictures and tones whose qualities are known."""

import collections
import math
import types

import cv2
import numpy as np
import pytest

from experiments.verdict import quality

RATE = 16000
Row = collections.namedtuple("Row", "clip duration")


def record(picture=None, audio=None, *, frames=10, side=100.0):
    pictures = [] if picture is None else [cv2.imencode(".png", picture)[1].tobytes()] * frames
    n = len(pictures)
    sound = np.zeros(0, np.int16) if audio is None else np.int16(np.clip(audio, -1, 1) * 32767)
    boxes = np.tile(np.array([0, 0, side * 1.3, side * 1.3], np.float32), (n, 1))
    return {"frames": pictures, "boxes": boxes, "found": np.ones(n, np.uint8), "audio": sound}


def face(mean=128.0, spread=40.0, blur=0):
    picture = np.clip(np.random.default_rng(0).normal(mean, spread, (64, 64, 3)), 0, 255).astype(np.uint8)
    return cv2.GaussianBlur(picture, (0, 0), blur) if blur else picture


def tone(hertz, loud, seconds=1.0):
    return loud * np.sin(2 * np.pi * hertz * np.arange(round(RATE * seconds)) / RATE)


def names(of, **more):
    given = {"face_side": 64 / 1.3, "people": 1, "seconds": 3.0, "window": 1.6} | more
    return {flag.name for flag in quality.flags(quality.measure(of, 0.3), **given)}


def test_measures_are_what_they_are_called():
    found = quality.measure(record(face(150, 20), tone(1000, 0.5)), 0.3)
    assert found["face_pixels"] == pytest.approx(100) and found["face_seen"] == 1 and found["movement"] == 0
    assert found["brightness"] == pytest.approx(150, abs=3)
    assert found["loudness"] == pytest.approx(20 * math.log10(0.5 / math.sqrt(2)), abs=0.1)
    assert 950 <= found["bandwidth"] <= 1500
    assert all(math.isnan(value) for value in quality.measure(record(), 0.3).values())


@pytest.mark.parametrize(
    ("of", "flag"),
    [
        (record(face(10, 6), tone(5000, 0.3)), "dark"),
        (record(face(250, 6), tone(5000, 0.3)), "bright"),
        (record(face(128, 3), tone(5000, 0.3)), "flat"),
        (record(face(128, 90, blur=4), tone(5000, 0.3)), "blurred"),
        (record(face(), tone(5000, 0.3), side=20.0), "small"),
        (record(face(), tone(5000, 0.0005)), "silent"),
        (record(face(), tone(1000, 0.3)), "narrow_band"),
        (record(face()), "no_sound"),
        (record(None, tone(5000, 0.3)), "no_face"),
    ],
)
def test_each_fault_has_its_flag(of, flag):
    assert flag in names(of)


def test_a_good_file_has_no_flag_and_others_are_told_of():
    good = record(face(), tone(5000, 0.3))
    assert names(good) == set()
    assert names(good, people=3) == {"several_people"} and names(good, seconds=0.4) == {"short"}
    assert names(record(face()), seconds=0.0, still=True) == set()
    found = quality.flags(quality.measure(record(face(10, 15)), 0.3), face_side=49, people=1, seconds=3, window=1)
    (dark,) = [flag for flag in found if flag.name == "dark"]
    assert dark.serious and dark.measured < dark.limit == 40


def test_a_table_of_measures_is_read_again(tmp_path):
    class Source(list):
        @property
        def index(self):
            return [Row(types.SimpleNamespace(clip_id=f"c{i}"), 2.0) for i in range(len(self))]

    quality.write(tmp_path / "q.csv", Source([record(face()), record(None, tone(500, 0.1))]), 0.3)
    found = quality.read(tmp_path / "q.csv")
    assert found["duration"].tolist() == [2.0, 2.0] and np.isnan(found["brightness"]).tolist() == [False, True]
    assert found["clip_id"].tolist() == ["c0", "c1"]
    text, bad = (tmp_path / "q.csv").read_text(), tmp_path / "bad.csv"
    for content, words in (
        ("a,b\n1,2\n", "column 'clip_id' is missing"),
        (text[: text.rindex(",")] + "\n", "line 3: the row ends before column bandwidth"),
        (text.replace("2.0", "2 s"), "line 2, column duration: expected a number, found '2 s'"),
    ):
        bad.write_text(content)
        with pytest.raises(ValueError, match=words):
            quality.read(bad)
