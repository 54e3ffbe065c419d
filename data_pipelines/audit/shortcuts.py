"""What of a clip should not tell fakes from reals: length, loudness, bitrate, size, codec, colour, leading silence."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging

from data_pipelines.loading import windows
from data_pipelines.prepare import records

_PICTURES = 5  # the mean colour is that of this many pictures of a clip
_NEAR_SILENCE = 33.0  # int16 units: -60 dB of full scale; silence made by a computer lies below
_FRAME = 160  # samples; the search for leading silence measures loudness in such steps


def features(folder: str | pathlib.Path) -> list[tuple[records.IndexRow, dict[str, Any]]]:
    """For each readable record: probe -> tuple of floats, or a word; without probes that have no value."""
    report = {row["clip_id"]: row for row in records.read_report(folder)}
    found = []
    for split in dict.fromkeys(name for name, _ in records.read_index(folder)):
        reader = records.Records(folder, split)
        for i, row in enumerate(reader.index):
            try:
                found.append((row, _features(reader[i], row, report.get(row.clip.clip_id, {}))))
            except windows.BadRecord as error:
                logging.warning("%s: not probed: %s", row.clip.clip_id, error)
    return found


def _features(record: Mapping[str, Any], row: records.IndexRow, report: Mapping[str, str]) -> dict[str, Any]:
    size, seconds = float(report.get("bytes") or 0), row.duration
    values: dict[str, Any] = {"duration": (seconds,)}
    if record["audio_present"]:
        audio = record["audio"][:].astype(np.float64)
        values["leading silence"] = _leading_silence(audio)
        values["loudness"] = (20 * np.log10(np.sqrt(np.mean(audio**2)) + 1.0), 20 * np.log10(np.abs(audio).max() + 1.0))
    if size and seconds:
        values["bitrate"] = (size / seconds,)
    if record["video_present"]:
        width, height = record["source_size"]
        values["resolution"] = (width * height, width / max(height, 1))
    values["codec"] = record["codecs"]
    if size:
        values["file size"] = (size,)
    if float(report.get("face_size") or 0):
        values["face size"] = (float(report["face_size"]),)
    if frames := record["frames"]:
        chosen = [frames[i] for i in np.linspace(0, len(frames) - 1, _PICTURES).round().astype(int)]
        what = f"a picture of {row.clip.clip_id}"
        colours = [windows.decode(data, 16, grey=False, what=what).mean((0, 1)) for data in chosen]
        values["mean colour"] = tuple(np.mean(colours, axis=0))
    return values


def _leading_silence(audio: np.ndarray) -> tuple[float, float]:
    """Seconds before the sound passes -60 dB of full scale, and before it passes -30 dB of its own level."""
    frames = audio[: len(audio) // _FRAME * _FRAME].reshape(-1, _FRAME)
    levels = np.sqrt(np.mean(frames**2, axis=1)) if len(frames) else np.zeros(1)
    own = np.sqrt(np.mean(audio**2)) * 10 ** (-30 / 20) if len(audio) else 0.0
    first = [float(np.argmax(np.append(levels, np.inf) > level)) for level in (_NEAR_SILENCE, own)]
    return first[0] * _FRAME / windows.SAMPLE_RATE, first[1] * _FRAME / windows.SAMPLE_RATE
