"""Cutting one time window out of a record: which frames and samples, decoded, and the window's own labels."""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from data_pipelines import batch as batch_lib

FPS = 25  # of the frames in a record, and the grid that windows start on: whole frames keep sound and lips in step
SAMPLE_RATE = batch_lib.SAMPLE_RATE
STREAMS = {"image": {"frames", "size"}, "video": {"fps", "size"}, "mouth": {"fps", "size"}, "audio": set()}
LABELLED_OVERLAP = 0.2  # s: a window is fake where a fake span overlaps it by as much
_LOUDNESS_STEP = 160  # samples over which the level is measured that ends a leading silence

Example = dict[str, Any]
Stored = Sequence[tuple[int, bytes]] | np.ndarray  # of a stream: numbers and bytes of images, or samples


class BadRecord(ValueError):
    """A record, or a stream of it, that cannot be decoded."""


@dataclasses.dataclass(frozen=True)
class Window:
    """What is cut from a clip: `seconds` of the streams asked for, each with its options (see STREAMS).

    trim_silence: decibels of full scale; all streams of a clip begin where its sound first passes this level (0: at
    the clip's start). In some datasets a silence of a few hundredths of a second betrays the fakes (arXiv 2412.00175).
    """

    seconds: float
    streams: Mapping[str, Mapping[str, Any]]
    trim_silence: float = 0.0

    def __post_init__(self) -> None:
        if self.seconds < 1 / FPS:
            raise ValueError(f"data.window: expected at least {1 / FPS} s, found {self.seconds}")
        if not -120 <= self.trim_silence <= 0:
            raise ValueError(
                f"data.trim_silence: expected decibels of full scale from -120 to 0 (0: off), found {self.trim_silence}"
            )
        if not self.streams:
            raise ValueError(f"data.streams: expected at least one of {', '.join(STREAMS)}, found none")
        for stream, options in self.streams.items():
            if stream not in STREAMS:
                raise ValueError(f"data.streams: unknown stream {stream!r}; known: {', '.join(STREAMS)}")
            if set(options) != STREAMS[stream]:
                raise ValueError(
                    f"data.streams.{stream}: expected the options {sorted(STREAMS[stream])}, found {sorted(options)}"
                )

    def extent(self, row: Any) -> float:
        """Seconds from a clip's start in which all of the streams that it has, of those asked for, go on.

        `row` is a records.IndexRow; 0 if the clip has none of the streams.
        """
        lengths = []
        if row.frames and set(self.streams) - {"audio"}:
            lengths.append(row.frames / FPS)
        if row.audio_samples and "audio" in self.streams:
            lengths.append(row.audio_samples / SAMPLE_RATE)
        return min(lengths, default=0.0)

    def last_start(self, row: Any) -> int:
        """The last frame at which a window of this clip may start; 0 where the clip is no longer than the window."""
        return max(0, math.floor((self.extent(row) - self.seconds) * FPS + 1e-6))

    def starts(self, row: Any, record: Mapping[str, Any] | None) -> tuple[int, int]:
        """The first and the last frame at which a window of this clip may start; without its record, of all of it."""
        first = self._silent_frames(record["audio"]) if self.trim_silence and record is not None else 0
        first = min(first, max(0, math.ceil(self.extent(row) * FPS) - 1))
        return first, max(first, self.last_start(row))

    def _silent_frames(self, audio: np.ndarray) -> int:
        """Whole frames before the sound [s] int16 begins; 0 where it never does."""
        blocks = audio[: len(audio) // _LOUDNESS_STEP * _LOUDNESS_STEP].reshape(-1, _LOUDNESS_STEP)
        power = np.square(blocks, dtype=np.float32).mean(1)
        loud = np.flatnonzero(power > (32768 * 10 ** (self.trim_silence / 20)) ** 2)
        return int(loud[0]) * _LOUDNESS_STEP * FPS // SAMPLE_RATE if len(loud) else 0

    def empty(self, rows: int) -> Example:
        """A batch (see batch.py) of `rows` examples, all of it still to be written."""
        shapes = batch_lib.shapes({"streams": self.streams, "window": self.seconds}, rows)
        return {name: np.empty(*of) for name, of in shapes.items()}

    def fill_labels(self, example: Example, clip: Any, start: float) -> None:
        """Writes the labels of the window that starts at `start` s: 0 real, 1 fake, -1 unknown.

        A stream that is fake in spans is fake here if one of them overlaps the window by LABELLED_OVERLAP.
        """

        def overlapped(segments: Sequence[tuple[float, float]]) -> bool:
            end = start + self.seconds
            return any(min(e, end) - max(s, start) >= LABELLED_OVERLAP - 1e-6 for s, e in segments)

        def of_stream(label: int, segments: Sequence[tuple[float, float]]) -> int:
            return int(overlapped(segments)) if label == 1 and segments else label

        video = of_stream(clip.video_label, clip.video_segments)
        audio = of_stream(clip.audio_label, clip.audio_segments)
        segments = (*clip.video_segments, *clip.audio_segments)
        example["label"][...] = int(1 in (video, audio) or overlapped(segments)) if segments else clip.label
        example["video_label"][...] = video
        example["audio_label"][...] = audio

    def read(self, stream: str, record: Mapping[str, Any], start: float) -> Stored:
        """What the window at `start` s shows of one stream: its samples, or numbers and bytes of its images.

        Fewer samples where the clip ends inside the window, whose last image then stays; nothing if the record does not
        have the stream. Reads only this.

        Raises:
          BadRecord: the record is damaged.
        """
        if stream == "audio":
            first = round(start * SAMPLE_RATE)
            return _sound(record, first, first + round(self.seconds * SAMPLE_RATE))
        images = record["mouth" if stream == "mouth" else "frames"]
        last = len(images) - 1
        if last < 0:
            return ()
        # Frame i shows from i / FPS to (i + 1) / FPS.
        numbers = [min(int((start + offset) * FPS + 1e-6), last) for offset in self._offsets[stream]]
        found = {number: images[number] for number in dict.fromkeys(numbers)}
        return [(number, found[number]) for number in numbers]

    @functools.cached_property
    def _offsets(self) -> dict[str, list[float]]:
        """Seconds from a window's start to each image of its streams."""
        offsets = {}
        for stream in self.streams.keys() - {"audio"}:
            options = self.streams[stream]
            count = options["frames"] if stream == "image" else round(self.seconds * options["fps"])
            step = self.seconds / count if stream == "image" else 1 / options["fps"]
            offsets[stream] = [(i + 0.5) * step for i in range(count)]
        return offsets

    def fill(self, example: Example, stream: str, stored: Stored, decoded: dict[int, np.ndarray]) -> None:
        """Writes one stream, from what `read` gives, and to its mask whether there was anything; the rest are zeros.

        decoded: one dict for all streams of an example, empty at first. The image stream leaves its pictures there, by
          number, for the video stream, which shows some of the same.

        Raises:
          BadRecord: an image cannot be decoded; part of the stream may have been written.
        """
        out = example[stream]
        if not len(stored):
            out[...] = 0
        elif stream == "audio":
            out[: len(stored)] = stored
            out[len(stored) :] = 0
        else:
            for i, (number, image) in enumerate(stored):
                if i and number == stored[i - 1][0]:
                    out[i] = out[i - 1]
                    continue
                pixels = decoded.get(number) if stream == "video" else None
                if pixels is None:
                    pixels = _pixels(image, grey=stream == "mouth", what=f"image {number} of the {stream} stream")
                if stream == "image" and "video" in self.streams:
                    decoded[number] = pixels
                _resized(pixels, out.shape[1], out=out[i])
        example[f"{stream}_mask"][...] = len(stored) > 0


def _sound(record: Mapping[str, Any], first: int, last: int) -> np.ndarray:
    """Samples [s] int16 of the record; those alone are read where it can (records.Record)."""
    return record.sound(first, last) if hasattr(record, "sound") else record["audio"][first:last]


def decode(image: bytes, size: int, *, grey: bool, what: str) -> np.ndarray:
    """Image file bytes -> `[size size 3]` RGB or `[size size 1]` grey, uint8; size 0: as it is.

    Raises:
      BadRecord: the bytes are no image; the message calls it `what`.
    """
    return _resized(_pixels(image, grey=grey, what=what), size)


def _pixels(image: bytes, *, grey: bool, what: str) -> np.ndarray:
    try:
        pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise BadRecord(f"{what} cannot be decoded")
    return pixels[..., None] if grey else pixels


def _resized(pixels: np.ndarray, size: int, out: np.ndarray | None = None) -> np.ndarray:
    """Pixels [h w c] as [size size c], or as they are where size is 0.

    out: where they are written too; resizing then makes no array of its own.
    """
    if size and pixels.shape[:2] != (size, size):
        how = _interpolation(min(pixels.shape[:2]), size)
        pixels = cv2.resize(pixels, (size, size), dst=out, interpolation=how)
    elif out is not None:
        out[...] = pixels
    return pixels.reshape(*pixels.shape[:2], -1)


def _interpolation(stored: int, size: int) -> int:
    """Areas where they are whole pixels, or the picture shrinks so far that lines between pixels would alias.

    Between these, areas of parts of pixels take twice as long as to decode the picture.
    """
    return cv2.INTER_AREA if stored >= 2 * size or stored % size == 0 else cv2.INTER_LINEAR
