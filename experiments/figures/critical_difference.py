"""Mean ranks of detectors over datasets, joined where pairwise tests do not tell them apart (Demšar 2006)."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.figures import style


def cliques(ranks: np.ndarray, apart: np.ndarray) -> list[tuple[int, int]]:
    """(first, last) in the order of the ranks [m] of the largest runs of detectors of which no two are apart [m m]."""
    order = np.argsort(ranks, kind="stable")
    found: list[tuple[int, int]] = []
    for first in range(len(order)):
        last = first
        while last + 1 < len(order) and not apart[order[last + 1], order[first : last + 1]].any():
            last += 1
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found


def draw(names: Sequence[str], ranks: np.ndarray, apart: np.ndarray, *, title: str = "") -> Figure:
    """names [m]; ranks [m], 1 is best; apart [m m] bool: whether the corrected test of the pair tells them apart."""
    order = np.argsort(ranks, kind="stable")
    bars = cliques(ranks, apart)
    with style.look():
        rows = (len(names) + 1) // 2
        figure = style.new_figure(8.4, 1.4 + 0.27 * rows + 0.14 * len(bars))
        axes = figure.subplots()
        axes.set_title(title or "Mean ranks over datasets")
        axes.grid(False)
        low, high = 1, max(len(names), 2)
        depth = 1 + 0.6 * len(bars)
        axes.set(xlim=(low - 0.9 - high * 0.25, high + 0.9 + high * 0.25), ylim=(depth + rows + 0.5, -0.6))
        axes.plot([low, high], [0, 0], color=style.INK, linewidth=1)
        for tick in range(low, high + 1):
            axes.plot([tick, tick], [0, -0.15], color=style.INK, linewidth=1)
            axes.text(tick, -0.2, f"{tick}", ha="center", va="bottom", fontsize=8)
        for i, (first, last) in enumerate(bars):
            ends = [ranks[order[first]] - 0.05, ranks[order[last]] + 0.05]
            axes.plot(ends, [0.5 + 0.6 * i] * 2, color=style.INK, linewidth=3.5, solid_capstyle="butt")
        for place, which in enumerate(order):
            left = place < rows
            y = depth + (place if left else len(order) - 1 - place)
            x = low - 0.3 if left else high + 0.3
            axes.plot([ranks[which], ranks[which], x], [0, y, y], color=style.MUTED, linewidth=0.9)
            text = f"{style.shorten(names[which], 26)}  {ranks[which]:.2f}"
            axes.text(x, y, f"{text} " if left else f" {text}", ha="right" if left else "left", va="center", fontsize=8)
        axes.set_axis_off()
        axes.set_title(title or "Mean ranks over datasets")
    return figure
