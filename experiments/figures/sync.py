"""Lip-sync: offsets, accuracy against averaged windows, and similarity over shifts and over time."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.figures import style

FRAME = 0.04  # s
_COLOURS = (style.REAL, style.FAKE, style.THIRD, style.SECOND, style.ACCENT)


def offsets(groups: Mapping[str, Sequence[float]], *, title: str, reach: int = 15) -> Figure:
    """Histograms of offsets in frames, nan left out, one row for each group."""
    with style.look():
        figure = style.new_figure(6.4, 1.2 + 1.1 * max(len(groups), 1))
        panels = figure.subplots(max(len(groups), 1), 1, sharex=True, squeeze=False)[:, 0]
        bins = np.arange(-reach, reach + 2) - 0.5
        for axes, (name, values), colour in zip(panels, groups.items(), _COLOURS, strict=False):
            known = [value for value in values if not math.isnan(value)]
            axes.hist(known, bins, color=colour, rwidth=0.85)
            axes.axvspan(-1.5, 1.5, color=style.GRID, zorder=0)
            axes.set_ylabel(f"{name}\n({len(known)})")
        if not groups:
            style.say(panels[0], "No clip has an offset.")
        panels[0].set_title(title)
        panels[-1].set_xlabel("offset in frames of 40 ms; positive: the sound is late")
        return figure


def averaged_windows(rows: Sequence[Mapping[str, Any]], *, title: str) -> Figure:
    """Accuracy against the number of windows averaged, a line for each method; rows of the table `offsets`."""
    with style.look():
        figure = style.new_figure(5.6, 3.4)
        axes = figure.subplots()
        runs = list(dict.fromkeys(row["Windows"] for row in rows))
        for method, colour in zip(dict.fromkeys(row["Method"] for row in rows), _COLOURS, strict=False):
            own = [row for row in rows if row["Method"] == method]
            places = [runs.index(row["Windows"]) for row in own]
            axes.plot(places, [row["Accuracy"] for row in own], "o-", color=colour, label=method)
        axes.axhline(3 / 31, color=style.MUTED, linewidth=1, linestyle=":", label="chance")
        axes.set_xticks(range(len(runs)), [str(run) for run in runs])
        axes.set(title=title, xlabel="windows of 0.2 s averaged", ylabel="share of real clips' windows", ylim=(0, 1.02))
        axes.legend(loc="lower right")
        return figure


Shown = tuple[str, np.ndarray, np.ndarray, Sequence[tuple[float, float]]]  # name, curve [k], timeline [t], spans in s


def over_time(clips: Sequence[Shown], *, title: str) -> Figure:
    """For each clip, similarity against the sound's shift, and against time at shift 0, its fake spans shaded."""
    with style.look():
        figure = style.new_figure(8.4, 0.8 + 1.7 * max(len(clips), 1))
        panels = figure.subplots(max(len(clips), 1), 2, squeeze=False, width_ratios=(1, 2))
        if title:
            figure.suptitle(title, x=0.02, ha="left", fontweight="bold", fontsize=10)
        for (left, right), (name, curve, timeline, spans) in zip(panels, clips, strict=False):
            reach = len(curve) // 2
            left.plot(np.arange(len(curve)) - reach, curve, color=style.REAL)
            left.axvline(0, color=style.MUTED, linewidth=0.8, linestyle=":")
            left.set(ylabel="cosine", ylim=(-0.6, 1.02))
            right.plot((np.arange(len(timeline)) + 0.5) * FRAME, timeline, color=style.REAL)
            for begin, end in spans:
                right.axvspan(begin, end, color=style.FAKE, alpha=0.2, linewidth=0)
            right.set(ylim=(-1.02, 1.02), title=style.shorten(name, 70))
        panels[-1, 0].set_xlabel("shift of the sound, frames")
        panels[-1, 1].set_xlabel("time, s (at shift 0; shaded: fake)")
        return figure


def of_file(
    curve: np.ndarray, timeline: np.ndarray, windows: Sequence[tuple[float, float, float]], *, title: str
) -> Figure:
    """A file's similarity over shifts [k] and over time [t], and each window's offset at its start, s."""
    with style.look():
        figure = style.new_figure(8.4, 4.2)
        grid = figure.add_gridspec(2, 2, width_ratios=(1, 2))
        figure.suptitle(style.shorten(title, 110), x=0.02, ha="left", fontweight="bold", fontsize=9)
        left = figure.add_subplot(grid[:, 0])
        left.plot(np.arange(len(curve)) - len(curve) // 2, curve, color=style.REAL)
        left.set(xlabel="shift of the sound, frames of 40 ms", ylabel="mean cosine")
        above, below = figure.add_subplot(grid[0, 1]), figure.add_subplot(grid[1, 1])
        above.plot((np.arange(len(timeline)) + 0.5) * FRAME, timeline, color=style.REAL)
        above.set(ylabel="cosine at shift 0", ylim=(-1.02, 1.02))
        starts, found, confidence = zip(*windows, strict=True) if windows else ((), (), ())
        below.scatter(starts, found, c=confidence, cmap="viridis", s=18)
        below.set(xlabel="time, s", ylabel="offset of each window", ylim=(-16, 16))
        below.sharex(above)
        return figure
