"""AV-Deepfake1M and AV-Deepfake1M++: spans of face, voice or both replaced; labels for train and val only."""

import dataclasses
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from absl import logging

from data_pipelines.clip import Clip
from data_pipelines.datasets import _layout

_TYPES = {"real": (0, 0), "visual_modified": (1, 0), "audio_modified": (0, 1), "both_modified": (1, 1)}
_PARTS = ("train", "val")
_SETS = ("vox_celeb_2", "lrs3", "silent_videos")  # of ++: the folders above the people
_HIDDEN = ("test", "testA", "testB")


def read(root: str, *, val_as_test: bool = False) -> list[Clip]:
    """The labelled videos.

    Args:
      root: the folder with train and val, or one above it. Labels come from <part>_metadata.json, else from the files
        below <part>_metadata/, else from those beside the videos (++).
      val_as_test: the labels of the test parts are hidden; this makes val the test set.
    """
    marks = [name for part in _PARTS for name in (f"{part}_metadata.json", f"{part}_metadata", f"{part}/id*/*")]
    tree = _layout.find("av_deepfake1m", root, *marks, *(f"{part}/{name}" for part in _PARTS for name in _SETS))
    clips, odd = [], {}
    for part in _PARTS:
        present, listed = set(tree.files(part)), []
        for place, entry in _entries(tree, part):
            clip = _clip(tree, part, place, entry, odd)
            listed.append(clip.clip_id.partition("/")[2])
            if listed[-1] in present:
                clips.append(clip)
        if present or listed:
            _layout.compare("av_deepfake1m", f"the metadata of {part}", listed, present)
            _layout.tell_count("av_deepfake1m", part, len(present.intersection(listed)), len(listed))
    if odd:
        first = next(iter(odd))
        logging.warning("av_deepfake1m: %d clips have spans in a real stream, left out; first %s", len(odd), first)
    for part in _HIDDEN:
        if (tree.root / part).is_dir():
            logging.info("av_deepfake1m: the labels of %s are not published: it gives no clips", part)
    if val_as_test:
        clips = [dataclasses.replace(clip, split="test") if clip.split == "val" else clip for clip in clips]
    return _layout.finish(tree, clips, {})


def _entries(tree: _layout.Tree, part: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, entry) of every video that the part's metadata describes."""
    path = tree.root / f"{part}_metadata.json"
    if path.is_file():
        yield from ((f"{path}, entry {i}", entry) for i, entry in enumerate(_layout.read_json(path, list)))
        return
    below = f"{part}_metadata" if (tree.root / f"{part}_metadata").is_dir() else part
    for relative in tree.files(below, suffixes=(".json",)):
        yield str(tree.root / relative), _layout.read_json(pathlib.Path(tree.path(relative)), dict)


def _clip(tree: _layout.Tree, part: str, place: str, entry: dict[str, Any], odd: dict[str, None]) -> Clip:
    """The clip of an entry. Which streams are fake is told by modify_type alone: real clips have an `original` too."""
    if not isinstance(entry, dict) or not {"file", "modify_type"} <= set(entry):
        raise ValueError(f"{place}: expected an object with file and modify_type, found {str(entry)[:80]}")
    kind = str(entry["modify_type"]).replace("-", "_")
    video, audio = _layout.one_of(_TYPES, kind, "modify_type", place)
    spans = {}
    for stream, fake in (("visual", video), ("audio", audio)):
        given = entry.get(f"{stream}_fake_segments")
        spans[stream] = _layout.segments(entry.get("fake_segments") if given is None and fake else given, place)
        if spans[stream] and not fake:
            odd.setdefault(place)
            spans[stream] = ()
    relative = _below(part, entry["file"])
    original = entry.get("original")
    return tree.clip(
        relative,
        int(video or audio),
        split=part,
        video_label=video,
        audio_label=audio,
        method=kind,
        identity=_person(relative),
        video_segments=spans["visual"],
        audio_segments=spans["audio"],
        original=tree.clip_id(_below(part, original)) if original and kind != "real" else "",
    )


def _below(part: str, file: str) -> str:
    return file if file.startswith(f"{part}/") else f"{part}/{file}"


def _person(relative: str) -> str:
    """id04260 of train/id04260/…, lrs3/abc of train/lrs3/abc/…, subject_17_xyz of …/subject_17_xyz_vid_2_6/…"""
    first, second, *_ = [*relative.split("/")[1:], ""]
    people = (name for name in (first, second) if re.fullmatch(r"id\d+", name))
    return next(people, f"{first}/{second.partition('_vid_')[0]}")
