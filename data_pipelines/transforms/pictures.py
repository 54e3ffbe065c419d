"""Augmentations of an example's decoded streams: uint8 pictures and int16 sound, before and after.

Each is a frozen dataclass called with an example and a generator. What is drawn holds for all frames of the window and
alike for all of its picture streams, in proportion to their sizes, so that streams still show one and the same take;
none moves a stream in time. Only noise differs from frame to frame, as a camera's does. Absent streams stay zero.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

SAMPLE_RATE = 16_000
MIDDLE_GREY = 128.0
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
# ITU-R BT.470 (NTSC) YIQ: hue turns in its I-Q plane and leaves luma alone.
YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])

Example = dict[str, Any]
Range = tuple[float, float]  # drawn uniformly from low to high


@dataclasses.dataclass(frozen=True)
class Transform:
    """With probability p, replaces streams of an example: what subclasses' `apply` returns.

    Raises:
      ValueError: p outside [0, 1], or a range whose low end is above its high end.
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ValueError(f"{type(self).__name__}.p: expected 0 to 1, found {self.p}")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is Range and (len(value) != 2 or value[0] > value[1]):
                raise ValueError(f"{type(self).__name__}.{field.name}: expected (low, high), found {value}")

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        return example | self.apply(example, rng) if rng.random() < self.p else example

    def apply(self, example: Example, rng: np.random.Generator) -> Example:
        raise NotImplementedError


# Pictures


@dataclasses.dataclass(frozen=True)
class _Pictures(Transform):
    """Draws once, then treats every picture stream that exists."""

    streams: tuple[str, ...] = ("image", "video", "mouth")

    def apply(self, example: Example, rng: np.random.Generator) -> Example:
        change = self.draw(rng)
        return {s: change(example[s]) for s in self.streams if s in example and example[f"{s}_mask"]}

    def draw(self, rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
        """A change of frames `[n h w c] uint8`."""
        raise NotImplementedError


def _each(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """A change of one picture `[h w c]` or, for one channel, `[h w]`, as a change of frames."""
    return lambda frames: np.stack([change(np.ascontiguousarray(f)) for f in frames]).reshape(frames.shape)


@dataclasses.dataclass(frozen=True)
class HorizontalFlip(_Pictures):
    """Mirrors face and mouth together."""

    def draw(self, rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
        return lambda frames: np.ascontiguousarray(frames[:, :, ::-1])


@dataclasses.dataclass(frozen=True)
class ResizedCrop(_Pictures):
    """Cuts a random square with a `side` relative to the picture's, and enlarges it to the picture's size."""

    side: Range = (0.8, 1.0)

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


# Sound


@dataclasses.dataclass(frozen=True)
class _Sound(Transform):
    """Changes the samples, as float64 in int16's units, if there are any; the result is rounded and clipped."""

    def apply(self, example: Example, rng: np.random.Generator) -> Example:
        if "audio" not in example or not example["audio_mask"]:
            return {}
        samples = self.change(example["audio"].astype(np.float64), rng)
        return {"audio": np.clip(np.rint(samples), -32768, 32767).astype(np.int16)}

    def change(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        raise NotImplementedError


def _rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(samples**2)))


@dataclasses.dataclass(frozen=True)
class Gain(_Sound):
    """Louder or softer by `db` decibels."""

    db: Range = (-6.0, 6.0)

    def change(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return samples * 10 ** (rng.uniform(*self.db) / 20)


@dataclasses.dataclass(frozen=True)
class AudioNoise(_Sound):
    """Gaussian noise at `snr` dB below the window's level; its power falls with frequency as f ** -slope.

    Slope 0 is white noise, 1 pink, 2 brown. Digital silence stays.
    """

    snr: Range = (10.0, 40.0)
    slope: Range = (0.0, 2.0)

    def change(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        snr, slope = rng.uniform(*self.snr), rng.uniform(*self.slope)
        spectrum = np.fft.rfft(rng.standard_normal(len(samples)))
        bins = np.maximum(np.arange(len(spectrum)), 20.0 * len(samples) / SAMPLE_RATE)  # level below 20 Hz
        noise = np.fft.irfft(spectrum * bins ** (-slope / 2), len(samples))
        return samples + noise * (_rms(samples) / _rms(noise) * 10 ** (-snr / 20))


@dataclasses.dataclass(frozen=True)
class BandLimit(_Sound):
    """Keeps the frequencies from `low` to `high` Hz, without delay; Butterworth slopes of that `order`."""

    low: Range = (20.0, 300.0)
    high: Range = (3000.0, 8000.0)
    order: int = 6

    def change(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        low, high = rng.uniform(*self.low), rng.uniform(*self.high)
        length = 2 * len(samples)  # zeros behind, for the filter's ringing
        frequency = np.fft.rfftfreq(length, 1 / SAMPLE_RATE)
        above = 1 / np.sqrt(1 + (low / np.maximum(frequency, 1e-3)) ** (2 * self.order)) if low > 0 else 1.0
        below = 1 / np.sqrt(1 + (frequency / high) ** (2 * self.order))
        return np.fft.irfft(np.fft.rfft(samples, length) * above * below, length)[: len(samples)]


@dataclasses.dataclass(frozen=True)
class Reverb(_Sound):
    """A room: exponentially decaying noise behind the direct sound, which keeps its place; the level stays.

    `rt60` is the time in s in which the tail falls by 60 dB, `direct` the direct sound's energy over the tail's in dB.
    """

    rt60: Range = (0.1, 0.6)
    direct: Range = (0.0, 20.0)

    def change(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        rt60, direct = rng.uniform(*self.rt60), rng.uniform(*self.direct)
        time = np.arange(1, max(2, round(rt60 * SAMPLE_RATE))) / SAMPLE_RATE
        tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / rt60)
        room = np.concatenate([[1.0], tail * 10 ** (-direct / 20) / np.sqrt(np.sum(tail**2))])
        length = len(samples) + len(room)
        wet = np.fft.irfft(np.fft.rfft(samples, length) * np.fft.rfft(room, length), length)[: len(samples)]
        return wet * (_rms(samples) / max(_rms(wet), 1e-9))
