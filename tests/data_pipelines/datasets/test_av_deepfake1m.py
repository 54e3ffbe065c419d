"""AV-Deepfake1M and ++: four kinds, `original` on reals, three places for the metadata."""

import json

import pytest

from data_pipelines.datasets import av_deepfake1m
from data_pipelines.prepare import splits

CLIP = "id04260/YRj7yYjVBYU/00021"


def entry(kind, name, **more):
    segments = [[0.5, 1.0]]
    return {
        "file": f"{CLIP}/{name}.mp4",
        "original": f"{CLIP}/real.mp4",
        "split": "train",
        "modify_type": kind,
        "audio_model": "x",
        "fake_segments": [] if kind == "real" else segments,
        "visual_fake_segments": segments if kind in ("visual_modified", "both_modified", "both-modified") else [],
        "audio_fake_segments": segments if kind in ("audio_modified", "both_modified", "both-modified") else [],
    } | more


KINDS = [
    entry("real", "real"),
    entry("visual_modified", "fake_video_real_audio"),
    entry("audio_modified", "real_video_fake_audio"),
    entry("both_modified", "fake_video_fake_audio"),
]


def lay(tree, part, entries, form):
    tree.add(*(f"{part}/{item['file']}" for item in entries))
    if form == "list":
        tree.add(f"{part}_metadata.json", text=json.dumps(entries))
    for item in entries:
        folder = f"{part}_metadata" if form == "folder" else part
        if form != "list":
            tree.add(f"{folder}/{item['file'].replace('.mp4', '.json')}", text=json.dumps(item))


@pytest.mark.parametrize("form", ["list", "folder", "beside"])
def test_four_kinds_in_three_forms(tree, fields, form):
    lay(tree, "train", KINDS, form)
    lay(tree, "val", KINDS[:2], form)
    tree.add("test/000001.mp4", "train/stray.mp4")
    clips = tree.read(av_deepfake1m)
    span = ((0.5, 1.0),)
    columns = ("label", "video_label", "audio_label", "method", "video_segments", "audio_segments", "original")
    original = f"av_deepfake1m/train/{CLIP}/real.mp4"
    train = {name.rpartition("/")[2]: clip for name, clip in clips.items() if name.startswith("train")}
    assert {name: fields(clip, *columns) for name, clip in train.items()} == {
        "real.mp4": (0, 0, 0, "real", (), (), ""),
        "fake_video_real_audio.mp4": (1, 1, 0, "visual_modified", span, (), original),
        "real_video_fake_audio.mp4": (1, 0, 1, "audio_modified", (), span, original),
        "fake_video_fake_audio.mp4": (1, 1, 1, "both_modified", span, span, original),
    }
    assert {clip.identity for clip in clips.values()} == {"id04260"}
    assert {name.partition("/")[0]: clip.split for name, clip in clips.items()} == {"train": "train", "val": "val"}
    assert "the labels of test are not published" in tree.told
    assert "1 files on disk are not in the metadata of train and give no clips: train/stray.mp4" in tree.told


def test_spans_are_checked_against_the_kind(tree, fields):
    odd = entry("audio_modified", "a", visual_fake_segments=[[0.5, 1.0]])
    whole = entry("both-modified", "b")
    del whole["visual_fake_segments"]
    lay(tree, "train", [odd, whole], "list")
    clips = tree.read(av_deepfake1m)
    assert fields(clips[f"train/{CLIP}/a.mp4"], "video_label", "video_segments") == (0, ())
    assert fields(clips[f"train/{CLIP}/b.mp4"], "method", "video_segments") == ("both_modified", ((0.5, 1.0),))
    assert "1 clips have spans in a real stream, left out" in tree.told


def test_plus_plus_has_folders_above_the_people(tree):
    files = ["vox_celeb_2/id1/a/b/real.mp4", "lrs3/abc/d/real.mp4", "silent_videos/subject_17_e_vid_2_6/real.mp4"]
    lay(tree, "train", [entry("real", "", file=file) for file in files], "beside")
    tree.add("testA/1.mp4")
    people = {name: clip.identity for name, clip in tree.read(av_deepfake1m).items()}
    assert people == {
        f"train/{file}": p for file, p in zip(files, ("id1", "lrs3/abc", "silent_videos/subject_17_e"), strict=True)
    }
    assert "the labels of testA are not published" in tree.told


def test_val_as_test(tree):
    people = [entry("real", "", file=f"id{i}/a/real.mp4") for i in range(20)]
    lay(tree, "train", people, "list")
    lay(tree, "val", people, "list")
    assigned = splits.assign(list(tree.read(av_deepfake1m, val_as_test=True).values()))
    parts = [clip.split for clip in assigned]
    assert [parts.count(name) for name in ("train", "val", "test")] == [18, 2, 20]


def test_mistakes(tree):
    tree.add("clips/a.mp4")
    tree.fails(av_deepfake1m, r"looked for train_metadata\.json or train_metadata or .*found clips/")
    lay(tree, "train", [entry("deepfake", "a")], "list")
    tree.fails(av_deepfake1m, r"train_metadata\.json, entry 0: modify_type is 'deepfake', expected real or")
    tree.add("train_metadata.json", text="[{}]")
    tree.fails(av_deepfake1m, r"entry 0: expected an object with file and modify_type, found \{\}")
