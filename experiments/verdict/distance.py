"""How far a file lies from the clips that a detector was validated on, by what can be measured of face and sound.

The distance is that of Mahalanobis with a diagonal covariance, robust: the root mean square, over the measures that the
file has, of (value - median) / scale, where median and scale (interquartile range / 1.349) are those of the validation
clips. It knows nothing of content, only of size, light, sharpness, colour, movement and sound. A file is called out of
distribution where it lies further out than LIMIT of the validation clips do. Each of these is measured with medians and
scales of the other people, as a new file is: a clip lies nearer to a median that it had a part in.
"""

import dataclasses
import math
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from experiments.verdict.quality import MEASURES
from mmdf_jax.stats.groups import folds

DEFINITION = (
    "root mean square over the measures of (value - median) / scale, median and interquartile range / 1.349 of the "
    "validation clips; logarithms of sizes, contrast, sharpness, colour, movement and bandwidth. Limit: a quantile of "
    "the validation clips' own distances, each by medians and scales of other people"
)
LIMIT = 0.99  # quantile among validation clips
FEWEST = 10  # clips
FLOOR = 0.02  # of a median: a scale is at least that, so that a measure that never varies cannot dominate
TINY = 0.01  # the logarithm sees measures of at least that
LOGARITHMIC = ("face_pixels", "contrast", "sharpness", "colour", "movement", "bandwidth")  # ratios count
LEFT_OUT = ("face_seen",)  # nearly 1 in every clip, so that its scale says nothing


@dataclasses.dataclass(frozen=True)
class Distance:
    """value: the distance; quantile: share of the validation clips that lie nearer; z: of each measure."""

    value: float
    quantile: float
    limit: float
    clips: int
    z: Mapping[str, float]

    @property
    def out(self) -> bool:
        return self.value > self.limit


@dataclasses.dataclass(frozen=True)
class Reference:
    """Measures of validation clips {name: [n]}, with `duration` in s; people [n]: who is in each clip.

    Raises:
      ValueError: fewer than FEWEST clips, or than two people.
    """

    measures: Mapping[str, np.ndarray]
    people: Sequence[Hashable]

    def __post_init__(self) -> None:
        if self.clips < FEWEST or len(set(self.people)) < 2:
            raise ValueError(
                f"expected the measures of {FEWEST} validation clips of two people or more, found {self.clips} of "
                f"{len(set(self.people))}"
            )

    @property
    def clips(self) -> int:
        return len(self.measures["duration"])

    @property
    def seconds(self) -> float:
        """Median duration of the clips."""
        return float(np.median(self.measures["duration"]))

    def distance(self, measured: Mapping[str, float]) -> Distance | None:
        """Of a file's measures; None where it has none that the validation clips have."""
        codes = np.unique([repr(person) for person in self.people], return_inverse=True)[1]
        held_out, z, of_clips = folds(codes), {}, []
        for name in MEASURES:
            values, measure = self.measures[name], measured[name]
            if name in LOGARITHMIC:
                values, measure = np.log(np.maximum(values, TINY)), math.log(max(measure, TINY))
            if (~np.isnan(values)).sum() < FEWEST or math.isnan(measure) or name in LEFT_OUT:
                continue
            z[name] = float(_in_scales(measure, values))
            own = np.full(len(values), np.nan)
            for fold in held_out:
                own[fold] = _in_scales(values[fold], values[~fold])
            of_clips.append(own)
        if not z:
            return None
        squares = np.stack(of_clips) ** 2
        counts = (~np.isnan(squares)).sum(0)
        own = np.sqrt(np.nansum(squares, 0)[counts > 0] / counts[counts > 0])
        value = math.sqrt(float(np.mean(np.square(list(z.values())))))
        return Distance(value, float(np.mean(own < value)), float(np.quantile(own, LIMIT)), len(own), z)


def _in_scales(value: np.ndarray | float, values: np.ndarray) -> np.ndarray | float:
    """(value - median) / scale of values [n]; nan where the values are not known."""
    known = values[~np.isnan(values)]
    if not len(known):
        return value * math.nan
    low, middle, high = np.quantile(known, [0.25, 0.5, 0.75])
    return (value - middle) / max((high - low) / 1.349, FLOOR * abs(middle), 1e-6)
