"""Following all faces through a clip."""

from collections.abc import Callable, Sequence

import numpy as np

from data_pipelines.detectors import Detector, Face
from data_pipelines.faces import Track, fill

_OVERLAP = 0.3  # intersection over union from which two boxes are one face
_STEADY = 0.7  # and from which it has hardly moved
_MEMORY = 25  # frames for which a track that is not seen stays open


class Tracker:
    """Follows all faces through pictures that are handed to `take` in order; `finish` chooses the speaker's.

    make: gives the detector. It is called at the first picture, for a detector may be slow to load.
    """

    def __init__(self, make: Callable[[], Detector]) -> None:
        self._make = make
        self._find: Detector | None = None
        self._tracks: list[dict[int, Face]] = []
        self._waiting: list[np.ndarray] = []  # pictures since the last look, with the frame that they begin at
        self._count = self._next = 0

    def take(self, i: int, time: float, image: np.ndarray) -> None:
        """Picture i [h w 3] RGB; they may be scaled, all alike."""
        self._count = i + 1
        self._find = self._find or self._make()
        if i >= self._next:
            self._look(i, image)
        else:
            self._waiting.append(image)

    def finish(self, width: int) -> Track | None:
        """The speaker's track in pixels of pictures `width` wide, None where no face was found at all."""
        if self._waiting:
            image = self._waiting.pop()
            self._look(self._count - 1, image)
        main = speaker(self._tracks)
        if not main:
            return None
        landmarks = np.zeros((self._count, 68, 2), np.float32)
        found = np.zeros(self._count, bool)
        for i, face in main.items():
            landmarks[i], found[i] = face.landmarks, True
        return fill(landmarks, found, width)

    def _look(self, i: int, image: np.ndarray) -> None:
        """Finds the faces of picture i, joins them to the tracks, and fills in the pictures between."""
        alive = [track for track in self._tracks if i - max(track) <= _MEMORY]
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


def speaker(tracks: Sequence[dict[int, Face]]) -> dict[int, Face]:
    """The largest steady track: most face sizes summed over its frames. Pieces of it that lie apart in time, at about
    the same place and of about the same size, are put together."""
    ranked = sorted(tracks, key=lambda track: -sum(face.size for face in track.values()))
    main: dict[int, Face] = {}
    for track in ranked:
        if not main:
            main = dict(track)
        elif not main.keys() & track.keys() and _alike(main, track):
            main |= track
    return dict(sorted(main.items()))


def _alike(main: dict[int, Face], piece: dict[int, Face]) -> bool:
    """Whether a piece begins or ends near where the main track is at the nearest frame in time."""
    start, end = min(piece), max(piece)
    near = min(main, key=lambda i: min(abs(i - start), abs(i - end)))
    edge = start if abs(near - start) <= abs(near - end) else end
    return overlap(main[near].box, piece[edge].box) > _OVERLAP / 2
