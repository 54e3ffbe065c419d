"""Clip: the one record that every dataset reader emits, before any decoding, and its CSV form, the manifest."""

import csv
import dataclasses
import difflib
import json
import os
import pathlib
from collections.abc import Iterable

from absl import logging

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
    mask_path: str = ""  # a film as long and as large as `path`, white where that one is manipulated
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
    original: str = ""  # clip_id of the real clip that this one was made from; a manifest may give its path
    fps: float = 25.0  # pictures a second where `path` is a folder of frames; a file tells its own
    audio_offset: float = 0.0  # s by which the sound comes late (early: negative), which the record makes good


FIELDS = tuple(field.name for field in dataclasses.fields(Clip))
PATHS = ("path", "audio_path", "landmarks_path", "mask_path")
_LABELS = {"label": (0, 1), "video_label": (-1, 0, 1), "audio_label": (-1, 0, 1)}
_SEGMENTS = ("video_segments", "audio_segments")


def to_row(clip: Clip) -> dict[str, str]:
    """The clip's fields as CSV cells; lists as JSON, "" when empty."""
    row = {}
    for name, value in ((name, getattr(clip, name)) for name in FIELDS):
        row[name] = (json.dumps(value) if value else "") if isinstance(value, tuple) else str(value)
    return row


def from_row(row: dict[str, str]) -> Clip:
    """The clip that `to_row` wrote; missing cells take the defaults. ValueError names the field and the value."""
    values: dict[str, object] = {"clip_id": ""}
    for name in FIELDS:
        cell = (row.get(name) or "").strip() if name not in PATHS else (row.get(name) or "")
        if cell == "":
            continue
        if name in _LABELS:
            values[name] = _label(name, cell)
        elif name == "donors":
            values[name] = tuple(str(item) for item in _list(name, cell))
        elif name in _SEGMENTS:
            values[name] = tuple(_segment(name, item) for item in _list(name, cell))
        elif name == "fps":
            values[name] = frames_a_second(cell)
        elif name == "audio_offset":
            values[name] = _seconds(name, cell)
        elif name == "split" and cell not in SPLITS:
            raise ValueError(f"split is {cell!r}, expected one of {', '.join(SPLITS)} or an empty cell")
        else:
            values[name] = cell
    return Clip(**values)


def read_manifest(path: str | pathlib.Path, dataset: str = "") -> list[Clip]:
    """The clips of a CSV manifest, in its order.

    Columns are Clip's field names; `path,label` suffice. Paths are relative to the manifest's folder. Lists are
    JSON, or items with `;` between them (segments then as `0.4-1.2;3-4.5`). An `original` that is another clip's path
    becomes its clip_id; one that no clip has ties those that name it. An empty `clip_id` becomes the dataset
    and the relative path; an empty `dataset` becomes the argument. A column that Clip does not know is told in the
    log and left out.

    Raises FileNotFoundError if there is no such file and ValueError, naming file and line, for a missing column, a
    label that is not 0 or 1, a bad split or list, and a clip_id or path that occurs twice.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such manifest")
    with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        try:
            reader = csv.DictReader(file, strict=True)
            columns = [(name or "").strip() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            rows = [(reader.line_num, row) for row in reader if any(row.values())]
        except csv.Error as error:
            raise ValueError(f"{path}: not a CSV manifest ({error})") from None
    if missing := [name for name in ("path", "label") if name not in columns]:
        found = ", ".join(columns) or "none"
        raise ValueError(f"{path}: the manifest has no column {' and no column '.join(missing)}; found {found}")
    for name in columns:
        if name not in FIELDS:
            near = difflib.get_close_matches(name, FIELDS, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            logging.warning("%s: column %r is not known and is left out%s", path, name, hint)
    clips = []
    lines: dict[tuple[str, ...], int] = {}
    for line, row in rows:
        try:
            if None in row or None in row.values():
                raise ValueError(f"the row has another number of cells than the header ({len(columns)})")
            for name in ("path", "label"):
                if not row[name].strip():
                    raise ValueError(f"{name} is empty")
            clip = _resolve(from_row({"dataset": dataset} | row), path.parent)
        except ValueError as error:
            raise ValueError(f"{path}, line {line}: {error}") from None
        for key in (("clip_id", clip.clip_id), ("path", clip.path, clip.audio_path)):
            if key in lines:
                raise ValueError(f"{path}, line {line}: {key[0]} {key[1]!r} stands in line {lines[key]} already")
            lines[key] = line
        clips.append(clip)
    if not clips:
        raise ValueError(f"{path}: the manifest lists no clip")
    return _with_originals(clips, path.parent)


def write_manifest(path: str | pathlib.Path, clips: Iterable[Clip]) -> None:
    """Writes all of the clips' fields as CSV, paths absolute, so that `read_manifest` gives the same clips."""
    with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        for clip in clips:
            paths = {name: os.path.abspath(value) for name in PATHS if (value := getattr(clip, name))}
            writer.writerow(to_row(dataclasses.replace(clip, **paths)))


