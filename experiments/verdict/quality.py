"""How good a file is as evidence: what is measured of its face and its sound, the limits, and the flags beyond them."""

import contextlib
import csv
import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from data_pipelines.loading.windows import BadRecord
from data_pipelines.source import Source
from experiments.score_table import write_csv
from mmdf_jax.audio import SAMPLE_RATE

FRAMES = 12  # face crops that are measured, evenly spread
SIDE = 64  # pixels: crops are measured at one size, whatever they are stored at
BLOCK = SAMPLE_RATE // 25
SILENT = -50.0  # dB of full scale
TABLE = "quality.csv"  # in a run's folder: the measures of its validation clips

# name: what it is, and its unit
MEASURES = {
    "face_pixels": ("side of the face in the source", "pixels"),
    "brightness": ("mean grey of the face", "of 255"),
    "contrast": ("standard deviation of the face's grey levels", "of 255"),
    "sharpness": ("standard deviation of the Laplacian of the face at 64 pixels", "grey levels"),
    "colour": ("mean distance of the face's colours from grey", "of 255"),
    "movement": ("mean change of the face from frame to frame", "grey levels"),
    "face_seen": ("share of the frames in which the face is seen", "of 1"),
    "loudness": ("root mean square of the sound", "dB of full scale"),
    "noise_floor": ("loudness of the quietest tenth of the sound", "dB of full scale"),
    "bandwidth": ("highest frequency of the sound within 60 dB of its strongest", "Hz"),
}


@dataclasses.dataclass(frozen=True)
class Flag:
    """Something about a file that weakens what can be said of it.

    serious: nothing should be concluded from such a picture.
    """

    name: str
    measured: float
    limit: float
    unit: str
    words: str
    serious: bool = False


def measure(record: Mapping[str, Any], margin: float) -> dict[str, float]:
    """MEASURES of a record (data_pipelines.record), nan where it has no picture or no sound.

    margin: by how much its crops are larger than the face (Crops.margin).
    """
    found = dict.fromkeys(MEASURES, math.nan)
    frames = record["frames"]
    if count := len(frames):
        boxes, seen = record["boxes"], record["found"]
        found["face_pixels"] = float(np.median(boxes[:, 2] - boxes[:, 0])) / (1 + margin)
        found["face_seen"] = float(np.mean(seen > 0))
        where = np.flatnonzero(seen > 0)
        places = where[np.linspace(0, len(where) - 1, min(FRAMES, len(where))).round().astype(int)]
        pairs = [[_crop(frames[j]) for j in (i, i + 1) if j < count] for i in map(int, places)]
        crops = [pair[0] for pair in pairs]
        greys = [cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY).astype(np.float32) for crop in crops]
        if greys:
            found["brightness"] = float(np.mean([grey.mean() for grey in greys]))
            found["contrast"] = float(np.mean([grey.std() for grey in greys]))
            found["sharpness"] = float(np.mean([cv2.Laplacian(grey, cv2.CV_32F).std() for grey in greys]))
            found["colour"] = float(np.mean([_colour(crop) for crop in crops]))
        if moved := [float(np.abs(pair[1].astype(np.float32) - pair[0]).mean()) for pair in pairs if len(pair) == 2]:
            found["movement"] = float(np.mean(moved))
    audio = record["audio"][:]
    if len(audio) >= BLOCK:
        found |= _sound(audio)
    return found


