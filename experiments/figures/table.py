"""A quality of each detector by method or by dataset: a table as coloured cells."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.figures import heat_map, style


def draw(
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str = "",
    limits: tuple[float, float] = (0.5, 1.0),
) -> Figure:
    """values [r c], nan for none; the colours go from the lower limit (chance) to the upper."""
    with style.look():
        figure = style.new_figure(3.2 + 0.75 * len(columns), 1.9 + 0.24 * len(rows))
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=11)
        heat_map.fill(figure.subplots(), values, rows, columns, limits=limits, digits=3, size=7.5)
    return figure
