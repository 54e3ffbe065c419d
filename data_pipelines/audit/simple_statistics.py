"""Thirty simple statistics of a prepared clip: if one of them tells a manipulation, no detector of it can be trusted.

Pictures are measured in the whole crop, in the inner face and on the border around it, sound as a whole. All are of the
kind that a detector should not get by with: no model, no fit, no comparison of picture with sound.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from absl import logging

from data_pipelines.fakes import self_blending
from data_pipelines.loading import windows
from data_pipelines.prepare import faces, records
from mmdf_jax.audio import SAMPLE_RATE

REGIONS = ("crop", "inner face", "border")
_OF_REGIONS = ("brightness", "brightness steps", "largest brightness step", "motion", "Laplacian")
_OF_CROPS = ("brightness over time", "largest motion", "saturation", "warmth", "blockiness")
_OF_SOUND = (
    *("loudness", "loudness over time", "crest", "spectral tilt", "spectral centroid"),
    *("high band", "flatness", "zero crossings", "noise floor", "SNR"),
)
NAMES = (
    *(f"{statistic} of the {region}" for region in REGIONS for statistic in _OF_REGIONS),
    *(f"{statistic} of the crop" for statistic in _OF_CROPS),
    *(f"{statistic} of the sound" for statistic in _OF_SOUND),
)
_BLOCK = 8  # pixels of a JPEG block in a crop
_WINDOW, _HOP = 512, 256  # samples


def statistics(folder: str | pathlib.Path) -> list[tuple[records.IndexRow, np.ndarray]]:
    """For each readable record of a folder, `[30]` float64 in the order of NAMES; nan without pictures or sound."""
    found = []
    for split in dict.fromkeys(name for name, _ in records.read_index(folder)):
        reader = records.Records(folder, split)
        for i, row in enumerate(reader.index):
            try:
                found.append((row, of_record(reader[i])))
            except windows.BadRecord as error:
                logging.warning("%s: not measured: %s", row.clip.clip_id, error)
    return found


def of_record(record: Mapping[str, Any]) -> np.ndarray:
    """The statistics `[30]` of one record."""
    pictures, sound = np.full(20, np.nan), np.full(10, np.nan)
    if len(record["frames"]) > 1:
        frames = [windows.decode(data, 0, grey=False, what="a picture") for data in record["frames"]]
        pictures = of_pictures(np.stack(frames), record["crops"]["margin"])
    if len(record["audio"]) >= _WINDOW:
        sound = of_sound(record["audio"][:].astype(np.float64))
    return np.concatenate([pictures, sound])


def of_pictures(frames: np.ndarray, margin: float) -> np.ndarray:
    """The first twenty, of aligned face crops `[t h w 3]` uint8 RGB cut with that margin."""
    grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]).astype(np.float32)
    step = np.abs(np.diff(grey, axis=0))
    fine = np.stack([np.abs(cv2.Laplacian(frame, cv2.CV_32F)) for frame in grey])
    values = []
    for region in _regions(grey.shape[1], margin):
        level = grey[:, region].mean(1)
        jumps = np.abs(np.diff(level))
        values += [level.mean(), jumps.mean(), jumps.max(), step[:, region].mean(), np.log(fine[:, region].mean() + 1)]
    level, motion = grey.mean((1, 2)), step.mean((1, 2))
    colour = frames.mean((0, 1, 2))
    bright, dark = frames.max(3).astype(np.float32), frames.min(3).astype(np.float32)
    across = np.abs(np.diff(grey, axis=2)).mean((0, 1))
    edges = np.arange(len(across)) % _BLOCK == _BLOCK - 1
    blocks = across[edges].mean() / max(across[~edges].mean(), 1e-6)
    saturation = ((bright - dark) / np.maximum(bright, 1)).mean()
    return np.array([*values, level.std(), motion.max(), saturation, colour[0] - colour[2], blocks], float)


def _regions(size: int, margin: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masks `[size size]` bool of REGIONS."""
    hull = faces.face_map(size, margin)
    outline = self_blending.outline("face") @ hull[:, :2].T + hull[:, 2]
    middle = outline.mean(0)

    def filled(scale: float) -> np.ndarray:
        points = np.rint(middle + scale * (outline - middle)).astype(np.int32)
        return cv2.fillPoly(np.zeros((size, size), np.uint8), [points], 1) > 0

    return np.ones((size, size), bool), filled(0.8), filled(1.15) & ~filled(0.8)


def of_sound(sound: np.ndarray) -> np.ndarray:
    """The last ten, of samples `[s]` float64."""
    sound = sound / 32768 - (sound / 32768).mean()
    rms = np.sqrt(np.mean(sound**2)) + 1e-9
    pieces = np.lib.stride_tricks.sliding_window_view(sound, _WINDOW)[::_HOP]
    levels = 20 * np.log10(np.sqrt(np.mean(pieces**2, 1)) + 1e-6)
    power = (np.abs(np.fft.rfft(pieces * np.hanning(_WINDOW))) ** 2).mean(0)[1:] + 1e-12
    hz = np.arange(1, len(power) + 1) * SAMPLE_RATE / _WINDOW
    quiet, loud = np.percentile(levels, [10, 90])
    return np.array(
        [
            20 * np.log10(rms),
            levels.std(),
            np.abs(sound).max() / rms,
            np.polyfit(np.log2(hz), 10 * np.log10(power), 1)[0],  # dB an octave
            np.sum(hz * power) / np.sum(power),
            10 * np.log10(power[hz > 4000].sum() / power.sum()),
            np.exp(np.mean(np.log(power))) / np.mean(power),
            np.mean(np.signbit(sound[1:]) != np.signbit(sound[:-1])),
            quiet,
            loud - quiet,
        ]
    )