def _crop(jpeg: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    how = cv2.INTER_AREA if image.shape[0] > SIDE else cv2.INTER_LINEAR
    return cv2.resize(image, (SIDE, SIDE), interpolation=how)


def _colour(crop: np.ndarray) -> float:
    pixels = crop.astype(np.float32)
    return float(np.abs(pixels - pixels.mean(2, keepdims=True)).mean())


def _sound(audio: np.ndarray) -> dict[str, float]:
    blocks = audio[: len(audio) // BLOCK * BLOCK].reshape(-1, BLOCK).astype(np.float32) / 32768
    power = np.square(blocks).mean(1)
    spectrum = (np.abs(np.fft.rfft(blocks * np.hanning(BLOCK), axis=1)) ** 2).mean(0)
    heard = np.flatnonzero(spectrum >= 1e-6 * max(float(spectrum.max()), 1e-20))
    return {
        "loudness": _decibels(power.mean()),
        "noise_floor": _decibels(np.quantile(power, 0.1)),
        "bandwidth": float(heard.max(initial=0) * SAMPLE_RATE / BLOCK),
    }


def _decibels(power: float) -> float:
    return float(10 * np.log10(max(float(power), 1e-12)))


# (measure, limit, flag, words, whether above the limit is bad, whether it is serious). A limit of None is the caller's.
_LIMITS = (
    ("face_pixels", None, "small", "the face is small: it is enlarged more than twice for the detector", False, True),
    ("brightness", 40.0, "dark", "the face is dark", False, True),
    ("brightness", 225.0, "bright", "the face is overexposed", True, True),
    ("contrast", 12.0, "flat", "the face has hardly any contrast", False, True),
    ("sharpness", 6.0, "blurred", "the face is blurred", False, True),
    ("face_seen", 0.5, "face_hidden", "the face is seen in part of the frames only", False, False),
    ("loudness", SILENT, "silent", "the sound is silent or nearly so; it counts as none", False, False),
    ("bandwidth", 3800.0, "narrow_band", "the sound has the bandwidth of a telephone", False, False),
)


def flags(
    measures: Mapping[str, float],
    *,
    face_side: float,
    people: int,
    seconds: float,
    window: float,
    still: bool = False,
    pictures: bool = True,
) -> list[Flag]:
    """What is beyond its limit.

    face_side: of the face itself in the crops that the detectors read, pixels (Crops.face_side). people: how many are
    told apart. seconds: what there is of the file; window: what a detector reads at a time. still: the file is one
    picture. pictures: whether it has any.
    """
    found = []
    no_face, no_sound = math.isnan(measures["brightness"]), math.isnan(measures["loudness"])
    if no_face and pictures:
        found.append(Flag("no_face", 0.0, 1.0, "faces", "no face is seen"))
    if no_sound and not still:
        found.append(Flag("no_sound", 0.0, BLOCK / SAMPLE_RATE, "s", "there is no sound"))
    for name, limit, flag, words, above, serious in _LIMITS:
        limit = face_side / 2 if limit is None else limit
        value = measures[name]
        if not math.isnan(value) and ((value > limit) if above else (value < limit)):
            found.append(Flag(flag, value, limit, MEASURES[name][1], words, serious))
    if people > 1:
        found.append(Flag("several_people", people, 1, "people", f"{people} people are seen; each is judged"))
    if seconds < window and not still:
        found.append(Flag("short", seconds, window, "s", "the file is shorter than what a detector reads at a time"))
    return found


def mean_of(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of several parts' measures, over those that are known."""
    values = {name: [part[name] for part in parts if not math.isnan(part[name])] for name in MEASURES}
    return {name: float(np.mean(known)) if known else math.nan for name, known in values.items()}


def write(path: pathlib.Path, records: Source, margin: float) -> None:
    """The table of the measures of records, a row each with clip_id and duration in s; damaged ones are left out."""
    rows = []
    for i, row in enumerate(records.index):
        with contextlib.suppress(BadRecord):
            rows.append({"clip_id": row.clip.clip_id, "duration": row.duration, **measure(records[i], margin)})
    write_csv(path, ["clip_id", "duration", *MEASURES], rows)


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """{measure: [n]} of a table of `write`, with `clip_id` and `duration`; nan where unknown.

    Raises:
      ValueError: it is no such table, or a damaged one.
    """
    columns = ("clip_id", "duration", *MEASURES)
    with open(path, newline="", encoding="utf-8", errors="replace") as file:
        table = csv.DictReader(file)
        rows = list(table)
    if missing := [name for name in columns if name not in (table.fieldnames or ())]:
        raise ValueError(f"{path}: expected a table of quality measures, found none: column {missing[0]!r} is missing")
    found = {"clip_id": np.array([row["clip_id"] for row in rows], object)}
    for name in columns[1:]:
        found[name] = np.full(len(rows), math.nan)
        for i, row in enumerate(rows):
            if row[name] is None:
                raise ValueError(f"{path}, line {i + 2}: the row ends before column {name}; the table is damaged")
            try:
                found[name][i] = float(row[name] or "nan")
            except ValueError:
                raise ValueError(
                    f"{path}, line {i + 2}, column {name}: expected a number, found {row[name]!r:.40}"
                ) from None
    return found
