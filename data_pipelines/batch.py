"""Batch: names, shapes and dtypes of what the loader hands to a model, as a function of the config's data section.

Streams: image [b n h w 3], video [b t h w 3], mouth [b t h w 1] uint8; audio [b s] int16 at 16 kHz. All are cut from
one time window. `<stream>_mask [b]` says which exist, `<stream>_valid` which of their pictures [b n] or [b t], or
40 ms of sound [b round(window * 25)], lie inside the clip and, of pictures, show a face. Labels are the window's own;
`mask [b]` is False on padding.

Targets, where `targets` in the config's data section asks for them, with their options; -1 unknown:
  frame_labels {feather: s}: `frame_labels_video`, `_audio`, `_sync` [b round(window * 25)] float32, from 0 real to
    1 fake, with ramps of `feather` s at a fake span's ends; -1 also beyond the clip. `sync`: the streams do not belong
    together, though each may be real.
  method {vocabulary: names}: `method [b]` int32, the index of the method shown. In place of a name may stand several,
    methods that are one type; the first of them names it.
  spans {max: k}: `spans [b k 2]` float32, when the window is fake, s from its start, in order; -1 fills up.
  face_mask {size: n}: `face_mask [b f n n]` float32, from 0 to 1 how far each pixel is manipulated, for each frame of
    the image stream or, without one, of the video stream.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mmdf_jax.audio import SAMPLE_RATE

FPS = 25  # of the frames in a record, of the grid that windows start on, and of frame labels
LABELS = ("label", "video_label", "audio_label")
_TARGETS = {"frame_labels": "feather", "method": "vocabulary", "spans": "max", "face_mask": "size"}  # and their options


def zeros(config: Mapping[str, Any], rows: int) -> dict[str, np.ndarray]:
    """An all-zero batch of `rows` rows, every mask True: the shapes for `init` and `eval_shape`.

    Raises:
      ValueError: config.streams names an unknown stream, or config.targets asks for what cannot be.
    """
    return {name: np.ones(*of) if of[1] is bool else np.zeros(*of) for name, of in shapes(config, rows).items()}


def shapes(config: Mapping[str, Any], rows: int) -> dict[str, tuple[tuple[int, ...], type]]:
    """Shape and type of each array of a batch of `rows` rows; errors as in `zeros`."""
    of: dict[str, tuple[tuple[int, ...], type]] = {}
    for stream, options in config["streams"].items():
        shape = _shape(stream, options, config["window"])
        of[stream] = (rows, *shape), _dtype(stream)
        of[f"{stream}_mask"] = (rows,), bool
        of[f"{stream}_valid"] = (rows, _steps(config["window"]) if stream == "audio" else shape[0]), bool
    of |= dict.fromkeys((*LABELS, "clip_index"), ((rows,), np.int32))
    of |= {"window_start": ((rows,), np.float32), "mask": ((rows,), bool)}
    return of | target_shapes(config, rows)


def target_shapes(config: Mapping[str, Any], rows: int) -> dict[str, tuple[tuple[int, ...], type]]:
    """Shape and type of each array that config.targets asks for; errors as in `zeros`."""
    targets = config.get("targets", {})
    for name, options in targets.items():
        if name not in _TARGETS:
            raise ValueError(f"data.targets: unknown target {name!r}; known: {', '.join(_TARGETS)}")
        if list(options) != [_TARGETS[name]]:
            raise ValueError(f"data.targets.{name}: expected the option {_TARGETS[name]!r}, found {sorted(options)}")
        value = options[_TARGETS[name]]
        if name == "method":
            known = [] if isinstance(value, str) else [each for entry in value for each in methods(entry)]
            if not known or len({*known}) < len(known):
                raise ValueError(f"data.targets.method.vocabulary: expected different names, found {value!r}")
        elif value < (0 if name == "frame_labels" else 1):
            least = "0 s or more" if name == "frame_labels" else "1 or more"
            raise ValueError(f"data.targets.{name}.{_TARGETS[name]}: expected {least}, found {value!r}")
    of: dict[str, tuple[tuple[int, ...], type]] = {}
    if "frame_labels" in targets:
        shape = rows, _steps(config["window"])
        of |= {f"frame_labels_{name}": (shape, np.float32) for name in ("video", "audio", "sync")}
    if "method" in targets:
        of["method"] = (rows,), np.int32
    if "spans" in targets:
        of["spans"] = (rows, targets["spans"]["max"], 2), np.float32
    if "face_mask" in targets:
        stream = masked_stream(config["streams"])
        size, frames = targets["face_mask"]["size"], _shape(stream, config["streams"][stream], config["window"])[0]
        of["face_mask"] = (rows, frames, size, size), np.float32
    return of


def methods(entry: str | Sequence[str]) -> tuple[str, ...]:
    """The methods that an entry of a vocabulary stands for, the one that names it first."""
    return (entry,) if isinstance(entry, str) else tuple(entry)


def masked_stream(streams: Iterable[str]) -> str:
    """The stream whose frames `face_mask` is of.

    Raises:
      ValueError: there is none.
    """
    for stream in ("image", "video"):
        if stream in streams:
            return stream
    raise ValueError(f"data.targets.face_mask: needs the image or the video stream, found {', '.join(streams)}")


def _steps(window: float) -> int:
    return round(window * FPS)


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
