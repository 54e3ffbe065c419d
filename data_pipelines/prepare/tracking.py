"""Following all faces through a clip, each within one shot."""

import bisect
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from data_pipelines.prepare.detectors import Detector, Face
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
        self._waiting: list[np.ndarray] = []  # pictures since the last look, with the frame that they begin at
        self._count = self._next = 0
        self._small: np.ndarray | None = None  # the picture before, small and grey
        self.cuts: list[int] = []  # frames at which another shot begins

    def take(self, i: int, time: float, image: np.ndarray) -> None:
        """Picture i [h w 3] RGB; they may be scaled, all alike. After picture 0 all begins anew."""
        if i == 0:
            self._tracks, self._waiting, self._next, self._small, self.cuts = [], [], 0, None, []
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
        for person in people(self._tracks, self.cuts):
            landmarks = np.zeros((self._count, 68, 2), np.float32)
            found = np.zeros(self._count, bool)
            for i, face in person.items():
                landmarks[i], found[i] = face.landmarks, True
            tracks.append(fill(landmarks, found, width))
        return tracks

    def shot(self, track: Track) -> tuple[int, int] | None:
        """First frame and end of the shot that a track is seen in; None where nothing is cut."""
        edges = [0, *self.cuts, self._count]
        number = bisect.bisect(self.cuts, int(track.found.argmax()))
        return (edges[number], edges[number + 1]) if self.cuts else None

    def _end_shot(self, i: int) -> None:
        """Looks at the last picture before i, where the shot ends."""
        if self._waiting:
            image = self._waiting.pop()
            self._look(i - 1, image)
        if i < self._count:
            self.cuts.append(i)
            self._next = i

    def _look(self, i: int, image: np.ndarray) -> None:
        """Finds the faces of picture i, joins them to the tracks, and fills in the pictures between."""
        first = self.cuts[-1] if self.cuts else 0
        alive = [track for track in self._tracks if max(track) >= max(first, i - _MEMORY)]
        faces = self._find(image)
        pairs = [
            (overlap(last(track).box, face.box), t, f) for t, track in enumerate(alive) for f, face in enumerate(faces)
        ]
        taken_tracks, taken_faces = set(), set()
        steady = bool(alive)
        for value, t, f in sorted(pairs, reverse=True):
            if value < _OVERLAP or t in taken_tracks or f in taken_faces:
                continue
            steady &= value > _STEADY
            taken_tracks.add(t)
            taken_faces.add(f)
            self._between(alive[t], i, faces[f])
            alive[t][i] = faces[f]
        self._tracks += [{i: face} for f, face in enumerate(faces) if f not in taken_faces and face.score > 0]
        steady &= len(taken_tracks) == len(alive) and len(taken_faces) == len(faces)
        self._next = i + self._find.every * (2 if steady else 1)
        self._waiting = []

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


def people(tracks: Sequence[dict[int, Face]], cuts: Sequence[int] = ()) -> list[dict[int, Face]]:
    """One track a person, the largest first: most face sizes summed over its frames. Pieces that lie apart in time, at
    about the same place and of about the same size, are put together, but not across cuts: who is seen after one may be
    somebody else. At most eight people."""
    found: list[dict[int, Face]] = []
    for track in sorted(tracks, key=_amount, reverse=True):
        shot = bisect.bisect(cuts, min(track))
        whose = (
            i
            for i, person in enumerate(found)
            if shot == bisect.bisect(cuts, min(person)) and not person.keys() & track.keys() and _alike(person, track)
        )
        if (i := next(whose, None)) is not None:
            found[i] |= track
        elif len(found) < _PEOPLE:
            found.append(dict(track))
    return [dict(sorted(person.items())) for person in sorted(found, key=_amount, reverse=True)]


def _amount(track: dict[int, Face]) -> float:
    return sum(face.size for face in track.values())


def _alike(main: dict[int, Face], piece: dict[int, Face]) -> bool:
    """Whether a piece begins or ends near where the main track is at the nearest frame in time."""
    start, end = min(piece), max(piece)
    near = min(main, key=lambda i: min(abs(i - start), abs(i - end)))
    edge = start if abs(near - start) <= abs(near - end) else end
    return overlap(main[near].box, piece[edge].box) > _OVERLAP / 2
