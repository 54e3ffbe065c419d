"""What an augmentation is: a frozen dataclass called with an example and a generator."""

import dataclasses
from typing import Any, ClassVar

import numpy as np

Example = dict[str, Any]
Range = tuple[float, float]  # drawn uniformly from low to high


@dataclasses.dataclass(frozen=True)
class Transform:
    """With probability p, replaces streams of an example: what subclasses' `apply` returns.

    Raises:
      ValueError: p outside [0, 1], or a range whose low end is above its high end.
    """

    p: float = 0.5

    changes_time: ClassVar[bool] = False  # so that targets that are given by time would be wrong afterwards

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
