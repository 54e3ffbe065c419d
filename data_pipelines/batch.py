"""Batch: names, shapes and dtypes of what the loader hands to a model, as a function of the config's data section.

Streams: image [b n h w 3], video [b t h w 3], mouth [b t h w 1] uint8; audio [b s] int16 at 16 kHz. All are cut from
one time window. `<stream>_mask [b]` says which exist; labels are those of the window; `mask [b]` is False on padding.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

SAMPLE_RATE = 16_000
LABELS = ("label", "video_label", "audio_label")


def zeros(config: Mapping[str, Any], rows: int) -> dict[str, np.ndarray]:
    """An all-zero batch of `rows` rows, every mask True: the shapes for `init` and `eval_shape`.

    Raises:
      ValueError: config.streams names an unknown stream.
    """
    return {name: np.ones(*of) if of[1] is bool else np.zeros(*of) for name, of in shapes(config, rows).items()}


def shapes(config: Mapping[str, Any], rows: int) -> dict[str, tuple[tuple[int, ...], type]]:
    """Shape and type of each array of a batch of `rows` rows; errors as in `zeros`."""
    of: dict[str, tuple[tuple[int, ...], type]] = {}
    for stream, options in config["streams"].items():
        of[stream] = (rows, *_shape(stream, options, config["window"])), _dtype(stream)
        of[f"{stream}_mask"] = (rows,), bool
    of |= dict.fromkeys((*LABELS, "clip_index"), ((rows,), np.int32))
    return of | {"window_start": ((rows,), np.float32), "mask": ((rows,), bool)}


def _dtype(stream: str) -> type:
    return np.int16 if stream == "audio" else np.uint8


def _shape(stream: str, options: Mapping[str, Any], window: float) -> tuple[int, ...]:
    if stream == "audio":
        return (round(window * SAMPLE_RATE),)
    if stream == "image":
        return (options["frames"], options["size"], options["size"], 3)
    if stream in ("video", "mouth"):
        channels = 3 if stream == "video" else 1
        return (round(window * options["fps"]), options["size"], options["size"], channels)
    raise ValueError(f"config.data.streams: unknown stream {stream!r}; known: image, video, mouth, audio")
