"""Finding the faces of a picture: dlib, or OpenCV's YuNet where the user has its model."""

import dataclasses
import functools
import importlib.util
import pathlib
from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np

from data_pipelines.prepare import faces

_FACES = 4  # at most so many are handed on, the largest
_SIDE = 640  # pixels of the long side of the pictures that are searched
SAME = 0.6  # distance of two descriptors up to which dlib's authors take two faces for one person's


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
    `follow` gets a box to look into. `name` stands in the records' provenance. After a cut `describe` tells
    who is seen again."""

    every: int
    name: str

    def __call__(self, frame_rgb: np.ndarray) -> list[Face]:
        """All faces of a picture [h w 3]; weak ones (score <= 0) may go on with a track but start none."""

    def follow(self, frame_rgb: np.ndarray, box: Sequence[float]) -> Face:
        """The face that is known to be in the box."""

    def describe(self, frame_rgb: np.ndarray, face: Face) -> np.ndarray:
        """A descriptor [d] of a face of this frame: two of one person are no further apart than SAME."""


class Dlib:
    """dlib's HOG detector (Dalal and Triggs 2005; King 2009), 68 landmarks (Kazemi and Sullivan 2014), and its ResNet
    that recognises people (King 2017).

    Pictures are scaled to a long side of 640 pixels, where faces from 80 pixels on are found. The landmark model was
    trained on iBUG 300-W, which is for research use.
    """

    every = 5
    _WEAK = -0.3

    def __init__(self) -> None:
        import dlib

        self._dlib = dlib
        self._detector = dlib.get_frontal_face_detector()
        self._predictor = dlib.shape_predictor(str(_model("shape_predictor_68_face_landmarks.dat")))
        self.name = f"dlib {dlib.__version__}"

    def __call__(self, frame_rgb: np.ndarray) -> list[Face]:
        image, scale = _scaled(_grey(frame_rgb))
        rectangles, scores, _ = self._detector.run(image, 0, self._WEAK)
        found = [
            self._face(image, rectangle, scale, score) for rectangle, score in zip(rectangles, scores, strict=True)
        ]
        return _largest(found)

    def follow(self, frame_rgb: np.ndarray, box: Sequence[float]) -> Face:
        """Landmarks from a box as the detector would have given it."""
        image, scale = _scaled(_grey(frame_rgb))
        rectangle = self._dlib.rectangle(*(round(side * scale) for side in box))
        return self._face(image, rectangle, scale, 1.0)

    def describe(self, frame_rgb: np.ndarray, face: Face) -> np.ndarray:
        """[128] of the face turned upright."""
        points = [self._dlib.point(*np.rint(point).astype(int).tolist()) for point in face.landmarks]
        shape = self._dlib.full_object_detection(self._dlib.rectangle(*map(round, face.box)), points)
        upright = self._dlib.get_face_chip(np.ascontiguousarray(frame_rgb), shape, size=150)
        return np.array(self._recogniser.compute_face_descriptor(upright), np.float32)

    @functools.cached_property
    def _recogniser(self) -> object:
        return self._dlib.face_recognition_model_v1(str(_model("dlib_face_recognition_resnet_model_v1.dat")))

    def _face(self, image: np.ndarray, rectangle: object, scale: float, score: float) -> Face:
        shape = self._predictor(image, rectangle)
        points = np.array([(point.x, point.y) for point in shape.parts()], np.float32) / np.float32(scale)
        sides = (rectangle.left(), rectangle.top(), rectangle.right(), rectangle.bottom())
        return Face(tuple(side / scale for side in sides), points, score)


class YuNet:
    """OpenCV's YuNet (Wu, Peng and Yu 2023): smaller and more turned faces than dlib finds, from an ONNX file.

    The model is not part of this package: face_detection_yunet_2023mar.onnx of the OpenCV model zoo (MIT licence), or
    another of its makes. dlib's landmark model still gives the 68 points. It knows the boxes of dlib's own detector
    only, so it gets the box that dlib would have put around YuNet's five points (eyes, nose, corners of the mouth).

    Raises FileNotFoundError if there is no such file, ValueError if OpenCV cannot find faces with it.
    """

    every = 5
    _SURE, _WEAK = 0.9, 0.6  # where OpenCV and where its model zoo set the score's threshold
    _NMS = 0.3
    # The five points in dlib's box, of sides 1: means over the talking heads of 14 videos, made symmetric. Their
    # standard deviations are 0.03 to 0.06.
    _IN_BOX = np.array([(0.29, 0.30), (0.71, 0.30), (0.50, 0.50), (0.33, 0.755), (0.67, 0.755)], np.float32)

    def __init__(self, path: str) -> None:
        self._net = _yunet(path, self._WEAK, self._NMS)
        self._dlib = Dlib()
        self.name = f"YuNet ({pathlib.Path(path).name}) with the landmarks of {self._dlib.name}"

    def __call__(self, frame_rgb: np.ndarray) -> list[Face]:
        image, scale = _scaled(cv2.cvtColor(frame_rgb, cv2.COLOR_RGB2BGR))
        # Always one square: the shape of the input is fixed in some of the models.
        square = np.zeros((_SIDE, _SIDE, 3), np.uint8)
        square[: image.shape[0], : image.shape[1]] = image
        rows = self._net.detect(square)[1]  # [n 15]: x, y, width, height, five points, score; None without a face
        rows = np.zeros((0, 15), np.float32) if rows is None else rows[np.isfinite(rows).all(1)]
        found = []
        for row in rows:
            points, score = row[4:14].reshape(5, 2), float(row[14])
            middle = row[:2] + row[2:4] / 2
            inside = (middle >= 0).all() and middle[0] < image.shape[1] and middle[1] < image.shape[0]
            square_box = self._box(points)
            if not inside or square_box is None or not (row[2:4] > 0).all():
                continue
            face = self._dlib.follow(frame_rgb, square_box / scale)
            found.append(dataclasses.replace(face, score=score - self._SURE))
        return _largest(found)

    def follow(self, frame_rgb: np.ndarray, box: Sequence[float]) -> Face:
        """Landmarks from a box as dlib's detector would have given it."""
        return self._dlib.follow(frame_rgb, box)

    def describe(self, frame_rgb: np.ndarray, face: Face) -> np.ndarray:
        """As dlib's."""
        return self._dlib.describe(frame_rgb, face)

    def _box(self, points: np.ndarray) -> np.ndarray | None:
        """x0 y0 x1 y1 of dlib's box around the five points [5 2], None where they are no face."""
        (a, _, x), (b, _, y) = faces.similarity(points[None], self._IN_BOX)[0].astype(np.float64)
        square = a * a + b * b  # of the scale from pixels to sides of the box
        if not 1 / _SIDE < np.sqrt(square) < 1:
            return None
        z = complex(0.5 - x, 0.5 - y) / complex(a, b)
        half = 0.5 / np.sqrt(square)
        return np.array([z.real - half, z.imag - half, z.real + half, z.imag + half])


