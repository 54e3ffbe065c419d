"""One prepared clip: where its pieces lie among the examples of a file, and how they are read as they are asked for."""

import dataclasses
import functools
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from data_pipelines.clip import Clip

IMAGES = ("frames", "mouth", "mask")
OPTIONAL: dict[str, Any] = {"mask": []}  # pieces that a record may lack, and what then stands for them
ARRAYS = {"boxes": "float32", "times": "float32", "found": "uint8", "audio": "int16"}
PIECES = ("audio", *IMAGES)  # what a clip's record is cut into, in this order
PIECE = 16 << 10  # bytes: smaller examples would take as long to find, larger ones longer to read
_WIDTH = np.dtype(ARRAYS["audio"]).itemsize

Read = Callable[[int, int, Sequence[str]], list[dict[str, Sequence[bytes]]]]  # some features of examples first to last


@dataclasses.dataclass(frozen=True)
class Layout:
    """Which of a split's examples hold which piece of a clip.

    A record lies in several examples, so that a window reads what it needs and not all of the clip. Joined end to end,
    feature by feature, they are the record: the first holds what is no piece, then come the pieces of sound, of frames,
    of mouth crops and of masks.
    """

    lengths: tuple[int, ...]  # of PIECES: bytes of sound, images
    steps: tuple[int, ...]  # how much of them an example holds
    first: int = 0  # number of the clip's first example in its split

    @classmethod
    def of(cls, record: dict[str, Any]) -> "Layout":
        """For a record's features."""
        record = OPTIONAL | record
        steps = [max(1, PIECE * len(record[name]) // max(1, sum(map(len, record[name])))) for name in IMAGES]
        return cls(tuple(len(record[name]) for name in PIECES), (PIECE, *steps))

    @functools.cached_property
    def starts(self) -> tuple[int, ...]:
        """Number of the first example of each piece, and of the one after them all."""
        counts = (-(-length // step) for length, step in zip(self.lengths, self.steps, strict=True))
        return tuple(itertools.accumulate(counts, initial=self.first + 1))

    def split(self, record: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The record's examples."""
        record = OPTIONAL | record
        empty = {name: type(value)() for name, value in record.items()}
        yield {**record, **{name: empty[name] for name in PIECES}}
        for name, step in zip(PIECES, self.steps, strict=True):
            for i in range(0, len(record[name]), step):
                yield {**empty, name: record[name][i : i + step]}


class Record(Mapping[str, Any]):
    """A prepared clip, read piece by piece as it is asked for.

    `frames`, `mouth` and `mask`: sequences of encoded images at 25 a second (`mouth` is empty without mouth crops;
    `mask`, grey PNGs of what was manipulated, 0 not to 255 wholly, aligned as `frames`, is empty where nobody knows);
    `boxes [t 4]` float32 x0 y0 x1 y1 in source pixels; `times [t]` float32 seconds, the source's time stamp of the
    picture shown; `found [t]` uint8, 1 where the face was seen; `audio` int16 at 16 kHz, on the same clock, see Sound;
    `audio_present`, `video_present` 0 or 1; `clip`; and the provenance: `status`, `source_sha256`, `decoder`, `codecs`,
    `source_size`, `crops` (`yunet` as the SHA-256 of its file), `detector`, `speaker` (why this face: given, only,
    largest or sound) and `speaker_correlation`. The arrays are read-only views. Whatever is read raises BadRecord where
    the file is damaged.
    """

    def __init__(self, layout: Layout, read: Read) -> None:
        self._layout, self._read = layout, read
        self._known: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name in self._known:
            return self._known[name]
        if name in IMAGES:
            self._known[name] = Images(self._layout, self._read, name)
        elif name == "audio":
            self._known[name] = Sound(self._layout, self._read)
        else:
            self._known = self._head() | self._known
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter((*PIECES, *self._head()))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _head(self) -> dict[str, Any]:
        arrays = {name: dtype for name, dtype in ARRAYS.items() if name != "audio"}
        (stored,) = self._read(self._layout.first, self._layout.first + 1, ("info", *arrays))
        head = json.loads(stored["info"][0])
        head["clip"] = _clip(head["clip"])
        for name, dtype in arrays.items():
            head[name] = np.frombuffer(stored[name][0], dtype)
        head["boxes"] = head["boxes"].reshape(-1, 4)
        return head


class Sound:
    """Samples of a record: `sound[first:last]` is an array [s] int16, for which no more is read than that."""

    def __init__(self, layout: Layout, read: Read) -> None:
        self._read, self._bytes, self._step, self._start = read, layout.lengths[0], layout.steps[0], layout.starts[0]

    def __len__(self) -> int:
        return self._bytes // _WIDTH

    def __getitem__(self, samples: slice) -> np.ndarray:
        first, last, stride = samples.indices(len(self))
        start, stop = first * _WIDTH, max(first, last) * _WIDTH
        parts = range(start // self._step, -(-stop // self._step))
        pieces = [e["audio"][0] for e in self._read(self._start + parts.start, self._start + parts.stop, ("audio",))]
        skipped = parts.start * self._step
        data = b"".join(pieces)[start - skipped : stop - skipped]
        return np.frombuffer(data, ARRAYS["audio"])[::stride]


class Images(Sequence[bytes]):
    """Encoded images of a record, each read, with its neighbours, when it is first asked for."""

    def __init__(self, layout: Layout, read: Read, name: str) -> None:
        self._read, self._name = read, name
        piece = PIECES.index(name)
        self._length, self._step, self._start = layout.lengths[piece], layout.steps[piece], layout.starts[piece]
        self._parts: dict[int, Sequence[bytes]] = {}

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(self._length))]
        if not -self._length <= i < self._length:
            raise IndexError(f"image {i} of {self._length}")
        part, place = divmod(i % self._length, self._step)
        if part not in self._parts:
            example = self._start + part
            self._parts[part] = self._read(example, example + 1, (self._name,))[0][self._name]
        return self._parts[part][place]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None


def _clip(values: dict[str, Any]) -> Clip:
    """A Clip from JSON, lists as tuples again."""
    fixed = {
        name: tuple(tuple(item) if isinstance(item, list) else item for item in value)
        if isinstance(value, list)
        else value
        for name, value in values.items()
    }
    return Clip(**fixed)