def _resolve(clip: Clip, folder: pathlib.Path) -> Clip:
    """Paths made absolute from the manifest's folder, and the clip_id from dataset and relative path."""
    relative = os.path.relpath(os.path.join(folder, clip.path), folder)
    relative = clip.path if relative.startswith("..") else relative
    paths = {name: os.path.abspath(os.path.join(folder, value)) for name in PATHS if (value := getattr(clip, name))}
    clip_id = clip.clip_id or (f"{clip.dataset}/{relative}" if clip.dataset else relative)
    return dataclasses.replace(clip, clip_id=clip_id, **paths)


def _with_originals(clips: list[Clip], folder: pathlib.Path) -> list[Clip]:
    """The clips with the clip_id of each original that is given as a path from the manifest's folder."""
    ids = {clip.clip_id for clip in clips}
    by_path = {clip.path: clip.clip_id for clip in clips}
    named = {clip.original for clip in clips if clip.original and clip.original not in ids}
    found = {original: by_path.get(os.path.abspath(os.path.join(folder, original)), original) for original in named}
    return [dataclasses.replace(clip, original=found.get(clip.original, clip.original)) for clip in clips]


def _label(name: str, cell: str) -> int:
    try:
        value = float(cell)
    except ValueError:
        value = None
    if value not in _LABELS[name]:
        allowed = " or ".join(map(str, _LABELS[name]))
        raise ValueError(f"{name} is {cell!r}, expected {allowed} (1 fake, 0 real)")
    return int(value)


def _seconds(name: str, cell: str) -> float:
    try:
        if -60 <= (seconds := float(cell)) <= 60:
            return seconds
    except ValueError:
        pass
    raise ValueError(f"{name} is {cell!r}, expected seconds from -60 to 60 (positive: the sound is late)")


def frames_a_second(value: float | str) -> float:
    """`value` as a Clip's fps. ValueError if it is none."""
    try:
        if 0.1 <= (fps := float(value)) <= 1000:
            return fps
    except (TypeError, ValueError):
        pass
    raise ValueError(f"fps is {value!r}, expected pictures a second, from 0.1 to 1000")


def _list(name: str, cell: str) -> list:
    if not cell.startswith("["):
        return [item.strip() for item in cell.split(";") if item.strip()]
    try:
        return json.loads(cell)
    except json.JSONDecodeError as error:
        raise ValueError(f"{name} is {cell!r}, which is not a JSON list ({error})") from None


def _segment(name: str, item: object) -> Segment:
    try:
        start, end = item.split("-") if isinstance(item, str) else item
        start, end = float(start), float(end)
    except (TypeError, ValueError):
        start = end = float("nan")
    if not 0 <= start < end < float("inf"):
        raise ValueError(f"{name} holds {item!r}, expected a start and a later end in seconds")
    return start, end
