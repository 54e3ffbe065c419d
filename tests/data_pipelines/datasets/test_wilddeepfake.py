"""WildDeepfake: folders of pictures, archives not unpacked."""

import pytest

from data_pipelines.datasets import wilddeepfake
from data_pipelines.prepare import splits


def make(tree, blank="_"):
    for i in range(10):
        tree.add(*(f"real{blank}train/{i}/real/{k}/{frame}.png" for k in range(2) for frame in (3, 10)))
    tree.add(f"fake{blank}train/0/fake/7/0.png", f"fake{blank}test/0/fake/7/0.png", f"real{blank}test/0/real/7/0.png")
    tree.add(f"real{blank}train/11.tar.gz", f"real{blank}train/0/real/readme.txt")


@pytest.mark.parametrize("blank", ["_", " "])
def test_sequences_are_clips(tree, fields, blank):
    make(tree, blank)
    clips = tree.read(wilddeepfake)
    assert len(clips) == 23
    fake = clips["fake_test/0/fake/7"]
    assert fields(fake, "label", "video_label", "audio_label", "split", "method") == (1, 1, -1, "test", "")
    assert fake.path == str(tree.root / f"fake{blank}test/0/fake/7")
    assert clips["real_test/0/real/7"].label == 0
    assert {clip.split for clip in clips.values()} == {"train", "test"}
    dealt = {clip.clip_id.removeprefix("wilddeepfake/"): clip.split for clip in splits.assign(list(clips.values()))}
    for i in range(10):
        assert clips[f"real_train/{i}/real/0"].identity == f"real_train/{i}"
        assert dealt[f"real_train/{i}/real/0"] == dealt[f"real_train/{i}/real/1"]
    assert set(dealt.values()) == {"train", "val", "test"}
    assert "real_train: found 20, expected 3409, missing 3389" in tree.told
    assert "fake_test: found 1, expected 410, missing 409" in tree.told
    assert "1 files on disk are archives, each to be unpacked into a folder of its name, and give no" in tree.told


def test_unknown_layout(tree):
    tree.add("train/real/0.png")
    tree.fails(wilddeepfake, "looked for real_train or real train or .*found train/")
