"""Augmentations of pictures."""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import cv2
import numpy as np

from data_pipelines.batch import masked_stream
from data_pipelines.fakes import codecs
from data_pipelines.loading.transforms.base import Example, Range, Transform

MIDDLE_GREY = 128.0
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
# ITU-R BT.470 (NTSC) YIQ: hue turns in its I-Q plane and leaves luma alone.
YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


@dataclasses.dataclass(frozen=True)
class _Pictures(Transform):
    """Draws once, then treats every picture stream that exists; if it moves pictures, their masks too."""

    streams: tuple[str, ...] = ("image", "video", "mouth")

    moves: ClassVar[bool] = False

    def apply(self, example: Example, rng: np.random.Generator) -> Example:
        change = self.draw(rng)
        out = {s: change(example[s]) for s in self.streams if s in example and example[f"{s}_mask"]}
        if (
            self.moves
            and "face_mask" in example
            and masked_stream(example) in out
            and (example["face_mask"] >= 0).all()
        ):
            out["face_mask"] = change(example["face_mask"])
        return out

    def draw(self, rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
        """A change of frames `[n h w c] uint8`; where it moves them, also of masks `[n h w] float32`."""
        raise NotImplementedError


def _each(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """A change of one picture `[h w c]` or, for one channel, `[h w]`, as a change of frames."""
    return lambda frames: np.stack([change(np.ascontiguousarray(f)) for f in frames]).reshape(frames.shape)


@dataclasses.dataclass(frozen=True)
class HorizontalFlip(_Pictures):
    """Mirrors face and mouth together."""

    moves: ClassVar[bool] = True

    def draw(self, rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
        return lambda frames: np.ascontiguousarray(frames[:, :, ::-1])


@dataclasses.dataclass(frozen=True)
class ResizedCrop(_Pictures):
    """Cuts a random square with a `side` relative to the picture's, and enlarges it to the picture's size."""

    side: Range = (0.8, 1.0)

    moves: ClassVar[bool] = True

    def draw(self, rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
        side = rng.uniform(*self.side)
        x, y = rng.uniform(0, 1 - side, 2) if side < 1 else (0.0, 0.0)
        return _warp(np.array([[side, 0.0, x], [0.0, side, y]]))


@dataclasses.dataclass(frozen=True)
class ShiftScaleRotate(_Pictures):
    """Moves the picture by up to `shift` of its size, enlarges it by `scale` and turns it by up to `degrees`."""

    shift: float = 0.05
    scale: Range = (0.9, 1.1)
    degrees: float = 5.0

    moves: ClassVar[bool] = True

    def draw(self, rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
        move = rng.uniform(-1, 1, 2) * self.shift
        angle, scale = np.deg2rad(rng.uniform(-1, 1) * self.degrees), rng.uniform(*self.scale)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / scale
        return _warp(np.column_stack([turn, 0.5 - turn @ (0.5 + move)]))


def _warp(source: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Bilinear; `source [2 3]` takes a target point to where it comes from, both in parts of the picture (0 to 1)."""

    def warp(frame: np.ndarray) -> np.ndarray:
        height, width = frame.shape[:2]
        size = np.array([width, height])
        turn = source[:, :2] * size[:, None] / size
        # Pixel i's centre is at (i + 0.5) / size.
        pixels = np.column_stack([turn, source[:, 2] * size + turn @ [0.5, 0.5] - 0.5])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(frame, pixels, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT_101)

    return _each(warp)


@dataclasses.dataclass(frozen=True)
class ColourJitter(_Pictures):
    """Factors of brightness, contrast (about middle grey) and saturation from 1 - x to 1 + x; hue turned by up to x.

    `hue` is in turns of the colour circle. Grey mouths take brightness and contrast.
    """

    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.02

    def draw(self, rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
        brightness, contrast, saturation = 1 + rng.uniform(-1, 1, 3) * [self.brightness, self.contrast, self.saturation]
        angle = 2 * np.pi * self.hue * rng.uniform(-1, 1)
        turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
        colour = saturation * np.linalg.inv(YIQ) @ turn @ YIQ + (1 - saturation) * np.ones((3, 1)) * LUMA
        gain, offset = brightness * contrast, (1 - contrast) * MIDDLE_GREY
        affine = np.column_stack([gain * colour, np.full(3, offset)])
        grey = np.clip(np.rint(gain * np.arange(256) + offset), 0, 255).astype(np.uint8)

        def change(frames: np.ndarray) -> np.ndarray:
            n, h, w, c = frames.shape
            if c == 1:
                return grey[frames]
            return cv2.transform(frames.reshape(n * h, w, c), affine).reshape(frames.shape)

        return change


@dataclasses.dataclass(frozen=True)
class Exposure(_Pictures):
    """A new gain for each picture, of standard deviation `sigma` around 1: a camera that keeps correcting itself."""

    sigma: Range = (0.01, 0.01)

    def draw(self, rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
        sigma, seed = rng.uniform(*self.sigma), int(rng.integers(2**32))

        def change(frames: np.ndarray) -> np.ndarray:
            # The same gains for all streams that have as many pictures.
            gains = 1 + sigma * np.random.default_rng(seed).standard_normal(len(frames), np.float32)
            return np.clip(np.rint(frames * gains[:, None, None, None]), 0, 255).astype(np.uint8)

        return change


@dataclasses.dataclass(frozen=True)
class Blur(_Pictures):
    """Gaussian blur; `sigma` in percent of the picture's width."""

    sigma: Range = (0.0, 2.0)

    def draw(self, rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
        percent = rng.uniform(*self.sigma)
        if percent == 0:
            return lambda frames: frames
        return _each(lambda frame: cv2.GaussianBlur(frame, (0, 0), percent / 100 * frame.shape[1]))


@dataclasses.dataclass(frozen=True)
class Noise(_Pictures):
    """Gaussian noise of standard deviation `sigma` grey levels, new in every pixel and frame."""

    sigma: Range = (0.0, 10.0)

    def draw(self, rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
        sigma = np.float32(rng.uniform(*self.sigma))

        def change(frames: np.ndarray) -> np.ndarray:
            noise = rng.standard_normal(frames.shape, np.float32)
            noise *= sigma
            noise += frames
            return np.clip(np.rint(noise, out=noise), 0, 255, out=noise).astype(np.uint8)

        return change


@dataclasses.dataclass(frozen=True)
class Jpeg(_Pictures):
    """JPEG compression, `quality` 1 to 100 as libjpeg counts it."""

    quality: Range = (30, 95)

    def draw(self, rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
        options = [cv2.IMWRITE_JPEG_QUALITY, round(rng.uniform(*self.quality))]

        def change(frame: np.ndarray) -> np.ndarray:
            grey = frame.shape[2] == 1
            data = cv2.imencode(".jpg", frame if grey else cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), options)[1]
            return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR_RGB)

        return _each(change)


@dataclasses.dataclass(frozen=True)
class Downscale(_Pictures):
    """Shrinks the picture by `factor` (area average) and enlarges it again (bilinear)."""

    factor: Range = (1.0, 4.0)

    def draw(self, rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
        factor = rng.uniform(*self.factor)

        def change(frame: np.ndarray) -> np.ndarray:
            height, width = frame.shape[:2]
            small = (max(1, round(width / factor)), max(1, round(height / factor)))
            return cv2.resize(cv2.resize(frame, small, interpolation=cv2.INTER_AREA), (width, height))

        return _each(change)


@dataclasses.dataclass(frozen=True)
class Erase(_Pictures):
    """Paints a rectangle of `area` (part of the picture, sides up to 1:3) in one random grey, still through the window.

    After random erasing, arXiv 1708.04896.
    """

    streams: tuple[str, ...] = ("image", "video")
    area: Range = (0.02, 0.15)

    def draw(self, rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
        area, stretch = rng.uniform(*self.area), np.exp(rng.uniform(-1, 1) * np.log(3) / 2)
        sides = np.minimum(np.sqrt(area) * np.array([stretch, 1 / stretch]), 1)
        corner = rng.uniform(0, 1, 2) * (1 - sides)
        grey = rng.integers(256)

        def change(frames: np.ndarray) -> np.ndarray:
            size = np.array(frames.shape[1:3])
            (top, left), (bottom, right) = (
                np.rint(corner * size).astype(int),
                np.rint((corner + sides) * size).astype(int),
            )
            frames = frames.copy()
            frames[:, top:bottom, left:right] = grey
            return frames

        return change


@dataclasses.dataclass(frozen=True)
class Recompress(_Pictures):
    """H.264 compression of the window at quality `crf` (0 best to 51), once more; sparse images each by itself."""

    crf: Range = (23, 40)

    def apply(self, example: Example, rng: np.random.Generator) -> Example:
        crf = round(rng.uniform(*self.crf))
        present = [s for s in self.streams if s in example and example[f"{s}_mask"]]
        return {s: codecs.video_round_trip(example[s], crf, still=s == "image") for s in present}
