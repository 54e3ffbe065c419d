"""Detectors beside each other: AUC with its interval, what they do at their threshold, and what they cost."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.figures import style

_RATES = {  # {column: marker, colour}
    "Accuracy": ("o", style.REAL),
    "Precision": ("s", style.ACCENT),
    "Recall": ("^", style.FAKE),
    "F1": ("D", style.SECOND),
}
_COSTS = ("Parameters (M)", "Training time (min)", "Inference (ms/sample)")


def draw(
    rows: Sequence[Mapping[str, Any]], *, title: str = "", groups: Mapping[str, tuple[str, str]] | None = None
) -> Figure:
    """rows: of complete_results.csv. groups: {Experiment: (group's name, colour)} of the AUCs; none: one colour."""
    groups = groups or {}
    with style.look():
        figure = style.new_figure(11.5, 1.5 + 0.32 * max(len(rows), 3))
        figure.suptitle(title or "Detectors", x=0.01, ha="left", fontweight="bold", fontsize=11)
        panels = figure.subplots(1, 5, sharey=True, width_ratios=(3, 3, 1, 1, 1))
        auc, rates, *costs = panels
        auc.set(xlabel="test AUC, 95 % over identities")
        rates.set(xlabel="at the threshold of validation")
        auc.set_yticks(range(len(rows)), [style.shorten(_name(row), 38) for row in rows])
        auc.set_ylim(len(rows) - 0.5, -0.5)
        for place, row in enumerate(rows):
            name, colour = groups.get(row["Experiment"], ("", style.REAL))
            _auc(auc, place, row, name, colour)
            for column, (marker, own) in _RATES.items():
                rates.plot(row[column], place, marker, color=own, markersize=5, label=column if not place else None)
        for axes, column in zip(costs, _COSTS, strict=True):
            values = [0.0 if math.isnan(row[column]) else row[column] for row in rows]
            axes.barh(range(len(rows)), values, height=0.5, color=style.MUTED)
            axes.set_xlabel(column.replace(" (", "\n("))
            axes.margins(x=0.35)
            for place, row in enumerate(rows):
                shown = " –" if math.isnan(row[column]) else f" {row[column]:.3g}"
                axes.text(values[place], place, shown, va="center", fontsize=7)
        for axes in panels:
            axes.grid(axis="y", visible=False)
        legend = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2, "handletextpad": 0.1}
        rates.legend(ncols=4, columnspacing=0.8, **legend)
        if groups:
            auc.legend(ncols=3, columnspacing=0.8, **legend)
    return figure


def _name(row: Mapping[str, Any]) -> str:
    judged = "" if row["Judged by"] == "label" else f" ({row['Judged by'].replace('_', ' ')})"
    return f"{row['Run']}{judged}"


def _auc(axes: Axes, place: int, row: Mapping[str, Any], group: str, colour: str) -> None:
    value, low, high = (row[name] for name in ("AUC", "AUC low", "AUC high"))
    if math.isnan(value):
        return
    if not math.isnan(low):
        axes.plot([low, high], [place, place], color=colour)
    known = axes.get_legend_handles_labels()[1]
    axes.plot(value, place, "o", color=colour, markersize=5, label=group if group and group not in known else None)
    axes.text(value, place - 0.18, f"{value:.3f}", ha="center", va="bottom", fontsize=7)
