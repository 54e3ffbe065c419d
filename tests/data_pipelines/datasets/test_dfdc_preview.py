"""DFDC Preview: dataset.json."""

import json

from data_pipelines.datasets import dfdc_preview
from data_pipelines.prepare import splits


def make(tree, people=20):
    entries = {}
    for i in range(people):
        entries[f"original_videos/{i}/{i}_A_000.mp4"] = {"label": "real", "set": "train"}
        facts = {"label": "fake", "set": "train", "target_id": str(i), "swapped_id": str(i + 100), "augmentations": []}
        entries[f"method_A/{i}/{i + 100}_{i}_A_000.mp4"] = facts
    entries["method_B/7/107_55_G_001.mp4"] = {"label": "fake", "set": "test"}
    tree.add(*entries, "method_A/stray.mp4")
    entries["method_B/gone.mp4"] = {"label": "fake", "set": "test"}
    tree.add("dataset.json", text=json.dumps(entries))


def test_labels_people_and_splits(tree, fields):
    make(tree)
    clips = tree.read(dfdc_preview)
    assert len(clips) == 41
    fake = clips["method_A/3/103_3_A_000.mp4"]
    assert fields(fake, "label", "video_label", "audio_label", "method") == (1, -1, -1, "method_A")
    assert fields(fake, "identity", "donors") == ("3", ("103",))
    pairs = [
        (clips[f"method_A/{i}/{i + 100}_{i}_A_000.mp4"], clips[f"original_videos/{i}/{i}_A_000.mp4"]) for i in range(20)
    ]
    named = clips["method_B/7/107_55_G_001.mp4"]
    assert fields(named, "identity", "donors", "split", "method") == ("55", ("107",), "test", "method_B")
    assert fields(clips["original_videos/3/3_A_000.mp4"], "label", "method", "identity", "donors") == (
        0,
        "real",
        "3",
        (),
    )
    dealt = {clip.clip_id: clip.split for clip in splits.assign(list(clips.values()))}
    assert [*dealt.values()].count("val") == 4
    assert all(dealt[clip.clip_id] == dealt[real.clip_id] for clip, real in pairs)
    assert "1 of the 42 files in dataset.json are not on disk: method_B/gone.mp4" in tree.told
    assert "1 files on disk are not in dataset.json and give no clips: method_A/stray.mp4" in tree.told


def test_mistakes(tree):
    tree.add("method_A/a.mp4")
    tree.fails(dfdc_preview, r"looked for dataset\.json .*found method_A/")
    tree.add("dataset.json", text='{"method_A/a.mp4": {"label": "fake", "set": "val"}}')
    tree.fails(dfdc_preview, r"dataset\.json, method_A/a\.mp4: set is 'val', expected train or test")
    tree.add("dataset.json", text='{"method_A/a.mp4": {"set": "test"}}')
    tree.fails(dfdc_preview, "label is 'none', expected real or fake")
