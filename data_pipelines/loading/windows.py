"""Cutting one time window out of a record: which frames and samples, decoded, and the window's own labels."""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from data_pipelines import batch as batch_lib
from data_pipelines.loading import targets as targets_lib

FPS, SAMPLE_RATE = batch_lib.FPS, batch_lib.SAMPLE_RATE  # windows start on whole frames: sound and lips keep in step
STREAMS = {"image": {"frames", "size"}, "video": {"fps", "size"}, "mouth": {"fps", "size"}, "audio": set()}
LABELLED_OVERLAP = 0.2  # s: a window is fake where a fake span overlaps it by as much
SEEN = 0.5  # of a window's frames: where the face is found in fewer, its pictures are not looked at
_LOUDNESS_STEP = 160  # samples over which the level is measured that ends a leading silence

Example = dict[str, Any]
Stored = Sequence[tuple[int, bytes, bool]] | np.ndarray  # of a stream: images, their numbers, if valid; or samples


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
    targets: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)  # see batch.py

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
        batch_lib.target_shapes(self._config, 1)

    @property
    def _config(self) -> dict[str, Any]:
        return {"streams": self.streams, "window": self.seconds, "targets": self.targets}

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
        first = self._silent_frames(record["audio"][:]) if self.trim_silence and record is not None else 0
        first = min(first, max(0, math.ceil(self.extent(row) * FPS) - 1))
        return first, max(first, self.last_start(row))

    def training_starts(self, row: Any, record: Mapping[str, Any]) -> np.ndarray:
        """The frames [n] at which a training window may start: if pictures are asked for, those that show faces.

        Raises:
          BadRecord: no window shows the face in as many of its frames as SEEN.
        """
        first, last = self.starts(row, record)
        starts = np.arange(first, last + 1)
        if not row.frames or not set(self.streams) - {"audio"}:
            return starts
        starts = starts[shows_face(record["found"], starts, self.seconds)]
        if not len(starts):
            raise BadRecord(f"no window of {self.seconds} s shows the face in half of its frames")
        return starts

    def _silent_frames(self, audio: np.ndarray) -> int:
        """Whole frames before the sound [s] int16 begins; 0 where it never does."""
        blocks = audio[: len(audio) // _LOUDNESS_STEP * _LOUDNESS_STEP].reshape(-1, _LOUDNESS_STEP)
        power = np.square(blocks, dtype=np.float32).mean(1)
        loud = np.flatnonzero(power > (32768 * 10 ** (self.trim_silence / 20)) ** 2)
        return int(loud[0]) * _LOUDNESS_STEP * FPS // SAMPLE_RATE if len(loud) else 0

    def empty(self, rows: int) -> Example:
        """A batch (see batch.py) of `rows` examples, all of it still to be written."""
        return {name: np.empty(*of) for name, of in batch_lib.shapes(self._config, rows).items()}

    def fill_unknown(self, example: Example) -> None:
        """Writes -1 to all labels and targets."""
        for name in (*batch_lib.LABELS, *batch_lib.target_shapes(self._config, 1)):
            example[name][...] = -1

    def fill_labels(self, example: Example, row: Any, start: float) -> None:
        """Writes labels and targets of the window of a clip (records.IndexRow) at `start` s; `face_mask` is not known.

        Labels are 0 real, 1 fake, -1 unknown.
        A stream that is fake in spans is fake here if one of them overlaps the window by LABELLED_OVERLAP.
        """

        def overlapped(segments: Sequence[tuple[float, float]]) -> bool:
            end = start + self.seconds
            return any(min(e, end) - max(s, start) >= LABELLED_OVERLAP - 1e-6 for s, e in segments)

        def of_stream(label: int, segments: Sequence[tuple[float, float]]) -> int:
            return int(overlapped(segments)) if label == 1 and segments else label

        self.fill_unknown(example)
        clip = row.clip
        video = of_stream(clip.video_label, clip.video_segments)
        audio = of_stream(clip.audio_label, clip.audio_segments)
        segments = (*clip.video_segments, *clip.audio_segments)
        example["label"][...] = int(1 in (video, audio) or overlapped(segments)) if segments else clip.label
        example["video_label"][...] = video
        example["audio_label"][...] = audio
        targets_lib.fill(example, self.targets, row, start, self.seconds)

    @property
    def pieces(self) -> tuple[str, ...]:
        """What `read` and `fill` are asked for: the streams, and `face_mask` if it is a target."""
        return (*self.streams, *(name for name in self.targets if name == "face_mask"))

    def read(self, stream: str, record: Mapping[str, Any], start: float) -> Stored:
        """What the window at `start` s shows of one of `pieces`: samples, or images with number and whether valid.

        Fewer samples where the clip ends inside the window, whose last image then stays, but is not valid; nothing if
        the record does not have the piece. Reads only this.

        Raises:
          BadRecord: the record is damaged.
        """
        if stream == "audio":
            first = round(start * SAMPLE_RATE)
            return record["audio"][first : first + round(self.seconds * SAMPLE_RATE)]
        images = record[{"mouth": "mouth", "face_mask": "mask"}.get(stream, "frames")]
        last = len(images) - 1
        if last < 0:
            return ()
        # Frame i shows from i / FPS to (i + 1) / FPS.
        shown = batch_lib.masked_stream(self.streams) if stream == "face_mask" else stream
        numbers = [int((start + offset) * FPS + 1e-6) for offset in self._offsets[shown]]
        seen = record["found"]
        needed = {number: images[number] for number in dict.fromkeys(min(n, last) for n in numbers)}
        return [(min(n, last), needed[min(n, last)], n <= last and bool(seen[n])) for n in numbers]

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
        """Writes one of `pieces` from what `read` gives; what is missing of a stream is zero, of `face_mask` -1.

        `<stream>_mask` tells whether there was anything, `<stream>_valid` of what.

        decoded: one dict for all streams of an example, empty at first. The image stream leaves its pictures there, by
          number, for the video stream, which shows some of the same.

        Raises:
          BadRecord: an image cannot be decoded; part of the stream may have been written.
        """
        out = example[stream]
        if stream == "face_mask":
            if not len(stored):
                out[...] = -1
            for i, (number, image, _) in enumerate(stored):
                mask = decode(image, out.shape[1], grey=True, what=f"mask {number}")
                np.divide(mask[..., 0], np.float32(255), out=out[i])
            return
        if not len(stored):
            out[...] = 0
        elif stream == "audio":
            out[: len(stored)] = stored
            out[len(stored) :] = 0
        else:
            for i, (number, image, _) in enumerate(stored):
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
        valid = example[f"{stream}_valid"]
        if stream == "audio":
            valid[...] = (np.arange(len(valid)) + 0.5) * SAMPLE_RATE / FPS < len(stored)
        else:
            valid[...] = [each[2] for each in stored] or False


def shows_face(found: np.ndarray, starts: np.ndarray, seconds: float) -> np.ndarray:
    """Whether windows of `seconds` show the face in as many of their frames as SEEN: [n] bool.

    found [t]: above 0 where the face is found in a frame. starts [n]: each window's first frame, below t. Frames after
    the clip's end do not count.
    """
    seen = np.concatenate([[0], np.cumsum(found > 0)])
    ends = np.minimum(starts + round(seconds * FPS), len(found))
    return seen[ends] - seen[starts] >= SEEN * (ends - starts)


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
