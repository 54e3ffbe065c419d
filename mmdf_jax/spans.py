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

    Each step with a score of at least `low` proposes the segment that its two distances span. Where a distance is nan,
    since the segment leaves the window that it was seen in, the proposal goes on to the edge of the run of steps of at
    least `high` around it, and there to what that step knows. Of overlapping proposals the best `most` enter
    soft-NMS (Bodla et al. 2017) of width `sigma`; what stays with a score of at least `low` moves to the mean, weighted
    by score, of all proposals whose IoU with it is at least `agree`.
    """

    low: float = 0.05
    high: float = 0.5
    most: int = 200
    sigma: float = 0.3
    agree: float = 0.75

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
        begin, end, scores = at - starts, at + ends, np.nan_to_num(scores)
        for first, last in segments.runs(scores >= self.high):
            # The run's first step knows best where it began; unless it saw no beginning either.
            far_begin = first * step if np.isnan(begin[first]) else begin[first]
            far_end = last * step if np.isnan(end[last - 1]) else end[last - 1]
            run = slice(first, last)
            begin[run] = np.where(np.isnan(begin[run]), far_begin, begin[run])
            end[run] = np.where(np.isnan(end[run]), far_end, end[run])
        begin, end = np.clip(begin, 0, len(scores) * step), np.clip(end, 0, len(scores) * step)
        return np.column_stack([begin, end, scores])[(scores >= self.low) & (end > begin)]

    def _sorted_out(self, group: np.ndarray) -> np.ndarray:
        group = segments.ranked(group)[: self.most]
        kept = segments.soft_nms(group, sigma=self.sigma, keep=self.most, least=self.low)
        weights = group[:, 2] * (segments.interval_iou(kept, group) >= self.agree)
        # A proposal agrees with itself, so that no sum is 0.
        return np.column_stack([weights @ group[:, :2] / weights.sum(1, keepdims=True), kept[:, 2]])
