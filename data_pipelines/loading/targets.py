"""Targets beyond the labels: what a clip's fake spans and method say of one window of it; see batch.py."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from data_pipelines.batch import FPS, SAMPLE_RATE, methods

Span = tuple[float, float]


def fill(example: Mapping[str, np.ndarray], targets: Mapping[str, Any], row: Any, start: float, seconds: float) -> None:
    """Writes all targets but `face_mask` of the window of `seconds` that starts at `start` s of the clip.

    row: its records.IndexRow. The window's own label must stand in the example.
    """
    if "frame_labels" in targets:
        feather = targets["frame_labels"]["feather"]
        for name, curve in frame_labels(row, start, len(example["frame_labels_sync"]), feather).items():
            example[f"frame_labels_{name}"][...] = curve
    if "method" in targets:
        # Where a partial fake is real it shows no method.
        method = "real" if row.clip.label == 1 and example["label"] == 0 else row.clip.method
        known = [i for i, entry in enumerate(targets["method"]["vocabulary"]) if method in methods(entry)]
        example["method"][...] = known[0] if known else -1
    if "spans" in targets:
        example["spans"][...] = spans(row, start, seconds, len(example["spans"]))


def check(targets: Mapping[str, Any], index: Sequence[Any], *, training: bool) -> None:
    """Tells in a line each what the targets cannot follow in the clips (records.IndexRow) as it stands.

    Raises:
      ValueError: no type could be learnt: none of the fakes is of a method in the vocabulary.
    """
    if "method" in targets:
        known = [name for entry in targets["method"]["vocabulary"] for name in methods(entry)]
        fakes = [row.clip.method for row in index if row.clip.label == 1]
        missing = sorted({name for name in fakes if name not in known and not name.startswith("pseudo_")})
        if missing and training and not any(name in known for name in fakes):
            raise ValueError(
                f"data.targets.method.vocabulary={', '.join(known)}: expected methods of the training fakes, which are "
                f"{', '.join(map(repr, missing))}"
            )
        if missing:
            count = sum(name in missing for name in fakes)
            logging.warning(
                "data.targets.method.vocabulary lacks %s: the type of %d fakes is unknown", ", ".join(missing), count
            )
    if targets.keys() & {"frame_labels", "spans"}:
        for what, wrong in (("beyond the clip's end, where they are cut", _beyond), ("out of order", _disordered)):
            found = [row.clip for row in index if wrong(row)]
            if found:
                spans_of_first = (*found[0].video_segments, *found[0].audio_segments)
                logging.warning(
                    "%d clips have fake spans %s; the first is %s: %s",
                    len(found),
                    what,
                    found[0].clip_id,
                    spans_of_first,
                )


def _beyond(row: Any) -> bool:
    """By more than a frame."""
    extents = ((row.clip.video_segments, row.frames / FPS), (row.clip.audio_segments, row.audio_samples / SAMPLE_RATE))
    longest = max(extent for _, extent in extents)
    return any(end > (extent or longest) + 1 / FPS for segments, extent in extents for _, end in segments)


def _disordered(row: Any) -> bool:
    """Unsorted or overlapping, which changes nothing: what is fake is their union."""
    each = (row.clip.video_segments, row.clip.audio_segments)
    return any(later[0] < earlier[1] for spans in each for earlier, later in itertools.pairwise(spans))


def frame_labels(row: Any, start: float, steps: int, feather: float) -> dict[str, np.ndarray]:
    """{"video", "audio", "sync"}: [steps] float32 each, 1 fake, 0 real, -1 unknown or beyond the clip.

    Step i stands for the window's time [i, i + 1) / 25 s and is judged by its middle. `sync` is 1 where the streams,
    each real by itself, do not belong together (dubbing).
    """
    times = start + (np.arange(steps) + 0.5) / FPS
    within = {"video": times < row.frames / FPS, "audio": times < row.audio_samples / SAMPLE_RATE}
    within["sync"] = within["video"] & within["audio"]
    return {name: np.where(within[name], _curve(*_fake(row.clip, name), times, feather), -1) for name in within}


def spans(row: Any, start: float, seconds: float, most: int) -> np.ndarray:
    """[most 2] float32: when the window is fake in any way, s from its start, in order; -1 fills up.

    Spans that touch are one. The longest are kept where there are more than `most`. Where a stream is fake throughout,
    all of the window is, as far as the clip goes.
    """
    extents = {"video": row.frames / FPS, "audio": row.audio_samples / SAMPLE_RATE}
    extents["sync"] = min(extents.values())
    found = []
    for name, extent in extents.items():
        label, fake = _fake(row.clip, name)
        found += [(begin, min(end, extent)) for begin, end in fake or ((0.0, extent),) if label == 1]
    inside = sorted((max(begin - start, 0.0), min(end - start, seconds)) for begin, end in found)
    merged: list[Span] = []
    for begin, end in inside:
        if merged and begin <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        elif end > begin:
            merged.append((begin, end))
    kept = sorted(sorted(merged, key=lambda span: span[0] - span[1])[:most])
    return np.array(kept + [(-1.0, -1.0)] * (most - len(kept)), np.float32)


def _fake(clip: Any, name: str) -> tuple[int, Sequence[Span]]:
    """What is known of a stream or of `sync`: its label, and the spans in which it is fake (none: throughout)."""
    if clip.label == 0:
        return 0, ()
    disagree = clip.label == 1 and clip.video_label == clip.audio_label == 0
    if name == "sync":
        return (1, (*clip.video_segments, *clip.audio_segments)) if disagree else (-1, ())
    label, segments = getattr(clip, f"{name}_label"), getattr(clip, f"{name}_segments")
    return (1 if label == -1 and segments else label), segments


def _curve(label: int, fake: Sequence[Span], times: np.ndarray, feather: float) -> np.ndarray:
    """[t] float32 at `times`: the label, or 1 in the spans and 0 outside, with ramps of `feather` s over their ends."""
    if label != 1 or not fake:
        return np.full(len(times), label, np.float32)
    inside = np.max([np.minimum(times - begin, end - times) for begin, end in fake], axis=0)
    return np.float32(np.clip(inside / feather + 0.5, 0, 1) if feather else inside >= 0)
