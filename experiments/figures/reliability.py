"""Reliability: the share of fakes among clips of about the same score, beside how many clips that rests on."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.figures import style
from mmdf_jax.metrics import calibration

BINS = 10


def draw(labels: np.ndarray, scores: Mapping[str, np.ndarray], *, title: str = "") -> Figure:
    """labels [n] (1 fake); scores {what they are: P(fake) [n]}, nan for none: a column of panels for each."""
    with style.look():
        figure = style.new_figure(4.4 * len(scores), 5.4)
        figure.suptitle(title or "Reliability", x=0.01, ha="left", fontweight="bold", fontsize=10)
        panels = figure.subplots(2, len(scores), sharex=True, squeeze=False, height_ratios=[3, 1])
        most = max(1, *(int(_bins(labels, values).counts.max()) for values in scores.values()))
        for i, (name, values) in enumerate(scores.items()):
            known = ~np.isnan(values)
            _curve(panels[0, i], labels[known], values[known], name)
            _counts(panels[1, i], labels[known], values[known], most)
        panels[0, 0].set_ylabel("share of fakes (95 %, clips taken one by one)")
        panels[1, 0].set_ylabel("clips")
    return figure


def draw_all(detectors: Sequence[tuple[str, np.ndarray, np.ndarray]], *, title: str = "") -> Figure:
    """A small pair of panels for each (name, labels [n], scores [n])."""
    across = min(5, max(len(detectors), 1))
    down = max(math.ceil(len(detectors) / across), 1)
    with style.look():
        figure = style.new_figure(2.5 * across, 3.1 * down + 0.4)
        figure.suptitle(title or "Reliability", x=0.01, ha="left", fontweight="bold", fontsize=11)
        panels = figure.subplots(2 * down, across, sharex=True, squeeze=False, height_ratios=[3, 1] * down)
        most = max([int(_bins(labels, values).counts.max()) for _, labels, values in detectors], default=1)
        for place in range(across * down):
            row, column = divmod(place, across)
            curve, counts = panels[2 * row, column], panels[2 * row + 1, column]
            if place >= len(detectors):
                curve.set_axis_off()
                counts.set_axis_off()
                continue
            name, labels, values = detectors[place]
            _curve(curve, labels, values, "")
            curve.set_title(style.shorten(name, 28), fontsize=8.5)
            _counts(counts, labels, values, most, numbers=False)
            counts.set_xlabel("")
            if column:
                curve.set_yticklabels([])
                counts.set_yticklabels([])
            if place:
                counts.get_legend().remove()
        figure.supxlabel("score, P(fake); below: how many clips have it", fontsize=9)
        figure.supylabel("share of fakes (95 %, clips taken one by one)", fontsize=9)
    return figure


def _bins(labels: np.ndarray, values: np.ndarray) -> calibration.Bins:
    known = ~np.isnan(values)
    return calibration.reliability(labels[known], values[known], BINS)


def _curve(axes: Axes, labels: np.ndarray, values: np.ndarray, name: str) -> None:
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.04, 1.04), title=name)
    axes.plot([0, 1], [0, 1], color=style.MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
    counts, mean, share = calibration.reliability(labels, values, BINS)
    there = counts > 0
    low, high = _wilson(share[there] * counts[there], counts[there])
    axes.vlines(mean[there], low, high, color=style.REAL, linewidth=1)
    axes.plot(mean[there], share[there], "o-", color=style.REAL, markersize=4, linewidth=1.2)
    ece = calibration.ece(labels, values)
    axes.text(0.02, 0.97, f"ECE {ece:.3f}", transform=axes.transAxes, va="top")


def _counts(axes: Axes, labels: np.ndarray, values: np.ndarray, most: int, *, numbers: bool = True) -> None:
    edges = np.linspace(0, 1, BINS + 1)
    of_bin = np.minimum((values * BINS).astype(int), BINS - 1)
    reals, fakes = (np.bincount(of_bin[labels == one], minlength=BINS) for one in (0, 1))
    width = 0.9 / BINS
    middle = (edges[:-1] + edges[1:]) / 2
    axes.bar(middle, reals, width, color=style.REAL, label="real")
    axes.bar(middle, fakes, width, bottom=reals, color=style.FAKE, label="fake")
    for x, count in zip(middle, reals + fakes, strict=True):
        if count and numbers:
            axes.text(x, count, f"{count}", ha="center", va="bottom", fontsize=7)
    axes.set(ylim=(0, 1.35 * most), xlabel="score, P(fake)")
    axes.grid(axis="x", visible=False)
    axes.legend(loc="upper center", ncols=2)


def _wilson(hits: np.ndarray, counts: np.ndarray, z: float = 1.96) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's (1927) 95 % interval of a share, each [k]."""
    share = hits / counts
    middle = (share + z**2 / (2 * counts)) / (1 + z**2 / counts)
    reach = z / (1 + z**2 / counts) * np.sqrt(share * (1 - share) / counts + z**2 / (4 * counts**2))
    return middle - reach, middle + reach
