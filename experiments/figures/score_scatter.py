"""Two streams' scores against each other, one panel per manipulation method: which stream gives which fake away."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from experiments.figures import style

COLUMNS, SHOWN = 4, 12  # panels in a row, and at most


def draw(
    x: ArrayLike, y: ArrayLike, methods: Sequence[str], labels: ArrayLike, *, names: tuple[str, str], title: str = ""
) -> Figure:
    """x, y [n] in [0, 1] (nan: missing, not shown), methods [n], labels [n] (1 fake); names of the two streams.

    Each panel shows a method's fakes over all reals; of many methods, those with the most clips.
    """
    x, y, labels = np.asarray(x, float), np.asarray(y, float), np.asarray(labels)
    of = np.asarray(methods, object)
    counts = {name: int(((of == name) & (labels == 1)).sum()) for name in sorted(set(of[labels == 1]))}
    shown = sorted(counts, key=lambda name: -counts[name])[:SHOWN]
    wide, high = min(max(len(shown), 1), COLUMNS), -(-max(len(shown), 1) // COLUMNS)
    with style.look():
        figure = style.new_figure(2.1 * wide + 0.6, 2.2 * high + 0.5)
        figure.suptitle(title or "Scores", x=0.01, ha="left", fontweight="bold", fontsize=10)
        panels = figure.subplots(high, wide, sharex=True, sharey=True, squeeze=False)
        for place, axes in enumerate(panels.flat[len(shown) :], len(shown)):
            axes.set_visible(False)
            panels.flat[place - wide].tick_params(labelbottom=True)
        for axes, name in zip(panels.flat, shown, strict=False):
            fakes = (of == name) & (labels == 1)
            axes.scatter(x[labels == 0], y[labels == 0], s=8, color=style.REAL, alpha=0.35, linewidths=0, label="real")
            axes.scatter(x[fakes], y[fakes], s=12, color=style.FAKE, alpha=0.8, linewidths=0, label="fake")
            axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
            axes.set_title(style.shorten(name, 22), fontweight="normal", fontsize=9)
        if not shown:
            style.say(panels.flat[0], "No fake clip.")
        figure.supxlabel(f"{names[0]} score", fontsize=9)
        figure.supylabel(f"{names[1]} score (blue: reals, red: fakes)", fontsize=9)
    return figure
