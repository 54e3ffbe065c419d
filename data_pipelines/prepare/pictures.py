"""A file's pictures, 25 a second: upright, with square pixels, all of one size."""

import fractions
import gc
import math
import struct
from collections.abc import Callable
from typing import NamedTuple

import av
import numpy as np

from data_pipelines.prepare.limits import Limits

FPS = 25
_COLLECTED = 8  # pictures after which their memory is given back
_SIZES = 4  # sizes of one file's pictures that its reason names

OnFrame = Callable[[int, float, np.ndarray], None]


class Turn(NamedTuple):
    """How a stored picture is made upright: rows become columns first, then left and right, top and bottom change."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height after it; before it, of what is such after it."""
        return (height, width) if self.transpose else (width, height)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """The upright picture of one [h w 3]."""
        image = image.transpose(1, 0, 2) if self.transpose else image
        return image[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]


def turn_of(frame) -> Turn:  # noqa: ANN001
    """From the display matrix (ISO/IEC 14496-12, 8.3.2): x' = ax + cy, y' = bx + dy; the nearest of the eight."""
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV does not know all kinds of side data, and then shows none
        return (Turn(), Turn(True, False, True), Turn(False, True, True), Turn(True, True, False))[
            round(frame.rotation / 90) % 4
        ]
    if matrix is None:
        return Turn()
    a, b, _, c, d = struct.unpack("=5i", bytes(matrix)[:20])
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Turn(True, c < 0, b < 0)
    return Turn(False, a < 0, d < 0)


