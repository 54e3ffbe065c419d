"""ROC curves of many detectors, in panels by what they look at, each with its AUC."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from experiments.figures import style
from mmdf_jax.metrics import classification

_COLOURS = (style.REAL, style.FAKE, style.ACCENT, style.SECOND, style.THIRD, style.INK, "#56B4E9", style.MUTED)
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))  # told apart in grey too


def draw(panels: Mapping[str, Sequence[tuple[str, ArrayLike, ArrayLike]]], *, title: str = "") -> Figure:
    """panels: {heading: (name, labels [n], 1 fake, scores [n]) of each detector}."""
    across = min(2, max(len(panels), 1))
    down = max(-(-len(panels) // across), 1)
    with style.look():
        figure = style.new_figure(5.0 * across, 4.9 * down + 0.3)
        figure.suptitle(title or "ROC", x=0.01, ha="left", fontweight="bold", fontsize=11)
        for axes, (heading, detectors) in zip(
            np.atleast_1d(figure.subplots(down, across)).ravel(), panels.items(), strict=False
        ):
            axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", title=heading)
            axes.set(xlabel="false positive rate (reals called fake)", ylabel="true positive rate (fakes called fake)")
            axes.plot([0, 1], [0, 1], color=style.MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
            for i, (name, labels, scores) in enumerate(detectors):
                if len(set(np.asarray(labels).tolist())) < 2:
                    continue
                fpr, tpr, _ = classification.roc_curve(labels, scores)
                look = {"color": _COLOURS[i % len(_COLOURS)], "linestyle": _DASHES[i % len(_DASHES)]}
                auc = classification.auc(labels, scores)
                axes.plot(fpr, tpr, label=f"{style.shorten(name, 26)}  {auc:.3f}", solid_joinstyle="miter", **look)
            if axes.get_legend_handles_labels()[0]:
                axes.legend(loc="lower right", title="AUC", alignment="right", title_fontsize=8)
        for axes in figure.axes[len(panels) :]:
            axes.set_axis_off()
    return figure
