"""DFDC (full): train parts with metadata.json, and the test set with either form of its labels."""

import pathlib

from data_pipelines.clip import Clip
from data_pipelines.datasets import _layout

_PARTS = 50
_TEST = {"real": 2500, "fake": 2500}
_LISTS = ("metadata.json", "labels.csv")
_MARKS = (
    *("train/dfdc_train_part_*", "dfdc_train_part_*", "test/metadata.json", "test/labels.csv"),
    *("train/metadata.json", *_LISTS),
)


def read(root: str) -> list[Clip]:
    """All videos that a list in their folder labels.

    root: the folder with train/dfdc_train_part_* or dfdc_train_part_*, with test/, or one such part. A fake may be one
    of face, voice or both; the dataset does not say which, so fakes have no video and audio label.
    """
    tree = _layout.find("dfdc", root, *_MARKS)
    found = tree.files(suffixes=(*_layout.VIDEO, ".json", ".csv"))
    lists = {}  # of a folder with both forms the first is read
    for name in reversed(_LISTS):
        lists |= {path.rpartition("/")[0]: path for path in found if path.rpartition("/")[2] == name}
    videos = [path for path in found if _layout.suffix(path) in _layout.VIDEO]
    if not lists:
        found = _layout.listing(tree.root)
        raise ValueError(f"{tree.root}: looked for {' or '.join(_LISTS)} beside the videos, found {found}")
    clips, used = [], set()
    for folder, path in sorted(lists.items()):
        prefix = f"{folder}/" if folder else ""
        present = {video.rpartition("/")[2]: video for video in videos if video.startswith(prefix)}
        entries = _json(tree.root / path) if path.endswith(".json") else _csv(tree.root / path)
        _layout.tell_missing("dfdc", path, entries, present)
        for name, (label, original, split) in entries.items():
            if name not in present:
                continue
            used.add(present[name])
            known = -1 if label else 0
            original = tree.clip_id(present.get(original, prefix + original)) if original else ""
            facts = {"split": split, "original": original, "video_label": known, "audio_label": known}
            clips.append(tree.clip(present[name], label, **facts))
    _layout.tell_unused("dfdc", "are in no list", set(videos) - used)
    parts = {clip.clip_id.rpartition("/")[0] for clip in clips if clip.split == "train"}
    if parts:
        _layout.tell_count("dfdc", "train parts", len(parts), _PARTS)
    expected = {f"test {kind}": count for kind, count in _TEST.items()} if any(c.split == "test" for c in clips) else {}
    return _layout.finish(tree, clips, expected, lambda clip: f"{clip.split} {'fake' if clip.label else 'real'}")


def _json(path: pathlib.Path) -> dict[str, tuple[int, str, str]]:
    """name -> (label, original's name, split), from the train form (`label`) or the test form (`is_fake`)."""
    entries = {}
    for name, entry in _layout.read_json(path, dict).items():
        place = f"{path}, {name}"
        if not isinstance(entry, dict) or not {"label", "is_fake"} & set(entry):
            raise ValueError(f"{place}: expected a label or is_fake, found {str(entry)[:80]}")
        if "is_fake" in entry:
            label = _layout.one_of({"0": 0, "1": 1}, str(entry["is_fake"]), "is_fake", place)
            entries[name] = label, "", "test"
        else:
            label = _layout.one_of({"REAL": 0, "FAKE": 1}, str(entry["label"]), "the label", place)
            entries[name] = label, entry.get("original") or "", "train"
    return entries


def _csv(path: pathlib.Path) -> dict[str, tuple[int, str, str]]:
    rows = _layout.read_table(path, "filename", "label")
    labels = {"0": 0, "1": 1}
    return {row["filename"]: (_layout.one_of(labels, row["label"], "label", place), "", "test") for place, row in rows}