class Pictures:
    """Hands on the picture that is shown at each 25th of a second.

    canvas: the size [w h] that all are fitted into, with bars; None for the first picture's. Once a larger picture
    comes, nothing more is handed on, and `largest` tells the canvas with which to read the file again.
    span: first and last time of what is wanted, s by the file's stamps; `done` once a picture comes after it.
    """

    def __init__(
        self,
        on_frame: OnFrame,
        *,
        limits: Limits,
        canvas: tuple[int, int] | None = None,
        long_side: int = 0,
        pixels: str = "bgr24",
        aspect: fractions.Fraction | None = None,
        span: tuple[float, float] = (-math.inf, math.inf),
    ) -> None:
        self._on_frame, self._pixels, self._limits = on_frame, pixels, limits
        self._long_side, self._aspect = long_side, aspect or fractions.Fraction(1)
        self.canvas = self.largest = canvas
        self.width = self.height = self.count = self._packets = self._damaged = 0
        self.start: float | None = None
        self._sizes: dict[tuple[int, int], None] = {}  # upright ones, in order
        self._shown: tuple[float, object, Turn] | None = None
        self._since, self._until = span
        self._before: tuple[object, Turn] | None = None  # the latest picture of those before the span
        self.done = False
        self._last_duration = 1 / FPS
        self._reformatter = av.video.reformatter.VideoReformatter()  # one: it keeps its tables between frames

    def take(self, packet) -> None:  # noqa: ANN001
        """The next packet of a video stream."""
        self._packets += packet.size > 0
        # PyAV's frames and their side data hold each other, and few objects of so many bytes do not wake the collector.
        if self._packets % _COLLECTED == 0:
            gc.collect(2 if self._packets % (_COLLECTED * _COLLECTED) == 0 else 1)
        for frame in packet.decode():
            self._damaged += frame.is_corrupt
            self.show(frame, turn_of(frame))

    def show(self, frame, turn: Turn) -> None:  # noqa: ANN001
        """The next picture; it is shown until the one after it."""
        if frame.time is not None:
            time = frame.time
        else:
            time = 0.0 if self._shown is None else self._shown[0] + self._last_duration
        if time < self._since - 1e-4:
            self._before = frame, turn
            return
        if self.start is None and self._before and time > self._since + 1e-4:
            before, self._before = self._before, None
            self._begin(self._since, *before)
        if time >= self._until - 1e-4:
            self.done = True
            return
        if self.start is None:
            self.start = time
        elif self._shown is not None and time <= self._shown[0]:
            return  # stamps that run backwards: the earlier picture stays
        self._limits.check_seconds(time - self.start)
        self._measure(frame, turn)
        self._emit(time)
        self._last_duration = (
            float(frame.duration * frame.time_base) if frame.duration and frame.time_base else self._last_duration
        )
        self._shown = (time, frame, turn)

    def _begin(self, time: float, frame, turn: Turn) -> None:  # noqa: ANN001
        """The span begins while a picture is on show."""
        self.start = time
        self._measure(frame, turn)
        self._shown = time, frame, turn

    @property
    def note(self) -> str:
        """What a user must know of the pictures' sizes."""
        if len(self._sizes) < 2:
            return ""
        named = ", ".join(f"{width}x{height}" for width, height in list(self._sizes)[:_SIZES])
        more = ", …" if len(self._sizes) > _SIZES else ""
        return f"the picture's size changes ({named}{more}); all are fitted into {self.canvas[0]}x{self.canvas[1]}"

    def fault(self, expected: int) -> str:
        """What is wrong with the pictures; "" if nothing. expected: their number, 0 if unknown."""
        if self._packets < expected:
            return f"{self._packets} of {expected} pictures are in the file"
        return f"{self._damaged} of {self._packets} pictures are damaged" if self._damaged else ""

    def _measure(self, frame, turn: Turn) -> None:  # noqa: ANN001
        size = self._size(frame, turn)
        self._limits.check_pixels(*size)
        self._sizes[size] = None
        if self.canvas is None:
            self.canvas = self.largest = size
        elif size[0] * size[1] > self.largest[0] * self.largest[1]:
            self.largest = size
        if not self.width:
            scale = self._long_side / max(self.canvas) if self._long_side else 1.0
            self.width, self.height = (max(1, round(side * min(1.0, scale))) for side in self.canvas)

    def _size(self, frame, turn: Turn) -> tuple[int, int]:  # noqa: ANN001
        """Of the upright picture with square pixels."""
        width = frame.width
        if self._aspect != 1 and fractions.Fraction(1, 4) <= self._aspect <= 4:
            width = max(1, round(width * self._aspect))
        return turn.size(width, frame.height)

    def _emit(self, until: float) -> None:
        """The picture on show stands at every 25th of a second before `until`."""
        if self._shown is None or self.largest != self.canvas:
            return
        time, frame, turn = self._shown
        image = None
        while self.start + self.count / FPS < until - 1e-4:
            if image is None:
                image = self._convert(frame, turn)
            self._on_frame(self.count, time, image)
            self.count += 1

    def _convert(self, frame, turn: Turn) -> np.ndarray:  # noqa: ANN001
        size = self._size(frame, turn)
        scale = min(self.width / size[0], self.height / size[1])
        fitted = (self.width, self.height)
        if size != self.canvas:
            fitted = tuple(max(1, round(side * scale)) for side in size)
        stored = self._reformatter.reformat(frame, *turn.size(*fitted), self._pixels, threads=1)
        image = np.ascontiguousarray(turn.apply(stored.to_ndarray()))  # rows come padded from FFmpeg
        if fitted == (self.width, self.height):
            return image
        left, top = (self.width - fitted[0]) // 2, (self.height - fitted[1]) // 2
        whole = np.zeros((self.height, self.width, 3), np.uint8)
        whole[top : top + fitted[1], left : left + fitted[0]] = image
        return whole

    def finish(self) -> None:
        """The last picture stays for its own duration, and one picture is shown whatever its duration."""
        if self._shown is None and self._before is not None and self.done:
            self._begin(self._since, *self._before)  # one picture stands through all of the span
        if self._shown is not None:
            end = self._until if self.done else min(self._shown[0] + self._last_duration, self._until)
            self._emit(max(end, self.start + 0.5 / FPS))
