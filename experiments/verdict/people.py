"""Who is who on both sides of a border between two pieces of a file, by where the faces are."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import optimize

from data_pipelines.prepare import tracking
from experiments.verdict.examined import Box

SAME = 0.15  # intersection over union from which two boxes are one person's
NEAR = 25  # frames from a border within which a face must be seen to go on beyond it


def matched(before: Sequence[tuple[int, Box | None]], boxes: Sequence[Box | None]) -> list[int | None]:
    """Of each box the number of the person whose box before it is: one to one, of the greatest overlap in all."""
    overlaps = np.array(
        [[tracking.overlap(box, other) if box and other else 0.0 for _, other in before] for box in boxes]
    ).reshape(len(boxes), len(before))
    overlaps[overlaps <= SAME] = 0.0
    found: list[int | None] = [None] * len(boxes)
    for i, j in zip(*optimize.linear_sum_assignment(-overlaps), strict=True):
        if overlaps[i, j]:
            found[i] = before[j][0]
    return found


def near(record: Mapping[str, Any], frame: int) -> Box | None:
    """The box of a record's face at its sighting nearest to a frame; None where it is not seen within NEAR of it."""
    seen = np.flatnonzero(record["found"] > 0)
    if not len(seen):
        return None
    nearest = seen[np.abs(seen - frame).argmin()]
    return tuple(map(float, record["boxes"][nearest])) if abs(nearest - frame) <= NEAR else None


def middle(record: Mapping[str, Any]) -> Box | None:
    """The median box of a record's face."""
    seen = record["found"] > 0
    return tuple(map(float, np.median(record["boxes"][seen], 0))) if seen.any() else None
