"""What the boxes of a fragmented MP4 declare (ISO/IEC 14496-12, 8.8): how much its fragments hold."""

import struct
from collections.abc import Iterator

_CONTAINERS = (b"trak", b"mdia", b"minf", b"stbl", b"mvex", b"traf")


class Declared:
    """Sums up the `moov` box of a file and its `moof` boxes, in their order.

    `sample_bytes`: of all samples in fragments; `whole_seconds`: how long the film shall be (`mehd`), 0 where that is
    not said.
    """

    def __init__(self) -> None:
        self.sample_bytes, self.whole_seconds = 0, 0.0
        self._ticks: dict[int, int] = {}
        self._rates: dict[int, int] = {}
        self._defaults: dict[int, tuple[int, int]] = {}  # duration and size of a track's samples

    @property
    def seconds(self) -> float:
        """How long the longest track is, fragments and header together."""
        return max(
            (ticks / self._rates[track] for track, ticks in self._ticks.items() if self._rates.get(track)), default=0.0
        )

    def add(self, body: bytes) -> None:
        """Takes in what is inside a `moov` or `moof` box. struct.error: it is cut or nonsense."""
        track, rate, whole, duration, size = 0, 0, 0, 0, 0
        for kind, box in _inside(memoryview(body)):
            wide = box[:1] == b"\1"
            if kind == b"mvhd":
                (rate,) = struct.unpack_from(">I", box, 20 if wide else 12)
            elif kind == b"tkhd":
                (track,) = struct.unpack_from(">I", box, 20 if wide else 12)
            elif kind == b"mdhd":
                (self._rates[track],) = struct.unpack_from(">I", box, 20 if wide else 12)
            elif kind == b"stts":
                (count,) = struct.unpack_from(">I", box, 4)
                values = struct.unpack_from(f">{2 * count}I", box, 8)
                self._count(track, sum(n * ticks for n, ticks in zip(values[::2], values[1::2], strict=True)))
            elif kind == b"mehd":
                (whole,) = struct.unpack_from(">Q" if wide else ">I", box, 4)
            elif kind == b"trex":
                _, of, _, duration, size = struct.unpack_from(">5I", box)
                self._defaults[of] = duration, size
            elif kind == b"tfhd":
                track, duration, size = self._header(box)
            elif kind == b"trun":
                ticks, length = _run(box, duration, size)
                self._count(track, ticks)
                self.sample_bytes += length
        if whole and rate:
            self.whole_seconds = whole / rate

    def _count(self, track: int, ticks: int) -> None:
        self._ticks[track] = self._ticks.get(track, 0) + ticks

    def _header(self, box: memoryview) -> tuple[int, int, int]:
        """A track fragment's track, and its samples' duration and size."""
        flags, track = struct.unpack_from(">II", box)
        values = list(self._defaults.get(track, (0, 0)))
        at = 8 + 8 * bool(flags & 1) + 4 * bool(flags & 2)
        for i, flag in enumerate((0x8, 0x10)):
            if flags & flag:
                (values[i],) = struct.unpack_from(">I", box, at)
                at += 4
        return track, *values


def _run(box: memoryview, duration: int, size: int) -> tuple[int, int]:
    """Ticks and bytes of a run of samples (8.8.8)."""
    flags, count = struct.unpack_from(">II", box)
    at = 8 + 4 * bool(flags & 0x1) + 4 * bool(flags & 0x4)
    fields = [flag for flag in (0x100, 0x200, 0x400, 0x800) if flags & flag]
    values = struct.unpack_from(f">{count * len(fields)}I", box, at)

    def total(flag: int, default: int) -> int:
        return sum(values[fields.index(flag) :: len(fields)]) if flag in fields else count * default

    return total(0x100, duration), total(0x200, size)


def _inside(body: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """(kind, body) of the boxes, and of those in the containers that matter here."""
    at = 0
    while at + 8 <= len(body):
        length, kind = struct.unpack_from(">I4s", body, at)
        if length < 8:
            return
        inner = body[at + 8 : at + length]
        if kind in _CONTAINERS:
            yield from _inside(inner)
        else:
            yield kind, inner
        at += length
