"""DFDC: train parts, both forms of test labels."""

import json

import pytest

from data_pipelines.datasets import dfdc
from data_pipelines.prepare import splits

FORMS = {
    "metadata.json": json.dumps(
        {
            "aalscayrfi.mp4": {"augmentations": {"augmenter": {"framerate_change": {"fps": 20}}}, "is_fake": 0},
            "abcdefghij.mp4": {"augmentations": {}, "is_fake": 1},
            "gone.mp4": {"is_fake": 1},
        }
    ),
    "labels.csv": "filename,label\naalscayrfi.mp4,0\nabcdefghij.mp4,1\ngone.mp4,1\n",
}


def train(tree, part=0, prefix=""):
    folder = f"{prefix}dfdc_train_part_{part}"
    entries = {
        f"fake{part}.mp4": {"label": "FAKE", "split": "train", "original": f"real{part}.mp4"},
        f"other{part}.mp4": {"label": "FAKE", "split": "train", "original": "elsewhere.mp4"},
        f"real{part}.mp4": {"label": "REAL", "split": "train"},
        f"null{part}.mp4": {"label": "REAL", "split": "train", "original": None},
        f"gone{part}.mp4": {"label": "REAL", "split": "train"},
    }
    tree.add(*(f"{folder}/{name}" for name in entries if not name.startswith("gone")), f"{folder}/extra.mp4")
    tree.add(f"{folder}/metadata.json", text=json.dumps(entries))


@pytest.mark.parametrize("prefix", ["train/", ""])
def test_train_parts(tree, fields, prefix):
    for part in range(6):
        train(tree, part, prefix)
    clips = tree.read(dfdc)
    assert len(clips) == 24
    fake, real = (clips[f"{prefix}dfdc_train_part_1/{name}1.mp4"] for name in ("fake", "real"))
    assert fields(fake, "label", "video_label", "audio_label", "method") == (1, -1, -1, "")
    assert fields(real, "label", "video_label", "audio_label", "method", "original") == (0, 0, 0, "real", "")
    assert fake.original == real.clip_id
    assert clips[f"{prefix}dfdc_train_part_1/null1.mp4"].original == ""
    assert {clip.split for clip in clips.values()} == {"train"}
    dealt = {clip.clip_id: clip.split for clip in splits.assign(list(clips.values()))}
    assert set(dealt.values()) == {"train", "val"}
    assert all(dealt[clip.clip_id] == dealt.get(clip.original, dealt[clip.clip_id]) for clip in clips.values())
    assert "train parts: found 6, expected 50, missing 44" in tree.told
    assert f"1 of the 5 files in {prefix}dfdc_train_part_0/metadata.json are not on disk: gone0.mp4" in tree.told
    assert "6 files on disk are in no list and give no clips" in tree.told


@pytest.mark.parametrize("form", FORMS)
def test_both_forms_of_test_labels(tree, form):
    tree.add(f"test/{form}", text=FORMS[form])
    tree.add("test/aalscayrfi.mp4", "test/abcdefghij.mp4")
    for root in ("", "test"):
        clips = tree.read(dfdc, root)
        assert {name.rpartition("/")[2]: (c.label, c.split) for name, c in clips.items()} == {
            "aalscayrfi.mp4": (0, "test"),
            "abcdefghij.mp4": (1, "test"),
        }
    assert "test fake: found 1, expected 2500, missing 2499" in tree.told


def test_train_and_test_together(tree):
    train(tree, 0, "train/")
    tree.add("test/metadata.json", text=FORMS["metadata.json"])
    tree.add("test/labels.csv", text=FORMS["labels.csv"])
    tree.add("test/videos/aalscayrfi.mp4")
    clips = tree.read(dfdc)
    assert clips["test/videos/aalscayrfi.mp4"].split == "test"
    assert len(clips) == 5


def test_mistakes(tree):
    tree.add("clips/a.mp4")
    tree.fails(dfdc, r"looked for train/dfdc_train_part_\* or dfdc_train_part_\* or .*labels\.csv .*found clips/")
    tree.add("dfdc_train_part_0/a.mp4")
    tree.fails(dfdc, r"looked for metadata\.json or labels\.csv beside the videos, found clips/, dfdc_train_part_0/")
    tree.add("dfdc_train_part_0/metadata.json", text='{"a.mp4": {"label": "fake"}}')
    tree.fails(dfdc, "a.mp4: the label is 'fake', expected REAL or FAKE")
    tree.add("dfdc_train_part_0/metadata.json", text='{"a.mp4": 1}')
    tree.fails(dfdc, "expected a label or is_fake, found 1")
