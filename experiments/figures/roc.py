"""The ROC curve with its confidence band over identities, the EER point and the operating point."""

import math
from collections.abc import Hashable, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from experiments.figures import style
from mmdf_jax.metrics import classification
from mmdf_jax.stats.bootstrap import interval, roc_band


def draw(
    labels: ArrayLike,
    scores: ArrayLike,
    groups: Sequence[Hashable],
    *,
    threshold: float = math.nan,
    title: str = "",
    samples: int = 2000,
) -> Figure:
    """labels [n] (1 fake), scores [n], groups [n] (identities); `threshold` is the one that validation chose."""
    labels, scores = np.asarray(labels), np.asarray(scores, float)
    with style.look():
        figure = style.new_figure(5.2, 5.2)
        axes = figure.subplots()
        axes.set(
            xlim=(-0.01, 1.01),
            ylim=(-0.01, 1.01),
            aspect="equal",
            xlabel="false positive rate (reals called fake)",
            ylabel="true positive rate (fakes called fake)",
            title=title or "ROC",
        )
        auc = interval(classification.auc, labels, scores, groups, samples=samples)
        if math.isnan(auc.value):
            style.say(axes, "A ROC curve needs real and fake clips.")
            return figure

        axes.plot([0, 1], [0, 1], color=style.MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
        band = roc_band(labels, scores, groups, samples=samples)
        if not np.isnan(band.low).any():
            axes.fill_between(
                band.fpr,
                band.low,
                band.high,
                color=style.REAL,
                alpha=0.18,
                linewidth=0,
                label=f"95 % band over {auc.groups} identities",
            )
        fpr, tpr, _ = classification.roc_curve(labels, scores)
        limits = "" if math.isnan(auc.low) else f" [{auc.low:.3f}, {auc.high:.3f}]"
        axes.plot(fpr, tpr, color=style.REAL, label=f"AUC {auc.value:.3f}{limits}", solid_joinstyle="miter")
        eer = classification.eer(labels, scores)
        circle = {"markersize": 11, "markerfacecolor": "none", "markeredgecolor": style.INK}
        axes.plot(eer, 1 - eer, "o", **circle, label=f"EER {eer:.3f}", zorder=4)
        if not math.isnan(threshold):
            counts = classification.confusion(labels, scores, threshold)
            axes.plot(
                1 - counts.specificity,
                counts.recall,
                "D",
                color=style.FAKE,
                markeredgecolor="white",
                markersize=7,
                zorder=3,
                label=f"threshold {threshold:.3f} from validation",
            )
        axes.legend(loc="lower right")
    return figure
