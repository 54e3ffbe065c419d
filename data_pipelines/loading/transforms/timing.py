"""Augmentations of time, which treat all streams alike: sync is evidence.

Shifts in time need none: a training window begins at a random moment, for all streams.
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
