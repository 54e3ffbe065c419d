"""Spans of time and their form per step: what a localiser learns of spans, and how its answers become segments again.

Step i of equal steps of s seconds covers [i s, (i + 1) s) and stands for its middle, (i + 0.5) s: both directions use
the middle, so that nothing moves by half a step.
"""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from mmdf_jax import segments
from mmdf_jax.typing import Array

OUTERMOST = 3  # steps at each end of a run that tell where it ends
Curves = tuple[np.ndarray, np.ndarray, np.ndarray]  # scores, distances to start and to end [t]


def middles(steps: int, seconds: float) -> np.ndarray:
    """What `steps` equal steps of `seconds` each stand for: [steps] float32, s from the start of the first."""
    return ((np.arange(steps) + 0.5) * seconds).astype(np.float32)


def encode(spans: Array, times: Array) -> tuple[Array, Array]:
    """Spans [b k 2] in s, -1 where there is none, as seen from times [t] in s.

    Any order, and spans may overlap: a time belongs to the shortest span that it lies in.

    Returns
      inside [b t] bool; distances [b t 2] float32, s back to that span's start and on to its end, 0 outside of all.
    """
    begin, end = spans[..., 0][:, None], spans[..., 1][:, None]  # [b 1 k]
    at = jnp.asarray(times)[None, :, None]
    within = (begin >= 0) & (end > begin) & (at >= begin) & (at < end)
    which = jnp.argmin(jnp.where(within, end - begin, jnp.inf), -1)[..., None]
    found = jnp.concatenate([jnp.take_along_axis(at - begin, which, -1), jnp.take_along_axis(end - at, which, -1)], -1)
    inside = within.any(-1)
    return inside, jnp.where(inside[..., None], found, 0).astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class Decoder:
    """From curves along a clip's steps to its segments.

    Every run of steps whose score, averaged over `smooth` of them, is at least `high` proposes itself, with that mean
    as its score; its ends move by up to a step, to where its outermost steps say that they are. Every step with a score
    of at least `low` proposes the segment that its two distances span, with `alone` times its score; where a distance
    is nan, since the segment leaves the window that it was seen in, the proposal goes on to the end of the run around
    it. Of overlapping proposals the best `most` enter soft-NMS (Bodla et al. 2017) of width `sigma`; what stays with a
    score of at least `low` moves to the mean, weighted by score, of all proposals whose IoU with it is at least
    `agree` (1: stays).
    """

    low: float = 0.05
    high: float = 0.5
    smooth: int = 3
    alone: float = 0.5
    most: int = 200
    sigma: float = 0.3
    agree: float = 1.0

    def __call__(self, levels: Sequence[Curves], step: float) -> np.ndarray:
        """Of each level scores [t] from 0 to 1 and distances to start and end [t] in s, nan where unknown.

        step: seconds. Returns segments [k 3] (start, end, score) in s from the clip's start, by falling score.
        """
        proposals = np.concatenate([np.zeros((0, 3)), *(self._proposals(*level, step) for level in levels)])
        proposals = proposals[np.argsort(proposals[:, 0], kind="stable")]
        # Proposals that nothing links are sorted out apart: a long clip costs as much as its parts.
        reach = np.maximum.accumulate(proposals[:, 1])
        apart = np.flatnonzero(proposals[1:, 0] >= reach[:-1]) + 1
        found = [self._sorted_out(group) for group in np.split(proposals, apart) if len(group)]
        return segments.ranked(np.concatenate([np.zeros((0, 3)), *found]))

    def _proposals(self, scores: np.ndarray, starts: np.ndarray, ends: np.ndarray, step: float) -> np.ndarray:
        """[n 3]: start, end, score."""
        at = (np.arange(len(scores)) + 0.5) * step
        begin, end, length = at - starts, at + ends, len(scores) * step
        smoothed = _smoothed(scores, self.smooth)
        runs = []
        for first, last in segments.runs(smoothed >= self.high):
            own = slice(first, last)
            left = _near(begin[own][:OUTERMOST], first * step, step)
            right = _near(end[own][-OUTERMOST:], last * step, step)
            runs.append((left, right, smoothed[own].mean()))
            begin[own] = np.where(np.isnan(begin[own]), left, begin[own])
            end[own] = np.where(np.isnan(end[own]), right, end[own])
        steps = np.column_stack(
            [np.clip(begin, 0, length), np.clip(end, 0, length), self.alone * np.nan_to_num(scores)]
        )
        steps = steps[(steps[:, 2] >= self.low) & (steps[:, 1] > steps[:, 0])]
        return np.concatenate([np.array(runs).reshape(-1, 3), steps])

    def _sorted_out(self, group: np.ndarray) -> np.ndarray:
        group = segments.ranked(group)[: self.most]
        kept = segments.soft_nms(group, sigma=self.sigma, keep=self.most, least=self.low)
        weights = group[:, 2] * (segments.interval_iou(kept, group) >= self.agree - 1e-9)
        # A proposal agrees with itself, so that no sum is 0.
        return np.column_stack([weights @ group[:, :2] / weights.sum(1, keepdims=True), kept[:, 2]])


def _smoothed(scores: np.ndarray, width: int) -> np.ndarray:
    """The mean [t] of the known ones among the `width` scores around each; 0 where a score itself is unknown."""
    known = ~np.isnan(scores)
    sums, counts = (
        np.convolve(x, np.ones(width), "full")[width // 2 :][: len(x)] for x in (np.nan_to_num(scores), known)
    )
    return np.where(known, sums / np.maximum(counts, 1), 0)


def _near(told: np.ndarray, edge: float, step: float) -> float:
    """The median of what steps told of a run's end, no further than a step from its edge; the edge if none knows."""
    known = told[~np.isnan(told)]
    return float(np.clip(np.median(known), edge - step, edge + step)) if len(known) else edge
