"""Following all faces through a clip, and over its cuts those that are recognised."""

import bisect
import dataclasses
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np

from data_pipelines.prepare.detectors import SAME, Detector, Face
from data_pipelines.prepare.faces import Track, fill

_OVERLAP = 0.3  # intersection over union from which two boxes are one face
_STEADY = 0.7  # and from which it has hardly moved
_PEOPLE = 8  # the largest are told apart; a crowd holds no more speakers
_MEMORY = 25  # frames for which a track that is not seen stays open
_SMALL = 32  # pixels a side of the grey pictures that are compared to find cuts
_CUT = 0.5  # their squared difference over their own squares, without their means: 0 alike, 1 unlike
_VISIBLE = 12.0  # and the difference in grey levels, root mean square, so that noise on a plain picture is no cut


class Tracker:
    """Follows all faces through pictures that are handed to `take` in order.

    make: gives the detector. It is called at the first picture, for a detector may be slow to load.
    """

    def __init__(self, make: Callable[[], Detector]) -> None:
        self._make = make
        self._find: Detector | None = None
        self._tracks: list[dict[int, Face]] = []
        self._surest: dict[int, tuple[np.ndarray, Face]] = {}  # of this shot's tracks by number, with its picture
        self._described: dict[int, np.ndarray] = {}  # the descriptors of all shots' tracks, if there is a cut
        self._waiting: list[np.ndarray] = []  # pictures since the last look, with the frame that they begin at
        self._count = self._next = 0
        self._small: np.ndarray | None = None  # the picture before, small and grey
        self.cuts: list[int] = []  # frames at which another shot begins

    def take(self, i: int, time: float, image: np.ndarray) -> None:
        """Picture i [h w 3] RGB; they may be scaled, all alike. After picture 0 all begins anew."""
        if i == 0:
            self._tracks, self._waiting, self._next, self._small, self.cuts = [], [], 0, None, []
            self._surest, self._described = {}, {}
        self._count = i + 1
        self._find = self._find or self._make()
        before, self._small = self._small, _small(image)
        if before is not None and _is_cut(before, self._small):
            self._end_shot(i)
        if i >= self._next:
            self._look(i, image)
        else:
            self._waiting.append(image)

    def finish(self, width: int) -> list[Track]:
        """Everybody's track in pixels of pictures `width` wide, the largest first; none where no face was found."""
        self._end_shot(self._count)
        tracks = []
        for person in people(self._tracks, self.cuts, self._described):
            landmarks = np.zeros((self._count, 68, 2), np.float32)
            found = np.zeros(self._count, bool)
            for i, face in person.items():
                landmarks[i], found[i] = face.landmarks, True
            tracks.append(fill(landmarks, found, width, self.cuts))
        return tracks

    def _end_shot(self, i: int) -> None:
        """Looks at the last picture before i, where the shot ends, and describes who was seen in it."""
        if self._waiting:
            image = self._waiting.pop()
            self._look(i - 1, image)
        if i < self._count:
            self.cuts.append(i)
            self._next = i
        if self.cuts:
            self._described |= {t: self._find.describe(*seen) for t, seen in self._surest.items()}
            self._surest = {}

    def _look(self, i: int, image: np.ndarray) -> None:
        """Finds the faces of picture i, joins them to the tracks, and fills in the pictures between."""
        first = self.cuts[-1] if self.cuts else 0
        alive = [t for t, track in enumerate(self._tracks) if max(track) >= max(first, i - _MEMORY)]
        faces = self._find(image)
        pairs = [(overlap(last(self._tracks[t]).box, face.box), t, f) for t in alive for f, face in enumerate(faces)]
        taken_tracks, taken_faces = set(), set()
        steady = bool(alive)
        for value, t, f in sorted(pairs, reverse=True):
            if value < _OVERLAP or t in taken_tracks or f in taken_faces:
                continue
            steady &= value > _STEADY
            taken_tracks.add(t)
            taken_faces.add(f)
            self._between(self._tracks[t], i, faces[f])
            self._add(t, i, faces[f], image)
        for f, face in enumerate(faces):
            if f not in taken_faces and face.score > 0:
                self._tracks.append({})
                self._add(len(self._tracks) - 1, i, face, image)
        steady &= len(taken_tracks) == len(alive) and len(taken_faces) == len(faces)
        self._next = i + self._find.every * (2 if steady else 1)
        self._waiting = []

    def _add(self, t: int, i: int, face: Face, image: np.ndarray) -> None:
        self._tracks[t][i] = face
        if t not in self._surest or face.score > self._surest[t][1].score:
            self._surest[t] = image, face

    def _between(self, track: dict[int, Face], i: int, face: Face) -> None:
        """The pictures since the last look, where the track was seen in that one."""
        first = i - len(self._waiting)
        before = track.get(first - 1)
        if before is None:
            return
        ends = np.array([before.box, face.box])
        for j, image in enumerate(self._waiting):
            weight = (j + 1) / (len(self._waiting) + 1)
            track[first + j] = self._find.follow(image, (1 - weight) * ends[0] + weight * ends[1])


