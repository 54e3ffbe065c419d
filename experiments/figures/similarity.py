"""Which times of one stream look like which times of another: a matrix per clip."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.figures import style

SPAN = "#000000"
COLUMNS = 4


@dataclasses.dataclass(frozen=True)
class Similarity:
    """One window of one clip."""

    title: str
    matrix: np.ndarray  # [t s]: cosine of each step of one stream with each step of the other; nan where unknown
    seconds: float  # that both axes last
    start: float = 0.0  # s from the clip's beginning
    label: int = -1  # 1 fake, 0 real, -1 unknown: colours the title
    spans: Sequence[tuple[float, float]] = ()  # of the clip, s: where the streams are known not to belong together


def draw(clips: Sequence[Similarity], *, streams: tuple[str, str] = ("mouth", "audio"), title: str = "") -> Figure:
    """A matrix per clip, time of `streams[0]` downwards, of `streams[1]` to the right, all in the same colours.

    Streams that match are bright along the diagonal. Dashed squares mark the known spans.

    Raises:
      ValueError: no clip, or a matrix that is not one.
    """
    if not clips:
        raise ValueError("similarity figure: expected at least one clip, found none")
    for clip in clips:
        if np.ndim(clip.matrix) != 2 or 0 in np.shape(clip.matrix):
            raise ValueError(f"similarity of {clip.title!r}: expected a matrix [t s], found {np.shape(clip.matrix)}")
    columns = min(COLUMNS, len(clips))
    rows = -(-len(clips) // columns)
    with style.look():
        figure = style.new_figure(2.9 * columns + 0.9, 3.1 * rows + (0.4 if title else 0.1))
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
        panels = np.atleast_1d(figure.subplots(rows, columns)).ravel()
        for axes in panels[len(clips) :]:
            axes.axis("off")
        for axes, clip in zip(panels, clips, strict=False):
            begin, end = clip.start, clip.start + clip.seconds
            picture = axes.imshow(
                np.asarray(clip.matrix, float), cmap="RdBu_r", vmin=-1, vmax=1, extent=(begin, end, end, begin)
            )
            axes.grid(False)
            for first, last in clip.spans:
                first, last = max(first, begin), min(last, end)
                if last > first:
                    corners = [first, last, last, first, first], [first, first, last, last, first]
                    axes.plot(*corners, color=SPAN, linewidth=1.2, linestyle=(0, (3, 2)))
            axes.set_title(
                style.shorten(clip.title, 34), fontsize=8.5, color={0: style.REAL, 1: style.FAKE}.get(clip.label)
            )
            axes.set_xlabel(f"{streams[1]} (s)", fontsize=8)
            axes.set_ylabel(f"{streams[0]} (s)", fontsize=8)
        bar = figure.colorbar(picture, ax=panels.tolist(), fraction=0.04, pad=0.02, aspect=24)
        bar.set_label("cosine", fontsize=8)
        bar.outline.set_visible(False)
    return figure
