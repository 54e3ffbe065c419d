"""People among clips: folds that hold whole people out, and weights by which a person counts as one."""

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

FOLDS = 10  # one person each, or groups of people where there are more


def folds(groups: Sequence[Hashable], most: int = FOLDS) -> list[np.ndarray]:
    """Masks [n] of the clips to hold out: one identity each, or `most` sets of identities where there are more.

    groups [n]: the clips' identities. They are dealt out in sorted order, so that equal groups give equal folds.

    Raises:
      ValueError: there are fewer than two identities.
    """
    number = {name: i for i, name in enumerate(sorted(set(groups)))}
    if len(number) < 2:
        raise ValueError(f"cross-fitting needs clips of two identities or more on validation, found {len(number)}")
    numbers = np.array([number[name] for name in groups])
    return [numbers % most == fold for fold in range(min(most, len(number)))]


def weights(groups: Sequence[Hashable]) -> np.ndarray:
    """The weight of each clip [n] where each of g identities weighs 1 / (g + 1), split evenly between its clips.

    The last 1 / (g + 1) is for the identity that comes next.
    """
    counts = Counter(groups)
    return np.array([1 / (counts[group] * (len(counts) + 1)) for group in groups])
