"""LAV-DF: spans, dev as val, the list without details."""

import json

import pytest

from data_pipelines.datasets import lav_df


def entry(file, video=False, audio=False, spans=(), original=None):
    return {
        "file": file,
        "n_fakes": len(spans),
        "fake_periods": [list(span) for span in spans],
        "timestamps": [["word", 0.0, 0.1]],
        "duration": 4.224,
        "original": original,
        "modify_video": video,
        "modify_audio": audio,
        "split": file.partition("/")[0],
    }


ENTRIES = [
    entry("test/000001.mp4"),
    entry("test/000002.mp4", video=True, spans=[(1.0, 1.5)], original="test/000001.mp4"),
    entry("dev/000003.mp4", audio=True, spans=[(0, 0.5), (2, 3)], original="dev/000009.mp4"),
    entry("train/000004.mp4", video=True, audio=True, spans=[(1, 2)], original="train/000005.mp4"),
    entry("train/000005.mp4", original="train/000005.mp4"),
    entry("train/gone.mp4"),
]


@pytest.mark.parametrize("name", ["metadata.json", "metadata.min.json"])
def test_labels_spans_and_splits(tree, fields, name):
    tree.add(*(item["file"] for item in ENTRIES[:-1]), "test/stray.mp4")
    tree.add(name, text=json.dumps(ENTRIES))
    clips = tree.read(lav_df)
    columns = ("split", "label", "video_label", "audio_label", "method", "video_segments", "audio_segments")
    assert {name: fields(clip, *columns) for name, clip in clips.items()} == {
        "test/000001.mp4": ("test", 0, 0, 0, "real", (), ()),
        "test/000002.mp4": ("test", 1, 1, 0, "visual_modified", ((1.0, 1.5),), ()),
        "dev/000003.mp4": ("val", 1, 0, 1, "audio_modified", (), ((0.0, 0.5), (2.0, 3.0))),
        "train/000004.mp4": ("train", 1, 1, 1, "both_modified", ((1.0, 2.0),), ((1.0, 2.0),)),
        "train/000005.mp4": ("train", 0, 0, 0, "real", (), ()),
    }
    assert clips["test/000002.mp4"].original == "lav_df/test/000001.mp4"
    assert clips["train/000005.mp4"].original == ""
    assert f"1 of the 6 files in {name} are not on disk: train/gone.mp4" in tree.told
    assert f"1 files on disk are not in {name} and give no clips: test/stray.mp4" in tree.told
    assert "lav_df: val: found 1, expected 31501, missing 31500" in tree.told


def test_mistakes(tree):
    tree.add("test/a.mp4")
    tree.fails(lav_df, r"looked for metadata\.json or metadata\.min\.json .*found test/")
    tree.add("metadata.json", text="{}")
    tree.fails(lav_df, "expected a JSON list, found a dict")
    tree.add("metadata.json", text='[{"file": "test/a.mp4"}]')
    tree.fails(lav_df, "test/a.mp4: not an entry of LAV-DF .*fake_periods")
    tree.add("metadata.json", text="[3]")
    tree.fails(lav_df, "metadata.json, 3: not an entry of LAV-DF")
    tree.add("metadata.json", text=json.dumps([entry("test/a.mp4", video=True, spans=[(2, 1)])]))
    tree.fails(lav_df, r"test/a\.mp4: the segments are \[\[2, 1\]\]")
    tree.add("metadata.json", text=json.dumps([entry("test/a.mp4", spans=[(1, 2)])]))
    tree.fails(lav_df, "n_fakes is 1, but neither stream is modified")
    tree.add("metadata.json", text=json.dumps([entry("val/a.mp4")]))
    tree.fails(lav_df, "split is 'val', expected train or dev or test")
