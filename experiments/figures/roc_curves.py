"""ROC curves of many detectors, in panels by what they look at, each with its AUC; and each alone with its band."""

import math
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from experiments.figures import many_curves, style
from experiments.figures.many_curves import Curve
from mmdf_jax.metrics import classification
from mmdf_jax.stats.bootstrap import roc_band

X, Y = "false positive rate (reals called fake)", "true positive rate (fakes called fake)"


def draw(panels: Mapping[str, Sequence[tuple[str, ArrayLike, ArrayLike]]], *, title: str = "") -> Figure:
    """panels: {heading: (name, labels [n], 1 fake, scores [n]) of each detector}."""
    drawn = {
        heading: [_curve(*detector) for detector in detectors if len(set(np.asarray(detector[1]).tolist())) == 2]
        for heading, detectors in panels.items()
    }
    with style.look():
        figure = many_curves.figure_of(drawn, title=title or "ROC", legend="AUC")
        for axes in figure.axes:
            axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", xlabel=X, ylabel=Y)
            axes.plot([0, 1], [0, 1], color=style.MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
    return figure


def _curve(name: str, labels: ArrayLike, scores: ArrayLike) -> Curve:
    fpr, tpr, _ = classification.roc_curve(labels, scores)
    return Curve(name, fpr, tpr, f"{classification.auc(labels, scores):.3f}")


def draw_bands(
    detectors: Sequence[tuple[str, np.ndarray, np.ndarray, Sequence[Hashable]]],
    *,
    title: str = "",
    samples: int = 1000,
    level: float = 0.95,
) -> Figure:
    """A small panel for each (name, labels [n], scores [n], groups [n]): its band over identities; the others grey."""
    across = min(5, max(len(detectors), 1))
    down = max(math.ceil(len(detectors) / across), 1)
    with style.look():
        figure = style.new_figure(2.35 * across, 2.5 * down + 0.5)
        figure.suptitle(title or "ROC", x=0.01, ha="left", fontweight="bold", fontsize=11)
        panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel().tolist()
        curves = [classification.roc_curve(labels, scores) for _, labels, scores, _ in detectors]
        for i, (axes, (name, labels, scores, groups)) in enumerate(zip(panels, detectors, strict=False)):
            axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
            axes.set_title(style.shorten(name, 26), fontsize=8.5)
            for fpr, tpr, _ in curves:
                axes.plot(fpr, tpr, color=style.GRID, linewidth=0.7, zorder=1)
            band = roc_band(labels, scores, groups, samples=samples, level=level, points=101)
            if not np.isnan(band.low).any():
                axes.fill_between(band.fpr, band.low, band.high, color=style.REAL, alpha=0.25, linewidth=0)
            axes.plot(*curves[i][:2], color=style.REAL, linewidth=1.4)
            auc = classification.auc(labels, scores)
            axes.text(0.97, 0.05, f"AUC {auc:.3f}", transform=axes.transAxes, ha="right", fontsize=8)
        for axes in panels[len(detectors) :]:
            axes.set_axis_off()
        figure.supxlabel(X, fontsize=9)
        figure.supylabel(Y, fontsize=9)
    return figure
