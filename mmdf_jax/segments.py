"""Time segments in numpy: their overlap, soft suppression of near copies, and segments from the scores of frames.

Spans are [n 2], (start, end) in seconds; segments are [n 3], (start, end, score).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

FPS = 25  # of frame scores


def interval_iou(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Intersection over union [n m] of spans a [n 2 or more] and b [m 2 or more]; 0 where both have no length."""
    (start, end), (other_start, other_end) = (_spans(x) for x in (a, b))
    start, end = start[:, None], end[:, None]
    shared = np.maximum(np.minimum(end, other_end) - np.maximum(start, other_start), 0)
    hull = np.maximum(end, other_end) - np.minimum(start, other_start)
    return np.divide(shared, hull, out=np.zeros_like(shared), where=hull > 0)


def ranked(segments: ArrayLike) -> np.ndarray:
    """The segments [n 3] by falling score; of one score the earlier in time, so that no order of listing matters."""
    segments = np.asarray(segments, np.float64).reshape(-1, 3)
    return segments[np.lexsort((segments[:, 1], segments[:, 0], -segments[:, 2]))]


def soft_nms(segments: ArrayLike, *, sigma: float = 0.5, keep: int = 50, least: float = 1e-3) -> np.ndarray:
    """Lowers the scores of segments that overlap better ones (Bodla et al. 2017, equation 2: Gaussian).

    The best segment is taken, the scores of the others are multiplied by exp(-IoU² / sigma), and so on.

    Args:
      segments: [n 3], scores not below 0.
      sigma: how mildly; 0 removes whatever overlaps at all.
      keep: at most this many are returned.
      least: segments whose score falls below it are dropped.

    Returns:
      [k 3], by falling score.

    Raises:
      ValueError: sigma is negative, or a segment is no segment, see `checked`.
    """
    if not sigma >= 0:
        raise ValueError(f"soft_nms: sigma must not be negative, found {sigma}")
    left, kept = ranked(checked(segments, 3, "soft_nms")), []
    left = left[left[:, 2] >= least]
    while len(left) and len(kept) < keep:
        best = int(np.argmax(left[:, 2]))
        kept.append(left[best])
        left = np.delete(left, best, axis=0)
        iou = interval_iou(left, kept[-1][None])[:, 0]
        left[:, 2] *= np.exp(-(iou**2) / sigma) if sigma else iou == 0
        left = left[left[:, 2] >= least]
    return np.array(kept).reshape(-1, 3)


def from_frames(scores: ArrayLike, threshold: float, *, fps: float = FPS, shortest: float = 0.0) -> np.ndarray:
    """Segments [k 3] where frame scores [t] reach the threshold without a break, in order of time.

    Step i stands for the time [i, i + 1) / fps. A segment's score is the mean over its steps. An unknown score (nan)
    ends a run. Runs below `shortest` seconds are left out.
    """
    scores = np.asarray(scores, np.float64)
    spans = runs(scores >= threshold)
    spans = spans[np.diff(spans, axis=1)[:, 0] >= shortest * fps - 1e-9]
    means = [scores[start:end].mean() for start, end in spans]
    return np.column_stack([spans / fps, np.array(means, np.float64)])


def runs(inside: ArrayLike) -> np.ndarray:
    """Where a bool [t] is true without a break: [k 2] steps, the second the first one after."""
    padded = np.concatenate([[False], np.asarray(inside, bool), [False]])
    return np.flatnonzero(padded[1:] != padded[:-1]).reshape(-1, 2)


def frame_labels(spans: Sequence[Sequence[float]], steps: int, *, fps: float = FPS) -> np.ndarray:
    """[steps] bool: whether the middle of each step lies in one of the spans."""
    times = (np.arange(steps) + 0.5) / fps
    return np.any([(times >= start) & (times <= end) for start, end in spans], axis=0) & np.ones(steps, bool)


def checked(segments: ArrayLike, width: int, where: str) -> np.ndarray:
    """Segments (`width` 3) or spans (2) as a float64 array [n width].

    Raises:
      ValueError: they have another shape, one is not finite, or one ends before it starts; `where` begins the message.
    """
    try:
        array = np.asarray(segments, np.float64)
        array = array.reshape(-1, width) if array.size == 0 else array
    except (TypeError, ValueError):
        array = np.zeros(0)
    names = "(start, end, score)" if width == 3 else "(start, end)"
    if array.ndim != 2 or array.shape[1] != width:
        raise ValueError(f"{where}: expected a list of {names}, found {' '.join(str(segments).split())[:80]}")
    wrong = ~np.isfinite(array).all(1) | (array[:, 1] < array[:, 0])
    if wrong.any():
        found = tuple(array[np.argmax(wrong)].tolist())
        raise ValueError(f"{where}: expected {names} with finite numbers and start <= end, found {found}")
    return array


def _spans(segments: ArrayLike) -> np.ndarray:
    """Starts and ends, [2 n] floats, of segments or spans [n 2 or more]; of an empty list too."""
    array = np.asarray(segments)
    array = array if array.dtype.kind == "f" else array.astype(np.float64)
    return array[:, :2].T if array.size else np.zeros((2, 0), array.dtype)
