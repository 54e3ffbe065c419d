"""Curves of many detectors in panels, told apart in colour and in grey: what ROC, DET and risk share."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.figures import style

COLOURS = (style.REAL, style.FAKE, style.ACCENT, style.SECOND, style.THIRD, style.INK, "#56B4E9", style.MUTED)
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))  # told apart in grey too


class Curve(NamedTuple):
    """A detector's curve: x [n] and y [n]; note: its number, for the legend."""

    name: str
    x: np.ndarray
    y: np.ndarray
    note: str


def look(place: int) -> dict[str, object]:
    """The colour and the dashes of the curve at this place."""
    return {"color": COLOURS[place % len(COLOURS)], "linestyle": _DASHES[place % len(_DASHES)]}


def figure_of(panels: Mapping[str, Sequence[Curve]], *, title: str, legend: str) -> Figure:
    """A panel for each heading, two beside each other, each over its legend. legend: what the notes are.

    Call it inside `style.look()`; the axes are those of the panels, in order, for the caller to label.
    """
    across = min(2, max(len(panels), 1))
    down = max(math.ceil(len(panels) / across), 1)
    rows = math.ceil(max([len(curves) for curves in panels.values()], default=0) / 2)
    figure = style.new_figure(5.0 * across, (5.2 + 0.25 * rows) * down + 0.3)
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=11)
    all_axes: list[Axes] = np.atleast_1d(figure.subplots(down, across)).ravel().tolist()
    for axes, (heading, curves) in zip(all_axes, panels.items(), strict=False):
        axes.set_title(heading)
        axes.set_anchor("N")
        for i, curve in enumerate(curves):
            label = f"{style.shorten(curve.name, 26)}  {curve.note}"
            axes.plot(curve.x, curve.y, label=label, solid_joinstyle="miter", **look(i))
        if curves:
            below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.13), "ncols": 2}  # where no curve runs
            axes.legend(title=legend, title_fontsize=8, **below)
    for axes in all_axes[len(panels) :]:
        axes.remove()
    return figure
