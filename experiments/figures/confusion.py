"""Confusion matrices, counts and the share of each true class: of real and fake at a threshold, or of any classes."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from experiments.figures import style
from mmdf_jax.metrics import types
from mmdf_jax.metrics.classification import confusion


def draw(labels: ArrayLike, scores: ArrayLike, *, threshold: float, abstained: int = 0, title: str = "") -> Figure:
    """labels [n] (1 fake) and scores [n] at `threshold`; `abstained` clips have no score, and the text counts them."""
    with style.look():
        figure = style.new_figure(4.4, 4.2)
        axes = figure.subplots()
        axes.grid(False)
        axes.set_title(title or "Confusion matrix")
        if math.isnan(threshold):
            axes.set_axis_off()
            style.say(axes, "No threshold: the validation split\nlacks real or fake clips.")
            return figure

        found = confusion(labels, scores, threshold)
        counts = np.array([[found.tn, found.fp], [found.fn, found.tp]])
        _fill(axes, counts, ("real", "fake"), sizes=(17, 10))
        axes.set_xticks([0, 1], ["called real", "called fake"], fontsize=9)
        note = f"fake if score ≥ {threshold:.3f} (chosen on validation); % of each row"
        if abstained:
            note += f"\n{abstained:,} more clips without a score"
        axes.set_xlabel(note, fontsize=8, color=style.MUTED, labelpad=8)
    return figure


def draw_all(detectors: Sequence[tuple[str, ArrayLike, ArrayLike, float]], *, title: str = "") -> Figure:
    """A small matrix for each (name, labels [n], scores [n], threshold), the threshold chosen on validation."""
    across = min(4, max(len(detectors), 1))
    down = max(-(-len(detectors) // across), 1)
    with style.look():
        figure = style.new_figure(2.6 * across, 2.5 * down + 0.4)
        figure.suptitle(title or "Confusion matrices", x=0.01, ha="left", fontweight="bold", fontsize=11)
        panels = np.atleast_1d(figure.subplots(down, across)).ravel()
        for axes in panels[len(detectors) :]:
            axes.set_axis_off()
        for axes, (name, labels, scores, threshold) in zip(panels, detectors, strict=False):
            axes.grid(False)
            axes.set_title(style.shorten(name, 26), fontsize=9)
            if math.isnan(threshold):
                axes.set_axis_off()
                style.say(axes, "no threshold")
                continue
            found = confusion(labels, scores, threshold)
            _fill(axes, np.array([[found.tn, found.fp], [found.fn, found.tp]]), ("real", "fake"), sizes=(11, 8))
            axes.set_xticks([0, 1], ["called real", "called fake"], fontsize=8)
    return figure


def draw_types(matrix: np.ndarray, names: Sequence[str], *, abstained: int = 0, title: str = "") -> Figure:
    """The matrix [k k] of `metrics.types.confusion`, rows true, of classes called `names`; empty rows stay, greyed.

    abstained: as in `draw`.

    Raises:
      ValueError: there are more or fewer names than classes.
    """
    matrix = np.asarray(matrix)
    if matrix.shape != (len(names), len(names)):
        raise ValueError(f"confusion of types: expected a matrix of {len(names)} named classes, found {matrix.shape}")
    with style.look():
        side = 2.6 + 0.62 * len(names)
        figure = style.new_figure(side, side - 0.2)
        axes = figure.subplots()
        axes.grid(False)
        axes.set_title(title or "Types")
        if not matrix.sum():
            axes.set_axis_off()
            style.say(axes, "No clip has a type.")
            return figure

        shown = [style.shorten(name, 24).replace("_", " ") for name in names]
        _fill(axes, matrix, shown, sizes=(10, 7))
        axes.set_xticks(range(len(names)), shown, fontsize=8, rotation=40, ha="right", rotation_mode="anchor")
        f1 = types.class_f1(matrix)
        right = axes.secondary_yaxis("right")
        seen = matrix.sum(1) > 0
        said = [f"F1 {value:.2f}" if known else "–" for value, known in zip(f1, seen, strict=True)]
        right.set_yticks(range(len(names)), said, fontsize=8)
        right.tick_params(length=0)
        right.spines[:].set_visible(False)
        macro = f1[seen].mean()  # a class that no clip has, such as an unknown type, is an answer only
        note = f"columns: called; % of each row; macro-F1 {macro:.3f}, accuracy {types.accuracy(matrix):.3f}"
        if abstained:
            note += f"\n{abstained:,} more clips without an answer"
        axes.set_xlabel(note, fontsize=8, color=style.MUTED, labelpad=8)
    return figure


def _fill(axes: Axes, counts: np.ndarray, names: Sequence[str], *, sizes: tuple[int, int]) -> None:
    """Draws the cells, each with its count and its share of the row in these font sizes, and names the rows."""
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    colours = LinearSegmentedColormap.from_list("share", ["#ffffff", style.REAL])
    axes.imshow(shares, cmap=colours, vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        ink = "white" if shares[row, column] > 0.55 else style.INK
        if len(counts) > 2 and not count:  # many empty cells: only the filled ones speak
            continue
        axes.text(column, row - 0.06, f"{count:,.0f}", ha="center", fontsize=sizes[0], fontweight="bold", color=ink)
        if totals[row, 0]:
            share = f"{100 * shares[row, column]:.1f} %" if len(counts) == 2 else f"{100 * shares[row, column]:.0f} %"
            axes.text(column, row + 0.16, share, ha="center", va="center", fontsize=sizes[1], color=ink)
    rows = [f"{name}\n({total:,.0f})" for name, total in zip(names, totals[:, 0], strict=True)]
    axes.set_yticks(range(len(names)), rows, fontsize=9 if len(names) == 2 else 8)
    axes.tick_params(length=0)
    between = np.arange(len(names) - 1) + 0.5
    axes.set_xticks(between, minor=True)
    axes.set_yticks(between, minor=True)
    axes.grid(which="minor", color="white" if len(names) == 2 else style.GRID, linewidth=3 if len(names) == 2 else 0.8)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
