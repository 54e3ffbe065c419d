"""FaceForensics++ with FaceShifter and DeepFakeDetection: pairs, official splits, three compressions."""

import json
import os
import pathlib
import re
from collections.abc import Sequence

from absl import logging

from data_pipelines.clip import Clip
from data_pipelines.datasets import _layout

METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")
DFD = "DeepFakeDetection"
_FOLDERS = {"raw": ("raw", "c0"), "c0": ("raw", "c0"), "c23": ("c23",), "c40": ("c40",)}
_PAIR = re.compile(r"(\d{3})_(\d{3})")
_ACTOR = re.compile(r"(\d+)__(.+)")
_ACTORS = re.compile(r"(\d+)_(\d+)__(.+)__(\w{8})")


def read(root: str, *, compression: str = "c23", methods: Sequence[str] = METHODS) -> list[Clip]:
    """The videos of one compression.

    Args:
      root: the folder with original_sequences and manipulated_sequences, or one above it.
      compression: raw (also called c0), c23 or c40.
      methods: of METHODS and DFD. The YouTube originals come with any of METHODS (and with none at all), the actors'
        with DFD, which has no official split.

    Raises FileNotFoundError or ValueError with one line; so do all readers.
    """
    _layout.check("compression", compression, _FOLDERS)
    for method in methods:
        _layout.check("methods", method, (*METHODS, DFD))
    tree = _layout.find("faceforensics", root, "original_sequences", "manipulated_sequences")
    clips, strange = [], []
    classic = [method for method in methods if method != DFD]
    if classic or not methods:
        clips += _youtube(tree, compression, classic, strange)
    if DFD in methods:
        clips += _actors(tree, compression, strange)
    elif (tree.root / "manipulated_sequences" / DFD).is_dir():
        logging.info("faceforensics: %s is there but not asked for in methods", DFD)
    _layout.tell_unused("faceforensics", "have names of another form", strange)
    if not clips:
        found = sorted({path.name for path in tree.root.glob("*_sequences/*/*") if path.is_dir()})
        wanted = " or ".join(f"*_sequences/*/{name}/videos" for name in _FOLDERS[compression])
        raise ValueError(f"{tree.root}: no videos in {wanted}; compressions found: {', '.join(found) or 'none'}")
    originals = {"real": 1000} if classic or not methods else {}
    expected = originals | dict.fromkeys(classic, 1000) | ({"real actors": 363, DFD: 3068} if DFD in methods else {})
    return _layout.finish(tree, clips, expected, _part)


def pairs() -> dict[str, list[tuple[str, str]]]:
    """The official pairs of each split: (a, b) are two originals, of which fakes a_b and b_a were made."""
    text = pathlib.Path(__file__).with_name("faceforensics_splits.json").read_text()
    return {split: [(a, b) for a, b in rows] for split, rows in json.loads(text).items()}


def _youtube(tree: _layout.Tree, compression: str, methods: Sequence[str], strange: list[str]) -> list[Clip]:
    split = {name: part for part, rows in pairs().items() for a, b in rows for name in (a, b, f"{a}_{b}", f"{b}_{a}")}
    clips, present = [], []
    originals = {}
    for relative in _videos(tree, "original_sequences/youtube", compression):
        name = _layout.stem(relative)
        if not re.fullmatch(r"\d{3}", name):
            strange.append(relative)
            continue
        originals[name] = tree.clip_id(relative)
        present.append(f"youtube/{name}")
        clips.append(_clip(tree, relative, 0, compression, identity=name, split=split.get(name, "")))
    for method in methods:
        for relative in _videos(tree, f"manipulated_sequences/{method}", compression):
            name = _layout.stem(relative)
            if not (match := _PAIR.fullmatch(name)):
                strange.append(relative)
                continue
            target, source = match.groups()
            facts = {"method": method, "identity": target, "donors": (source,), "split": split.get(name, "")}
            facts["mask_path"] = _mask(tree, method, relative)
            present.append(f"{method}/{name}")
            clips.append(_clip(tree, relative, 1, compression, original=originals.get(target, ""), **facts))
    listed = [f"youtube/{name}" for name in split if "_" not in name]
    listed += [f"{method}/{name}" for method in methods for name in split if "_" in name]
    _layout.tell_missing("faceforensics", "the official splits", listed, present)
    return clips


def _actors(tree: _layout.Tree, compression: str, strange: list[str]) -> list[Clip]:
    clips, originals = [], {}
    for relative in _videos(tree, "original_sequences/actors", compression):
        if not (match := _ACTOR.fullmatch(_layout.stem(relative))):
            strange.append(relative)
            continue
        originals[match.groups()] = tree.clip_id(relative)
        clips.append(_clip(tree, relative, 0, compression, identity=f"actor{match[1]}"))
    for relative in _videos(tree, f"manipulated_sequences/{DFD}", compression):
        if not (match := _ACTORS.fullmatch(_layout.stem(relative))):
            strange.append(relative)
            continue
        target, source, scene, _ = match.groups()
        facts = {"method": DFD, "identity": f"actor{target}", "donors": (f"actor{source}",)}
        facts["mask_path"] = _mask(tree, DFD, relative)
        clips.append(_clip(tree, relative, 1, compression, original=originals.get((target, scene), ""), **facts))
    return clips


def _clip(tree: _layout.Tree, relative: str, label: int, compression: str, **fields) -> Clip:
    """The dataset has no sound, so there is no audio label."""
    return tree.clip(relative, label, video_label=label, compression=_FOLDERS[compression][0], **fields)


def _mask(tree: _layout.Tree, method: str, relative: str) -> str:
    """Where the fake's mask film lies; "" if it was not downloaded (FaceShifter has none)."""
    path = tree.path(f"manipulated_sequences/{method}/masks/videos/{relative.rpartition('/')[2]}")
    return path if os.path.isfile(path) else ""


def _videos(tree: _layout.Tree, folder: str, compression: str) -> list[str]:
    return tree.files(*(f"{folder}/{name}/videos" for name in _FOLDERS[compression]))


def _part(clip: Clip) -> str:
    return "real actors" if clip.label == 0 and clip.identity.startswith("actor") else clip.method
