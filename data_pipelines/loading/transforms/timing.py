"""Augmentations of time, which treat all streams alike: sync is evidence.

Shifts in time need none: a training window begins at a random moment, for all streams. What changes the order or the
number of the pictures alone (Late, ShuffleFrames, StillFrames, DropFrames, LowerRate) puts a detector to the test.
"""

import dataclasses
from typing import ClassVar

import numpy as np

from data_pipelines.batch import FPS, SAMPLE_RATE
from data_pipelines.loading.transforms.base import Example, Range, Transform


@dataclasses.dataclass(frozen=True)
class Speed(Transform):
    """Slower by `rate` (at most 1): the window's first part, of that share, lasts for all of it; voices get lower.

    Never faster: a window holds no more than it shows. Pictures are the nearest ones that there are.
    """

    rate: Range = (0.85, 1.0)

    changes_time: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.5 <= self.rate[0] <= self.rate[1] <= 1:
            raise ValueError(f"Speed.rate: expected a range within 0.5 to 1, found {self.rate}")

    def apply(self, example: Example, rng: np.random.Generator) -> Example:
        rate = rng.uniform(*self.rate)
        out = {}
        for stream in ("image", "video", "mouth"):
            if stream in example and example[f"{stream}_mask"]:
                out |= {name: _slowed(example[name], rate) for name in (stream, f"{stream}_valid")}
        if "audio" in example and example["audio_mask"]:
            out["audio_valid"] = _slowed(example["audio_valid"], rate)
            out["audio"] = _stretched(example["audio"], rate)
        return out


@dataclasses.dataclass(frozen=True)
class Late(Transform):
    """Sound that comes `seconds` late, early where they are negative, in whole steps of 40 ms: streams out of step.

    What the window lacks then is no sound, and not valid.
    """

    seconds: Range = (-0.6, 0.6)

    changes_time: ClassVar[bool] = True

    def apply(self, example: Example, rng: np.random.Generator) -> Example:
        steps = round(rng.uniform(*self.seconds) * FPS)
        if "audio" not in example or not example["audio_mask"] or not steps:
            return {}
        samples = round(steps * SAMPLE_RATE / FPS)
        return {"audio": _later(example["audio"], samples), "audio_valid": _later(example["audio_valid"], steps)}


_FILMS = ("video", "mouth")


@dataclasses.dataclass(frozen=True)
class _Order(Transform):
    """Shows the pictures of the films in another order, the same one in all that have as many."""

    changes_time: ClassVar[bool] = True

    def apply(self, example: Example, rng: np.random.Generator) -> Example:
        out, orders = {}, {}
        for stream in _FILMS:
            if stream in example and example[f"{stream}_mask"]:
                valid = example[f"{stream}_valid"]
                if len(valid) not in orders:
                    orders[len(valid)] = self.order(valid, rng)
                out[stream] = example[stream][orders[len(valid)]]
        return out

    def order(self, valid: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The number of the picture that each step shows [t], of those that are valid [t]."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class ShuffleFrames(_Order):
    """The valid pictures in random order: what a detector still tells then, it does not tell by time."""

    def order(self, valid: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        order, where = np.arange(len(valid)), np.flatnonzero(valid)
        order[where] = rng.permutation(where)
        return order


@dataclasses.dataclass(frozen=True)
class StillFrames(_Order):
    """One random valid picture throughout."""

    def order(self, valid: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        where = np.flatnonzero(valid) if valid.any() else np.arange(len(valid))
        return np.full(len(valid), rng.choice(where))


@dataclasses.dataclass(frozen=True)
class DropFrames(_Order):
    """A `share` of the pictures is lost, and the one before each stays in its place."""

    share: Range = (0.1, 0.1)

    def order(self, valid: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        lost = rng.random(len(valid)) < rng.uniform(*self.share)
        lost[:1] = False
        return np.maximum.accumulate(np.where(lost, 0, np.arange(len(valid))))


@dataclasses.dataclass(frozen=True)
class LowerRate(_Order):
    """One picture of every `every` alone, which stays until the next: 25 a second become 12.5 at 2."""

    every: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.every < 1:
            raise ValueError(f"LowerRate.every: expected 1 or more, found {self.every}")

    def order(self, valid: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.arange(len(valid)) // self.every * self.every


def _later(values: np.ndarray, by: int) -> np.ndarray:
    """values [n] moved back by so many places, or forward; zeros where there are none."""
    out = np.zeros_like(values)
    n = len(values)
    out[max(0, by) : n + min(0, by)] = values[max(0, -by) : n - max(0, by)]
    return out


def _slowed(steps: np.ndarray, rate: float) -> np.ndarray:
    """The first `rate` of the steps [t …], each shown for longer."""
    return steps[np.floor((np.arange(len(steps)) + 0.5) * rate).astype(int)]


def _stretched(samples: np.ndarray, rate: float) -> np.ndarray:
    """The first `rate` of samples [s] int16, resampled to s."""
    import soxr

    length = len(samples)
    part = round(length * rate)
    if part == length:
        return samples
    out = soxr.resample(samples[:part].astype(np.float32), part, length)
    out = np.pad(out, (0, max(0, length - len(out))))[:length]
    return np.clip(np.rint(out), -32768, 32767).astype(np.int16)
