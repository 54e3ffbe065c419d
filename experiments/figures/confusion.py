"""The confusion matrix at the chosen threshold: counts, and the share of each true class."""

import math

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from experiments.figures import style
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
        totals = counts.sum(axis=1, keepdims=True)
        shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
        colours = LinearSegmentedColormap.from_list("share", ["#ffffff", style.REAL])
        axes.imshow(shares, cmap=colours, vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(counts):
            ink = "white" if shares[row, column] > 0.55 else style.INK
            axes.text(column, row - 0.06, f"{count:,}", ha="center", fontsize=17, fontweight="bold", color=ink)
            if totals[row, 0]:
                share = f"{100 * shares[row, column]:.1f} %"
                axes.text(column, row + 0.16, share, ha="center", va="center", fontsize=10, color=ink)
        axes.set_xticks([0, 1], ["called real", "called fake"], fontsize=9)
        names = [f"{name}\n({total:,})" for name, total in zip(("real", "fake"), totals[:, 0], strict=True)]
        axes.set_yticks([0, 1], names, fontsize=9)
        axes.tick_params(length=0)
        axes.set_xticks([0.5], minor=True)
        axes.set_yticks([0.5], minor=True)
        axes.grid(which="minor", color="white", linewidth=3)
        axes.tick_params(which="minor", length=0)
        axes.spines[:].set_visible(False)
        note = f"fake if score ≥ {threshold:.3f} (chosen on validation); % of each row"
        if abstained:
            note += f"\n{abstained:,} more clips without a score"
        axes.set_xlabel(note, fontsize=8, color=style.MUTED, labelpad=8)
    return figure
