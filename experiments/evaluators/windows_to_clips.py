"""From the outputs of a clip's windows to the clip's: the reductions that a task names (mmdf_jax.typing.Task)."""

from collections.abc import Callable, Sequence

import numpy as np


def reduce(
    reduction: str, values: np.ndarray, index: np.ndarray, clips: int, *, starts: np.ndarray, seconds: float
) -> Sequence[np.ndarray]:
    """One value or curve per clip from `values [n …]`, one per window; nan counts as unknown.

    index [n]: the clip of each window, 0 to clips - 1. starts [n]: the second of the clip where each window begins;
    seconds: how long a window is.

    Returns a sequence of `clips` arrays: [] for mean, median and max, [k] for curve, [t of the clip] for stitched.

    Raises:
      ValueError: no such reduction, or values of another rank.
    """
    if reduction not in _REDUCTIONS:
        raise ValueError(f"task: no reduction {reduction!r}; known: {', '.join(_REDUCTIONS)}")
    function, rank = _REDUCTIONS[reduction]
    if values.ndim != rank:
        raise ValueError(f"task: the reduction {reduction!r} is of {rank} axes, found one of shape {values.shape}")
    return function(values.astype(np.float64), index, clips, starts, seconds)


def mean(values: np.ndarray, index: np.ndarray, clips: int, *_: object) -> np.ndarray:
    """Mean over each clip's known windows [clips], or element by element [clips k]; nan where there is none."""
    known = ~np.isnan(values)
    counts, sums = np.zeros((2, clips, *values.shape[1:]))
    np.add.at(counts, index, known)
    np.add.at(sums, index, np.where(known, values, 0))
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def median(values: np.ndarray, index: np.ndarray, clips: int, *_: object) -> np.ndarray:
    """Median over each clip's windows that are known [clips]."""
    of_clip = [values[(index == clip) & ~np.isnan(values)] for clip in range(clips)]
    return np.array([np.median(some) if len(some) else np.nan for some in of_clip])


def largest(values: np.ndarray, index: np.ndarray, clips: int, *_: object) -> np.ndarray:
    """Maximum over each clip's windows that are known [clips]."""
    found = np.full(clips, np.nan)
    np.fmax.at(found, index, values)
    return found


def stitched(values: np.ndarray, index: np.ndarray, clips: int, starts: np.ndarray, seconds: float) -> list[np.ndarray]:
    """Timelines: windows [n t] of equal steps laid where they begin, their mean where they overlap, nan in gaps."""
    t = values.shape[1]
    first = np.round(starts * t / seconds).astype(int)
    timelines = []
    for clip in range(clips):
        rows = np.flatnonzero(index == clip)
        length = max((first[row] + t for row in rows), default=0)
        places = np.concatenate([first[row] + np.arange(t) for row in rows]) if len(rows) else np.zeros(0, int)
        timelines.append(mean(values[rows].ravel(), places, length))
    return timelines


_REDUCTIONS: dict[str, tuple[Callable[..., Sequence[np.ndarray]], int]] = {
    "mean": (mean, 1),
    "median": (median, 1),
    "max": (largest, 1),
    "curve": (mean, 2),
    "stitched": (stitched, 2),
}
