"""Quality against cost: AUC and milliseconds of each detector, and those that no other beats in both."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from experiments.figures import style


class Point(NamedTuple):
    """A detector: milliseconds per clip, AUC with its limits, and whether it reads one stream only."""

    name: str
    ms: float
    auc: float
    low: float
    high: float
    single: bool


def front(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats in AUC at the same cost or less, the cheapest first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda one: (one.ms, -one.auc)):
        if not best or point.auc > best[-1].auc:
            best.append(point)
    return best


def draw(points: Sequence[Point], *, title: str = "") -> Figure:
    """points: of any detectors; those whose cost or AUC is unknown are left out and named."""
    known = [one for one in points if one.ms > 0 and not math.isnan(one.auc)]
    with style.look():
        figure = style.new_figure(8.4, 5.6)
        axes = figure.subplots()
        axes.set_title(title or "Quality against cost")
        axes.set(xlabel="milliseconds per clip, on the machine of the study (logarithmic)", ylabel="test AUC")
        if not known:
            style.say(axes, "No detector states its milliseconds.")
            return figure
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}")
        axes.tick_params(axis="x", which="minor", labelsize=8, labelcolor=style.INK)
        best = front(known)
        axes.step([one.ms for one in best], [one.auc for one in best], where="post", color=style.MUTED, linewidth=1)
        for kind, colour, marker in ((True, style.REAL, "o"), (False, style.FAKE, "s")):
            own = [one for one in known if one.single == kind]
            if not own:
                continue
            x, y = [one.ms for one in own], [one.auc for one in own]
            axes.vlines(x, [one.low for one in own], [one.high for one in own], color=colour, linewidth=0.8, alpha=0.5)
            label = "one stream" if kind else "several streams"
            axes.plot(x, y, marker, color=colour, markersize=6, label=label, markeredgecolor="white")
        axes.margins(x=0.14, y=0.08)
        _label(figure, axes, known, best)
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
        if left_out := [one.name for one in points if one not in known]:
            axes.text(
                0.01,
                0.01,
                f"cost unknown: {style.shorten(', '.join(left_out), 90)}",
                transform=axes.transAxes,
                fontsize=7,
                color=style.MUTED,
            )
    return figure


def _label(figure: Figure, axes: Axes, points: Sequence[Point], best: Sequence[Point]) -> None:
    """Names the points, each on the side of it where least is in the way."""
    figure.draw_without_rendering()  # places the axes
    at = [axes.transData.transform((one.ms, one.auc)) * 72 / figure.dpi for one in points]  # in points of type
    taken = [(x - 3, y - 3, x + 3, y + 3) for x, y in at]
    height, width = 8.0, 4.1  # of a line and of a letter at this size
    for one, (x, y) in zip(points, at, strict=True):
        name = style.shorten(one.name, 26)
        long = width * len(name)
        choices = []
        for across, left in ((6, 0), (-6, -1)):
            for up in (3, -9, 12, -18, 21):
                start = x + across + left * long
                box = (start, y + up, start + long, y + up + height)
                choices.append((sum(_overlap(box, other) for other in taken) + 0.02 * abs(up), across, up, left, box))
        _, across, up, left, box = min(choices)
        taken.append(box)
        axes.annotate(
            name,
            (one.ms, one.auc),
            (across, up),
            textcoords="offset points",
            ha="right" if left else "left",
            fontsize=7,
            fontweight="bold" if one in best else "normal",
        )


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """The area that two boxes (left, low, right, high) share."""
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
