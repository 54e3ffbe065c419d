"""DFDC Preview: two unnamed methods, labels and test set in dataset.json."""

import re

from data_pipelines.clip import Clip
from data_pipelines.datasets import _layout

_LABELS = {"real": 0, "fake": 1}
_NAMES = {0: re.compile(r"(?P<target>\d+)_.+"), 1: re.compile(r"(?P<donor>\d+)_(?P<target>\d+)_.+")}


def read(root: str) -> list[Clip]:
    """The videos of dataset.json, with its train and test sets. root: its folder, or one above it.

    A fake may be one of face, voice or both; the dataset does not say which.
    """
    tree = _layout.find("dfdc_preview", root, "dataset.json")
    present = set(tree.files())
    clips = []
    entries = _layout.read_json(tree.root / "dataset.json", dict)
    _layout.compare("dfdc_preview", "dataset.json", entries, present)
    for relative, entry in entries.items():
        place = f"{tree.root / 'dataset.json'}, {relative}"
        if not isinstance(entry, dict):
            raise ValueError(f"{place}: expected label and set, found {entry!r}")
        label = _layout.one_of(_LABELS, str(entry.get("label")).lower(), "label", place)
        split = _layout.one_of({"train": "train", "test": "test"}, str(entry.get("set")), "set", place)
        if relative not in present:
            continue
        target, donor = str(entry.get("target_id") or ""), str(entry.get("swapped_id") or "")
        if not target and (match := _NAMES[label].fullmatch(_layout.stem(relative))):
            target, donor = match["target"], match["donor"] if label else ""
        facts = {"method": relative.partition("/")[0]} if label else {}
        facts |= {"identity": target, "donors": (donor,) if donor and label else ()}
        known = -1 if label else 0
        clips.append(tree.clip(relative, label, split=split, video_label=known, audio_label=known, **facts))
    return _layout.finish(tree, clips, {})