def _small(image: np.ndarray) -> np.ndarray:
    grey = cv2.resize(image, (_SMALL, _SMALL), interpolation=cv2.INTER_AREA).mean(2, dtype=np.float32)
    return grey - grey.mean()


def _is_cut(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two small pictures in a row are of two shots. Flashes are not: the means are gone already."""
    change = np.square(a - b).mean()
    return change > _VISIBLE**2 and change > _CUT * (np.square(a).mean() + np.square(b).mean())


def last(track: dict[int, Face]) -> Face:
    """The face where the track was seen last."""
    return track[max(track)]


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def people(
    tracks: Sequence[dict[int, Face]], cuts: Sequence[int] = (), described: Mapping[int, np.ndarray] | None = None
) -> list[dict[int, Face]]:
    """One track a person, the largest first: most face sizes summed over its frames. Pieces of one shot that lie apart
    in time, at about the same place and of about the same size, are put together. Over cuts place and size tell
    nothing: there the people are put together whose faces are alike. At most eight people.

    described: descriptors of the tracks by number, where there are cuts; see detectors.Detector.
    """
    found: list[_Person] = []
    for number in sorted(range(len(tracks)), key=lambda number: -_amount(tracks[number])):
        track, shot = tracks[number], bisect.bisect(cuts, min(tracks[number]))
        descriptor = described[number] if described else np.zeros(0, np.float32)
        apart = [person.apart(track, shot, descriptor) for person in found]
        best = int(np.argmin(apart)) if apart else 0
        if apart and apart[best] <= SAME:
            found[best].faces |= track
            found[best].shots.setdefault(shot, {}).update(track)
        elif len(found) < _PEOPLE:
            found.append(_Person(dict(track), {shot: dict(track)}, descriptor))
    return [dict(sorted(person.faces.items())) for person in sorted(found, key=lambda person: -_amount(person.faces))]


@dataclasses.dataclass
class _Person:
    """All faces of a person, those of each shot by themselves, and the descriptor of the largest track."""

    faces: dict[int, Face]
    shots: dict[int, dict[int, Face]]
    descriptor: np.ndarray

    def apart(self, track: dict[int, Face], shot: int, descriptor: np.ndarray) -> float:
        """How far a track is from being this person's; infinite where both are seen at once, or at other places."""
        if self.faces.keys() & track.keys():
            return np.inf
        if shot in self.shots:
            return 0.0 if _alike(self.shots[shot], track) else np.inf
        return float(np.linalg.norm(self.descriptor - descriptor))


def _amount(track: dict[int, Face]) -> float:
    return sum(face.size for face in track.values())


def _alike(main: dict[int, Face], piece: dict[int, Face]) -> bool:
    """Whether a piece begins or ends near where the main track is at the nearest frame in time."""
    start, end = min(piece), max(piece)
    near = min(main, key=lambda i: min(abs(i - start), abs(i - end)))
    edge = start if abs(near - start) <= abs(near - end) else end
    return overlap(main[near].box, piece[edge].box) > _OVERLAP / 2
