"""Clip: the one record that every dataset reader emits, before any decoding, and its CSV form, the manifest."""

import csv
import dataclasses
import json
import pathlib
from collections.abc import Iterable, Sequence

Segment = tuple[float, float]
SPLITS = ("train", "val", "test")


@dataclasses.dataclass(frozen=True)
class Clip:
    """One media file and what its dataset says of it. Labels: 1 fake, 0 real, -1 unknown or absent."""

    clip_id: str  # unique: dataset and relative path
    path: str
    label: int
    audio_path: str = ""  # where the sound lies apart from the picture
    landmarks_path: str = (
        ""  # .npz with `landmarks [t 68 2]` pixels and `times [t]` seconds, where the dataset knows them
    )
    dataset: str = ""
    split: str = ""  # one of SPLITS, or "" when the dataset has no official split
    video_label: int = -1
    audio_label: int = -1
    method: str = ""  # "real", or the name of the manipulation
    identity: str = ""  # the person shown
    donors: tuple[str, ...] = ()  # people whose face or voice was put in
    video_segments: tuple[Segment, ...] = ()  # fake spans in seconds; () with video_label 1 means all of it
    audio_segments: tuple[Segment, ...] = ()
    compression: str = ""
    original: str = ""  # clip_id or path of the real clip that this one was made from