@functools.cache
def detector(yunet: str) -> Detector:
    """The detector, loaded once in a process: YuNet from the ONNX file at the path `yunet`, dlib where that is ""."""
    return YuNet(yunet) if yunet else Dlib()


def check(yunet: str) -> None:
    """Raises FileNotFoundError or ValueError, one clear line, if the file at the path `yunet` is no YuNet model."""
    _yunet(yunet, 0.5, 0.5)


def _yunet(path: str, score: float, nms: float) -> "cv2.FaceDetectorYN":
    """The network, after a look at a black picture: what is wrong with a model shows only there."""
    known = (
        "expected the ONNX file of OpenCV's YuNet, such as face_detection_yunet_2023mar.onnx of the OpenCV model zoo"
    )
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f"crops.yunet={path!r}: there is no such file; {known}")
    with open(path, "rb") as file:
        if file.read(12) == b"version http":
            raise ValueError(f"crops.yunet={path!r}: a Git LFS pointer, not the model it stands for; {known}")
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # the error below tells enough
    try:
        net = cv2.FaceDetectorYN.create(path, "", (_SIDE, _SIDE), score, nms)
        net.detect(np.zeros((_SIDE, _SIDE, 3), np.uint8))
    except cv2.error as error:
        why = " ".join(str(error.err or error).split())
        raise ValueError(f"crops.yunet={path!r}: OpenCV {cv2.__version__} cannot use it ({why}); {known}") from None
    finally:
        cv2.utils.logging.setLogLevel(level)
    return net


def _grey(image: np.ndarray) -> np.ndarray:
    # As sure as colour, and a third cheaper. dlib takes no account of strides.
    return np.ascontiguousarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))


def _scaled(image: np.ndarray) -> tuple[np.ndarray, float]:
    """The picture with the long side that is searched, and its scale."""
    scale = _SIDE / max(image.shape[:2])
    if scale != 1:
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        image = cv2.resize(image, size, interpolation=how)
    return image, scale


def _largest(found: list[Face]) -> list[Face]:
    return sorted(found, key=lambda face: -face.size)[:_FACES]


def _model(name: str) -> pathlib.Path:
    # Importing the package that carries the models needs pkg_resources, which setuptools no longer has.
    spec = importlib.util.find_spec("face_recognition_models")
    folders = [pathlib.Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    for path in (folder / "models" / name for folder in folders):
        if path.is_file():
            return path
    raise FileNotFoundError(f"dlib's model {name} is missing: pip install face_recognition_models")
