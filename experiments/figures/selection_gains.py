"""What choosing and combining members gains: nested beside naive on validation, and on test against the best member."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.figures import style


def draw(rows: Sequence[Mapping[str, Any]], *, title: str = "") -> Figure:
    """rows: of system_comparison.csv."""
    members = sorted((row for row in rows if row["Kind"].startswith("member")), key=lambda row: -_or_zero(row["AUC"]))
    pipelines = [row for row in rows if not row["Kind"].startswith("member")]
    shown = [*pipelines, *members]
    with style.look():
        figure = style.new_figure(10.4, 1.6 + 0.24 * max(len(shown), 4))
        loss, test, gap = figure.subplots(1, 3, sharey=True, width_ratios=[1, 1.2, 1.2])
        figure.suptitle(title or "What choosing and combining gain", x=0.01, ha="left", fontweight="bold", fontsize=10)
        loss.set(xlabel="log-loss on validation, nats")
        test.set(xlabel="test AUC, 95 % over identities")
        gap.set(xlabel="minus the best member, paired (filled: Holm p < .05)")
        names = [("▸ " if row["Kind"] == "system" else "") + row["Detector"] for row in shown]
        loss.set_yticks(range(len(shown)), [style.shorten(name, 26) for name in names])
        loss.set_ylim(len(shown) - 0.5, -0.5)
        gap.axvline(0, color=style.MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
        for place, row in enumerate(shown):
            colour = style.REAL if row in members else style.FAKE
            _overfit(loss, place, row["Log-loss naive"], row["Log-loss nested"])
            _point(test, place, [row[name] for name in ("AUC", "AUC low", "AUC high")], colour, filled=True)
            values = [row[name] for name in ("Difference", "Difference low", "Difference high")]
            _point(gap, place, values, colour, filled=row["Holm p"] < 0.05)
            if row["Kind"].endswith("best on validation"):
                gap.text(0, place, " best on validation", va="center", fontsize=8)
        loss.plot([], [], "o", color=style.FAKE, markersize=5, label="nested: the choice did not see the person")
        loss.plot([], [], "o", color=style.FAKE, markersize=5, markerfacecolor="white", label="naive: the choice did")
        figure.legend(loc="outside lower left", ncols=2)
        for axes in (loss, test, gap):
            axes.grid(axis="y", visible=False)
            if members and pipelines:
                axes.axhline(len(pipelines) - 0.5, color=style.GRID, linewidth=1)
    return figure


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def _overfit(axes: Axes, place: int, naive: float, nested: float) -> None:
    if math.isnan(nested):
        return
    axes.plot([naive, nested], [place, place], color=style.FAKE, linewidth=1)
    axes.plot(naive, place, "o", color=style.FAKE, markersize=5, markerfacecolor="white", zorder=3)
    axes.plot(nested, place, "o", color=style.FAKE, markersize=5, zorder=3)


def _point(axes: Axes, place: int, values: Sequence[float], colour: str, *, filled: bool) -> None:
    value, low, high = values
    if math.isnan(value):
        return
    if not math.isnan(low):
        axes.plot([low, high], [place, place], color=colour)
    axes.plot(value, place, "o", color=colour, markersize=5, markerfacecolor=colour if filled else "white", zorder=3)
