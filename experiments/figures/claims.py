"""The declared claims: how much each side gains over the other, with its interval, and what was called none."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments.figures import style

_LOOKS = {  # {verdict: colour, whether the marker is filled}
    "supported": (style.ACCENT, True),
    "contradicted": (style.FAKE, True),
    "practically equal": (style.REAL, False),
    "not shown": (style.MUTED, False),
}


def draw(rows: Sequence[Mapping[str, Any]], *, title: str = "") -> Figure:
    """rows: of statistical_analysis.csv, family by family; those that could not be made are left out."""
    rows = [row for row in rows if not math.isnan(row["Gain"])]
    families: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        families.setdefault(row["Family"], []).append(row)
    with style.look():
        heights = [len(own) + 0.9 for own in families.values()] or [2.0]
        figure = style.new_figure(10.2, 1.0 + 0.31 * sum(heights))
        figure.suptitle(title or "Claims", x=0.01, ha="left", fontweight="bold", fontsize=11)
        panels = figure.subplots(max(len(families), 1), 1, squeeze=False, height_ratios=heights)[:, 0]
        if not families:
            style.say(panels[0], "No claim could be tested.")
        seen: set[str] = set()
        for axes, (family, own) in zip(panels, families.items(), strict=False):
            axes.set_title(f"{family} ({_unit(own[0]['Metric'])})", fontsize=9)
            axes.set_yticks(range(len(own)), [_name(row) for row in own], fontsize=7.5)
            axes.set_ylim(len(own) - 0.4, -0.6)
            axes.grid(axis="y", visible=False)
            rope = own[0]["ROPE"]
            axes.add_patch(Rectangle((-rope, -1), 2 * rope, len(own) + 1, color=style.GRID, linewidth=0, zorder=0))
            axes.axvline(0, color=style.MUTED, linewidth=0.8)
            for place, row in enumerate(own):
                colour, filled = _LOOKS[row["Verdict"]]
                if not math.isnan(row["Gain low"]):
                    axes.plot([row["Gain low"], row["Gain high"]], [place, place], color=colour)
                face = colour if filled else "white"
                label = row["Verdict"] if row["Verdict"] not in seen else None
                seen.add(row["Verdict"])
                axes.plot(row["Gain"], place, "o", color=colour, markerfacecolor=face, markersize=5.5, label=label)
        handles = [pair for axes in panels for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
        if handles:
            figure.legend(*zip(*handles, strict=True), loc="outside upper right", ncols=4)
            panels[-1].set_xlabel("gain of the first over the second, with its interval; grey: practically none")
    return figure


def _name(row: Mapping[str, Any]) -> str:
    sides = [row[side] + "*" * (row[f"{side} chosen from"] > 1) for side in ("Better", "Than")]
    return "  over  ".join(style.shorten(side, 32) for side in sides)


def _unit(metric: str) -> str:
    return {"auc": "gain in AUC", "brier": "fall of the Brier score"}[metric]
