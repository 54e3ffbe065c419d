"""Clips that detectors get wrong or do not agree on: every detector's score of each, as coloured cells."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.figures import heat_map, style


def draw(parts: Sequence[tuple[str, Sequence[str], np.ndarray]], names: Sequence[str], *, title: str = "") -> Figure:
    """parts: (heading, what each clip is [k], scores [k m], nan for none); names [m] of the detectors."""
    with style.look():
        heights = [max(len(clips), 1) + 1.5 for _, clips, _ in parts]
        figure = style.new_figure(4.6 + 0.36 * len(names), 1.6 + 0.25 * sum(heights))
        figure.suptitle(title or "Failures", x=0.01, ha="left", fontweight="bold", fontsize=11)
        panels = figure.subplots(len(parts), 1, squeeze=False, height_ratios=heights, sharex=True)[:, 0]
        for axes, (heading, clips, scores) in zip(panels, parts, strict=True):
            axes.set_title(heading, fontsize=9)
            if not len(clips):
                axes.grid(False)
                style.say(axes, "none")
                axes.set_yticks([])
                continue
            heat_map.fill(
                axes, scores, [_cut(clip) for clip in clips], names, limits=(0, 1), colours=heat_map.TWO_SIDED, size=6
            )
    return figure


def _cut(text: str) -> str:
    return style.shorten(text, 64)
