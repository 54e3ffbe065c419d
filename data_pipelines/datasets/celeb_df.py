"""Celeb-DF v1 and v2: celebrities swapped among each other; the test list's labels are inverted (1 = real)."""

import dataclasses
import re

from data_pipelines.clip import Clip
from data_pipelines.datasets import _layout

_LIST = "List_of_testing_videos.txt"
_FOLDERS = {"Celeb-real": 0, "YouTube-real": 0, "Celeb-synthesis": 1}
_EXPECTED = {
    1: {"Celeb-real": 158, "YouTube-real": 250, "Celeb-synthesis": 795},
    2: {"Celeb-real": 590, "YouTube-real": 300, "Celeb-synthesis": 5639, "test list": 518},
}
_NAMES = {
    "Celeb-real": re.compile(r"(?P<target>id\d+)_(?P<take>\d+)"),
    "YouTube-real": re.compile(r"\d{5}"),
    "Celeb-synthesis": re.compile(r"(?P<target>id\d+)_(?P<source>id\d+)_(?P<take>\d+)"),
}


def read(root: str, *, version: int = 2) -> list[Clip]:
    """All videos; the listed ones are test, the others train.

    root: the folder with Celeb-real, YouTube-real and Celeb-synthesis, or one above it. version: 1 or 2, for the
    expected numbers and, so that clips of both versions differ, the dataset's name. ValueError if the test list is
    absent or contradicts the folders.
    """
    _layout.check("version", version, _EXPECTED)
    tree = _layout.find("celeb_df" if version == 2 else "celeb_df_v1", root, *_FOLDERS)
    test = _test_list(tree)
    clips, strange = [], []
    videos = tree.files(*_FOLDERS)
    for relative in videos:
        folder = relative.partition("/")[0]
        match = _NAMES[folder].fullmatch(_layout.stem(relative))
        if relative.count("/") != 1 or not match:
            strange.append(relative)
            continue
        label = _FOLDERS[folder]
        clip = tree.clip(relative, label, video_label=label, split="test" if relative in test else "train")
        if "target" in match.groupdict():
            clip = dataclasses.replace(clip, identity=match["target"])
        if label:
            original = tree.clip_id(f"Celeb-real/{match['target']}_{match['take']}.mp4")
            clip = dataclasses.replace(clip, method="Celeb-synthesis", donors=(match["source"],), original=original)
        clips.append(clip)
    _layout.tell_unused(tree.dataset, "have names of another form", strange)
    _layout.tell_missing(tree.dataset, _LIST, test, videos)
    expected = dict(_EXPECTED[version])
    _layout.tell_count(tree.dataset, "test list", len(test), expected.pop("test list", None))
    return _layout.finish(tree, clips, expected, lambda clip: clip.clip_id.split("/")[1])


def _test_list(tree: _layout.Tree) -> set[str]:
    """Relative paths of the test videos, each checked to have the label of its folder."""
    path = tree.root / _LIST
    if not path.is_file():
        found = _layout.listing(tree.root)
        raise ValueError(f"{tree.root}: no {_LIST}, without which test videos would be trained on; found {found}")
    test = set()
    for place, (word, relative, *_) in _layout.read_columns(path, 2):
        label = 1 - _layout.one_of({"0": 0, "1": 1}, word, "the label", place)
        folder = relative.partition("/")[0]
        if _layout.one_of(_FOLDERS, folder, "the folder", place) != label:
            raise ValueError(
                f"{place}: {word} {relative}: expected 1 for real and 0 for fake, as the dataset's list has"
            )
        test.add(relative)
    return test
