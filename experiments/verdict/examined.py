"""What was found of a file: who is in it, what the detectors say of each window, what can be shown, what is missing."""

import collections
import dataclasses

import numpy as np

from data_pipelines.prepare import media

Box = tuple[float, ...]  # x0 y0 x1 y1, pixels


@dataclasses.dataclass(frozen=True)
class Mapped:
    """One window's pictures [n h w 3] with what the model points at [n gh gw], from 0 to 1."""

    start: float
    score: float
    pictures: np.ndarray
    maps: np.ndarray
    kind: str  # localisation or attention
    window: float


@dataclasses.dataclass(frozen=True)
class Face:
    """Where a person is in a picture: number of the person, box (x0, y0, x1, y1) in pixels of the picture."""

    person: int
    box: Box


@dataclasses.dataclass(frozen=True)
class Shown:
    """A whole picture at `time` s, as a JPEG, with the faces that are judged."""

    time: float
    jpeg: bytes
    faces: tuple[Face, ...]


@dataclasses.dataclass(frozen=True)
class Gap:
    """A part of the file, s, of which not all could be read or no face was found: a status of extract.BAD, and why."""

    start: float
    end: float
    status: str
    reason: str

    @property
    def words(self) -> str:
        """One line."""
        return f"{self.start:.0f} to {self.end:.0f} s: {self.status}" + f", {self.reason}" * bool(self.reason)


@dataclasses.dataclass
class Person:
    """What is known of one person; or of the sound while no face is seen, which is a person of its own.

    windows: of each scorer, its outputs [n …] of the windows that count, times in s of the file. measures: of each
    piece. frames: pictures of the pieces that they are seen in; seen: those of them that show the face. heard: whether
    any sound was judged as theirs. speaker: why this face was followed (see speaker.Choice).
    """

    windows: dict[str, list[dict[str, np.ndarray]]] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(list)
    )
    measures: list[dict[str, float]] = dataclasses.field(default_factory=list)
    frames: int = 0
    seen: int = 0
    heard: bool = False
    speaker: str = ""
    last: tuple[int, Box | None] = (-1, None)  # the latest piece, and the face's box where that ends

    def outputs(self, scorer: str) -> dict[str, np.ndarray]:
        """All windows' outputs of a scorer, by their starts; {} without any."""
        parts = self.windows.get(scorer)
        if not parts:
            return {}
        merged = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        order = np.argsort(merged["window_start"], kind="stable")
        return {name: values[order] for name, values in merged.items()}


@dataclasses.dataclass
class Examined:
    """All that was found of a file. problem: why nothing could be judged, one line, or "".

    status, reason: of the file as a whole. faces: how many people were told apart in one piece. spectra: (start s,
    step s, magnitudes [t bins]) of each piece.
    """

    path: str
    problem: str = ""
    status: str = ""
    reason: str = ""
    sha256: str = ""
    bytes: int = 0
    facts: media.Facts = dataclasses.field(default_factory=media.Facts)
    still: bool = False
    seconds: float = 0.0
    faces: int = 0
    frames: int = 0
    sound_seconds: float = 0.0
    size: tuple[int, int] = (0, 0)
    people: list[Person] = dataclasses.field(default_factory=list)
    gaps: list[Gap] = dataclasses.field(default_factory=list)
    shown: list[Shown] = dataclasses.field(default_factory=list)
    mapped: list[Mapped] = dataclasses.field(default_factory=list)
    spectra: list[tuple[float, float, np.ndarray]] = dataclasses.field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """What each of `people` is called."""
        faces = [person.frames > 0 for person in self.people]
        return [f"person {sum(faces[: i + 1])}" if has else "the sound" for i, has in enumerate(faces)]
