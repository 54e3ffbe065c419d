"""A table of numbers as coloured cells: detectors by datasets, by methods, by clips, or by each other."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap

from experiments.figures import style

FROM_WHITE = LinearSegmentedColormap.from_list("from white", ["#ffffff", style.REAL])
TWO_SIDED = LinearSegmentedColormap.from_list("two-sided", [style.REAL, "#ffffff", style.FAKE])


def fill(
    axes: Axes,
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    limits: tuple[float, float],
    colours: Colormap = FROM_WHITE,
    digits: int = 2,
    size: float = 6.5,
) -> None:
    """Draws values [r c], nan for none, each cell with its number; the colours go from the lower limit to the upper."""
    values = np.asarray(values, float)
    axes.grid(False)
    axes.imshow(values, cmap=colours, vmin=limits[0], vmax=limits[1], aspect="auto")
    place = np.clip((values - limits[0]) / (limits[1] - limits[0]), 0, 1)
    for (row, column), value in np.ndenumerate(values):
        if np.isnan(value):
            axes.text(column, row, "–", ha="center", va="center", fontsize=size, color=style.MUTED)
            continue
        red, green, blue, _ = colours(place[row, column])
        ink = "white" if 0.3 * red + 0.59 * green + 0.11 * blue < 0.55 else style.INK
        text = f"{round(value, digits) + 0.0:.{digits}f}"  # no -0.00
        text = text.replace("0.", ".", 1) if abs(value) < 1 else text
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color=ink)
    axes.set_yticks(range(len(rows)), [style.shorten(row, 40) for row in rows], fontsize=7.5)
    axes.set_xticks(
        range(len(columns)),
        [style.shorten(column, 26) for column in columns],
        fontsize=7.5,
        rotation=40,
        ha="right",
        rotation_mode="anchor",
    )
    axes.tick_params(length=0)
    axes.set_xticks(np.arange(len(columns) - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
