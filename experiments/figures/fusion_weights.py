"""What each late fusion has learned to weigh, with intervals over identities."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from experiments.figures import style


def draw(rows: Sequence[Mapping[str, Any]], *, title: str = "") -> Figure:
    """rows: of fusion_weights.csv, with Fusion, Weight, Value, Low and High."""
    names = list(dict.fromkeys(row["Fusion"] for row in rows))
    with style.look():
        figure = style.new_figure(max(2.3 * len(names), 4), 2.6)
        figure.suptitle(title or "Weights", x=0.01, ha="left", fontweight="bold", fontsize=10)
        for axes, name in zip(figure.subplots(1, max(len(names), 1), squeeze=False)[0], names, strict=False):
            own = [row for row in rows if row["Fusion"] == name]
            axes.axvline(0, color=style.MUTED, linewidth=0.8)
            for place, row in enumerate(own):
                axes.plot([row["Low"], row["High"]], [place, place], color=style.REAL)
                axes.plot(row["Value"], place, "o", color=style.REAL, markersize=5)
            axes.set_yticks(range(len(own)), [style.shorten(row["Weight"], 12) for row in own])
            axes.set_ylim(len(own) - 0.5, -0.5)
            axes.grid(axis="y", visible=False)
            axes.set_title(name, fontweight="normal")
            axes.set_xlabel("95 % over identities")
    return figure
