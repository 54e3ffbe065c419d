"""Finding faces and following the speaker through a clip."""

import dataclasses
import functools
import importlib.util
import pathlib
from collections.abc import Callable, Sequence
from typing import Protocol

import cv2
import numpy as np

from data_pipelines.faces import Track, fill

_OVERLAP = 0.3  # intersection over union from which two boxes are one face
_STEADY = 0.7  # and from which it has hardly moved
_MEMORY = 25  # frames for which a track that is not seen stays open
_FACES = 4  # at most so many are followed, the largest


@dataclasses.dataclass(frozen=True)
class Face:
    """One face in one picture: box (x0, y0, x1, y1) and landmarks [68 2] (iBUG order), pixels; score, > 0 is sure."""

    box: tuple[float, float, float, float]
    landmarks: np.ndarray
    score: float = 1.0

    @property
    def size(self) -> float:
        """Side of the square of the box's area, pixels."""
        return float(np.sqrt(max(0.0, self.box[2] - self.box[0]) * max(0.0, self.box[3] - self.box[1])))


class Detector(Protocol):
    """What finds faces. It is called on every `every`-th picture, or half as often while little moves; between,
    `follow` gets a box to look into."""

    every: int

    def __call__(self, frame_rgb: np.ndarray) -> list[Face]:
        """All faces of a picture [h w 3]; weak ones (score <= 0) may go on with a track but start none."""

    def follow(self, frame_rgb: np.ndarray, box: Sequence[float]) -> Face:
        """The face that is known to be in the box."""


class Dlib:
    """dlib's HOG detector (Dalal and Triggs 2005; King 2009) and 68 landmarks (Kazemi and Sullivan 2014).

    Pictures are scaled to a long side of 640 pixels, where faces from 80 pixels on are found. The landmark model was
    trained on iBUG 300-W, which is for research use.
    """

    every = 5
    _SIDE = 640
    _WEAK = -0.3

    def __init__(self) -> None:
        import dlib

        self._dlib = dlib
        self._detector = dlib.get_frontal_face_detector()
        self._predictor = dlib.shape_predictor(str(_landmark_model()))

    def __call__(self, frame_rgb: np.ndarray) -> list[Face]:
        image, scale = self._scaled(frame_rgb)
        rectangles, scores, _ = self._detector.run(image, 0, self._WEAK)
        faces = [
            self._face(image, rectangle, scale, score) for rectangle, score in zip(rectangles, scores, strict=True)
        ]
        return sorted(faces, key=lambda face: -face.size)[:_FACES]

    def follow(self, frame_rgb: np.ndarray, box: Sequence[float]) -> Face:
        """Landmarks from a box as the detector would have given it."""
        image, scale = self._scaled(frame_rgb)
        rectangle = self._dlib.rectangle(*(round(side * scale) for side in box))
        return self._face(image, rectangle, scale, 1.0)

    def _scaled(self, image: np.ndarray) -> tuple[np.ndarray, float]:
        # Grey: as sure as colour, and a third cheaper. dlib takes no account of strides.
        image = np.ascontiguousarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
        scale = self._SIDE / max(image.shape[:2])
        if scale != 1:
            how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
            image = cv2.resize(image, size, interpolation=how)
        return image, scale

    def _face(self, image: np.ndarray, rectangle: object, scale: float, score: float) -> Face:
        shape = self._predictor(image, rectangle)
        points = np.array([(point.x, point.y) for point in shape.parts()], np.float32) / np.float32(scale)
        sides = (rectangle.left(), rectangle.top(), rectangle.right(), rectangle.bottom())
        return Face(tuple(side / scale for side in sides), points, score)


@functools.cache
def detector() -> Detector:
    """The default detector, loaded once in a process."""
    return Dlib()


def _landmark_model() -> pathlib.Path:
    # Importing the package that carries the model needs pkg_resources, which setuptools no longer has.
    spec = importlib.util.find_spec("face_recognition_models")
    folders = [pathlib.Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    for path in (folder / "models" / "shape_predictor_68_face_landmarks.dat" for folder in folders):
        if path.is_file():
            return path
    raise FileNotFoundError("the landmark model is missing: pip install face_recognition_models")


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
