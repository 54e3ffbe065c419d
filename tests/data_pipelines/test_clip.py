"""Manifests: what they may leave out, and what is wrong with them in one line."""

import os

import pytest

from data_pipelines import clip as clip_lib
from data_pipelines.clip import Clip


def manifest(tmp_path, text, name="manifest.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_path_and_label_suffice(tmp_path):
    clips = clip_lib.read_manifest(manifest(tmp_path, "path,label\na/x.mp4,1\nb/x.mp4,0\n"), dataset="mine")
    assert [clip.clip_id for clip in clips] == ["mine/a/x.mp4", "mine/b/x.mp4"]
    assert [clip.path for clip in clips] == [str(tmp_path / "a/x.mp4"), str(tmp_path / "b/x.mp4")]
    assert [clip.label for clip in clips] == [1, 0]
    assert clips[0] == Clip("mine/a/x.mp4", str(tmp_path / "a/x.mp4"), 1, dataset="mine")


def test_every_field_survives_writing_and_reading(tmp_path):
    clips = [
        Clip(
            "d/1", "/data/line\nbreak, 'quoted' \"😀\".mp4", 1, method="swap", video_segments=((0.5, 1.25), (3.0, 4.0))
        ),
        Clip(
            "d/2",
            f"/data/{os.fsdecode(bytes([255]))}.mp4",
            0,
            audio_path="/data/2.wav",
            landmarks_path="/data/2.npz",
            dataset="d",
            split="val",
            video_label=0,
            audio_label=1,
            identity="a",
            donors=("b;c", "d, e"),
            audio_segments=((0.0, 2.0),),
            compression="c23",
            original="d/1",
            fps=29.97,
        ),
    ]
    clip_lib.write_manifest(tmp_path / "m.csv", clips)
    assert clip_lib.read_manifest(tmp_path / "m.csv") == clips


def test_an_original_given_as_a_path_becomes_its_clip_id(tmp_path):
    (tmp_path / "sub").mkdir()
    given = {"a.mp4": "", "b.mp4": "../a.mp4", "c.mp4": str(tmp_path / "a.mp4"), "d.mp4": "a.mp4"}
    rows = "".join(f"../{path},1,{original}\n" for path, original in given.items())
    clips = clip_lib.read_manifest(manifest(tmp_path / "sub", "path,label,original\n" + rows), dataset="mine")
    first = clips[0].clip_id
    assert [clip.original for clip in clips] == ["", first, first, "a.mp4"]  # the last is none of these


def test_lists_in_short(tmp_path):
    text = "label,path,donors,video_segments\n1,x.mp4,a; b,0.5-1.2;3-4\n1,y.mp4,,\n"
    first, second = clip_lib.read_manifest(manifest(tmp_path, text))
    assert first.donors == ("a", "b")
    assert first.video_segments == ((0.5, 1.2), (3.0, 4.0))
    assert (second.donors, second.video_segments) == ((), ())


def test_absolute_paths_and_spreadsheets(tmp_path):
    text = b"\xef\xbb\xbfpath,label\r\n/else/where.mp4,1.0\r\n\r\n"
    (clip,) = clip_lib.read_manifest(manifest(tmp_path, text))
    assert (clip.path, clip.label) == ("/else/where.mp4", 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["no column path", "no column label"]),
        ("file,label\nx.mp4,1\n", ["no column path", "file, label"]),
        ("path\nx.mp4\n", ["no column label"]),
        ("path,label\n", ["lists no clip"]),
        ("path,label\nx.mp4,2\n", ["line 2", "label is '2'", "0 or 1"]),
        ("path,label\nx.mp4,fake\n", ["line 2", "'fake'"]),
        ("path,label\nx.mp4,\n", ["line 2", "label is empty"]),
        ("path,label\n,1\n", ["line 2", "path is empty"]),
        ("path,label\nx.mp4,-1\n", ["label is '-1'"]),
        ("path,label,audio_label\nx.mp4,1,7\n", ["audio_label is '7'"]),
        ("path,label,split\nx.mp4,1,dev\n", ["split is 'dev'", "train, val, test"]),
        ("path,label\nx.mp4,1\ny.mp4,0\nx.mp4,1\n", ["line 4", "stands in line 2 already"]),
        ("path,label,clip_id\nx.mp4,1,a\ny.mp4,0,a\n", ["line 3", "clip_id 'a'"]),
        ("path,label\nx.mp4\n", ["line 2", "cells"]),
        ("path,label\nx.mp4,1,5\n", ["line 2", "cells"]),
        ("path,label,video_segments\nx.mp4,1,2-1\n", ["video_segments", "2-1"]),
        ("path,label,audio_segments\nx.mp4,1,[[1\n", ["audio_segments", "JSON"]),
        ("path,label,audio_segments\nx.mp4,1,[5]\n", ["audio_segments", "5"]),
    ],
)
def test_faults_in_one_line(tmp_path, text, words):
    path = manifest(tmp_path, text)
    with pytest.raises(ValueError) as error:
        clip_lib.read_manifest(path)
    message = str(error.value)
    assert "\n" not in message
    for word in (str(path), *words):
        assert word in message


def test_an_unknown_column_is_told(tmp_path, caplog):
    (clip,) = clip_lib.read_manifest(manifest(tmp_path, "path,label,video_labels,notes\nx.mp4,1,1,hello\n"))
    assert clip.video_label == -1
    assert "video_labels" in caplog.text
    assert "did you mean video_label?" in caplog.text
    assert "notes" in caplog.text


def test_no_manifest(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such manifest"):
        clip_lib.read_manifest(tmp_path / "none.csv")
