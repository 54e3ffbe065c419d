"""Clips as points of a plane, their vectors' t-SNE: by how they were made, and by who is in them."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.figures import style
from experiments.figures.many_curves import COLOURS

NAMED = 24  # kinds that have a look of their own; the rarer ones are grey
_MARKERS = "osD^vP<>Xp*"


def draw(points: np.ndarray, methods: Sequence[str], identities: Sequence[str], *, title: str = "") -> Figure:
    """points [n 2]; methods and identities [n], "" where nobody knows."""
    with style.look():
        rows = -(-min(max(len(set(methods)), len(set(identities))), NAMED + 1) // 4)
        figure = style.new_figure(10.4, 5.2 + 0.19 * rows)
        figure.suptitle(title or "Embeddings", x=0.01, ha="left", fontweight="bold", fontsize=11)
        panels = figure.subplots(1, 2)
        for axes, kinds, heading in zip(panels, (methods, identities), ("by method", "by person"), strict=True):
            axes.set_title(heading)
            axes.grid(False)
            axes.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
            axes.set_anchor("N")
            _scatter(axes, points, kinds)
    return figure


def _scatter(axes: Axes, points: np.ndarray, kinds: Sequence[str]) -> None:
    kinds = np.array([kind or "unknown" for kind in kinds])
    common = [kind for kind, _ in sorted(Counter(kinds.tolist()).items(), key=lambda item: (-item[1], item[0]))][:NAMED]
    if len(rest := points[~np.isin(kinds, common)]):
        axes.scatter(*rest.T, s=8, color=style.GRID, label="others", linewidths=0)
    for place, kind in enumerate(sorted(common)):
        look = {"color": COLOURS[place % len(COLOURS)], "marker": _MARKERS[(place + place // 8) % len(_MARKERS)]}
        label = style.shorten(kind, 22)
        axes.scatter(*points[kinds == kind].T, s=13, alpha=0.85, linewidths=0, label=label, **look)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=4, fontsize=6.5, handletextpad=0.1)
