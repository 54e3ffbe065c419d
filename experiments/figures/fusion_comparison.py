"""Every fusion beside the single detectors: AUC with its interval, and the paired difference to the best of them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from experiments.figures import style


def draw(rows: Sequence[Mapping[str, Any]], *, title: str = "") -> Figure:
    """rows: of fusion_comparison.csv; a detector's Kind, AUC and Difference with their limits, Holm p."""
    with style.look():
        figure = style.new_figure(9.2, 1.4 + 0.3 * max(len(rows), 3))
        left, right = figure.subplots(1, 2, sharey=True)
        figure.suptitle(title or "Fusions", x=0.01, ha="left", fontweight="bold", fontsize=10)
        left.set(xlabel="test AUC, 95 % over identities")
        right.set(xlabel="minus the best single stream, paired (filled: Holm p < .05)")
        left.set_yticks(range(len(rows)), [style.shorten(row["Detector"], 22) for row in rows])
        left.set_ylim(len(rows) - 0.5, -0.5)
        right.axvline(0, color=style.MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
        for place, row in enumerate(rows):
            colour = style.FAKE if row["Kind"] == "fusion" else style.REAL
            _point(left, place, [row[name] for name in ("AUC", "AUC low", "AUC high")], colour, filled=True)
            values = [row[name] for name in ("Difference", "Difference low", "Difference high")]
            _point(right, place, values, colour, filled=row["Holm p"] < 0.05)
            if row["Kind"].endswith("validation"):
                right.text(0, place, " best on validation", va="center", fontsize=8)
        for axes in (left, right):
            axes.grid(axis="y", visible=False)
    return figure


def _point(axes: Any, place: int, values: Sequence[float], colour: str, *, filled: bool) -> None:
    value, low, high = values
    if math.isnan(value):
        return
    if not math.isnan(low):
        axes.plot([low, high], [place, place], color=colour)
    axes.plot(value, place, "o", color=colour, markersize=5, markerfacecolor=colour if filled else "white", zorder=3)
