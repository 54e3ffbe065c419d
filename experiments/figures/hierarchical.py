"""Hierarchical detection: the confusion of types, and precision, recall and length of the segments found."""

import itertools
from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from experiments.figures import style
from experiments.score_table import Table
from mmdf_jax.metrics import localisation
from mmdf_jax.metrics.localisation import Clips

LENGTHS = (0.0, 0.4, 0.8, 1.2, 1.6, np.inf)  # s
_COLOURS = (style.REAL, style.ACCENT, style.THIRD, style.FAKE)


def confusion(table: Table, *, title: str = "Types") -> Figure:
    """Counts, coloured by the share of each true type; the first column names the rows, the others the answers."""
    name, *answers = table.columns
    counts = np.array([[row[answer] for answer in answers] for row in table.rows], float)
    with style.look():
        figure = style.new_figure(1.8 + 0.85 * len(answers), 1.6 + 0.5 * len(counts))
        axes = figure.subplots()
        axes.grid(visible=False)
        axes.set_title(title)
        if not len(counts):
            style.say(axes, "No clip of a known type.")
            return figure
        totals = counts.sum(1, keepdims=True)
        shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
        axes.imshow(
            shares,
            cmap=LinearSegmentedColormap.from_list("share", ["#ffffff", style.REAL]),
            vmin=0,
            vmax=1,
            aspect="auto",
        )
        for (row, column), count in np.ndenumerate(counts):
            if count:
                ink = "white" if shares[row, column] > 0.55 else style.INK
                axes.text(column, row, f"{count:.0f}", ha="center", va="center", color=ink)
        axes.set_xticks(range(len(answers)), [answer.replace("_", "\n") for answer in answers], fontsize=7)
        axes.set_yticks(range(len(counts)), [style.shorten(row[name], 26) for row in table.rows], fontsize=8)
        axes.set(xlabel="answer", ylabel="truth")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        return figure


def segments(proposals: Clips, truths: Clips, thresholds: Sequence[float], *, title: str = "Segments") -> Figure:
    """Precision against recall at each IoU, and the share of spans found by ten proposals, by their length."""
    with style.look():
        figure = style.new_figure(8.4, 3.4)
        left, right = figure.subplots(1, 2)
        for iou, colour in zip(thresholds, _COLOURS, strict=False):
            matches = localisation.match(proposals, truths, iou)
            precision, recall = localisation.precision_recall(matches)
            if matches.truths.sum():
                average = localisation.average_precision_of(matches)
                left.step(recall, precision, where="pre", color=colour, label=f"IoU ≥ {iou:g}: AP {average:.3f}")
        left.set(title=title, xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
        found = localisation.find(proposals, truths, (10,))
        if not len(found.spans):
            style.say(left, "No fake segment.")
            style.say(right, "No fake segment.")
            return figure
        left.legend(loc="lower left", fontsize=7)
        length = found.spans[:, 1] - found.spans[:, 0]
        bins = [(length >= low) & (length < high) for low, high in itertools.pairwise(LENGTHS)]
        places = np.arange(len(bins))
        for i, (iou, colour) in enumerate(zip(thresholds, _COLOURS, strict=False)):
            shares = [float((found.best[some, 0] >= iou).mean()) if some.any() else 0.0 for some in bins]
            right.bar(places + (i - 1.5) * 0.2, shares, 0.2, color=colour)
        names = [
            f"{low:g}–{high:g}" if np.isfinite(high) else f"≥ {low:g}" for low, high in itertools.pairwise(LENGTHS)
        ]
        counted = [f"{name}\n({int(some.sum())})" for name, some in zip(names, bins, strict=True)]
        right.set_xticks(places, counted, fontsize=7)
        right.set(title="found, by length", xlabel="length of the true span, s", ylabel="recall", ylim=(0, 1.02))
        return figure
