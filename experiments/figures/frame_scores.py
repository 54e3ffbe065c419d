"""Scores of every frame of some clips over time, and when each is really fake."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.figures import style

FRAME = 0.04  # s


@dataclasses.dataclass(frozen=True)
class Shown:
    """A clip: its scores of each step [t] in [0, 1], nan where unknown; its fake spans, s; its label, 1 fake."""

    name: str
    scores: np.ndarray
    spans: Sequence[tuple[float, float]]
    label: int


def draw(clips: Sequence[Shown], *, title: str) -> Figure:
    """One row for each clip: the scores as a line, what is fake shaded and named, chance as a dotted line."""
    with style.look():
        figure = style.new_figure(7.2, 0.9 + 1.15 * len(clips))
        panels = figure.subplots(len(clips), 1, sharex=True, squeeze=False)[:, 0]
        for axes, clip in zip(panels, clips, strict=True):
            end = len(clip.scores) * FRAME
            # Fake throughout, or nowhere, where there are no spans.
            for begin, stop in clip.spans or ([(0.0, end)] if clip.label == 1 else []):
                axes.axvspan(begin, min(stop, end), color=style.FAKE, alpha=0.22, linewidth=0)
                axes.text((begin + min(stop, end)) / 2, 1.04, "fake", ha="center", va="bottom", fontsize=7)
            times = (np.arange(len(clip.scores)) + 0.5) * FRAME
            axes.plot(times, clip.scores, color=style.REAL, marker=".", markersize=3)
            axes.axhline(0.5, color=style.MUTED, linewidth=0.8, linestyle=":")
            axes.set(ylim=(-0.03, 1.22), yticks=(0, 0.5, 1), xlim=(0, None), ylabel="P(fake)")
            axes.set_title(style.shorten(clip.name, 80), fontsize=8)
        panels[-1].set_xlabel("time, s (shaded: truly fake)")
        figure.suptitle(title, x=0.02, ha="left", fontweight="bold", fontsize=10)
        return figure
