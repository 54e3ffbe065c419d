"""Detection error trade-off of many detectors: both error rates on normal-deviate axes (Martin et al. 1997)."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from scipy.special import ndtri

from experiments.figures import many_curves, style
from experiments.figures.many_curves import Curve
from mmdf_jax.metrics import classification

TICKS = (0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95)
_LIMITS = (0.0015, 0.96)


def draw(panels: Mapping[str, Sequence[tuple[str, ArrayLike, ArrayLike]]], *, title: str = "") -> Figure:
    """panels: as of `roc_curves.draw`. Curves end where a rate is 0 or 1, which these axes cannot show."""
    drawn = {
        heading: [_curve(*detector) for detector in detectors if len(set(np.asarray(detector[1]).tolist())) == 2]
        for heading, detectors in panels.items()
    }
    limits = ndtri(np.array(_LIMITS))
    with style.look():
        figure = many_curves.figure_of(drawn, title=title or "DET", legend="EER")
        for axes in figure.axes:
            axes.set(xlim=limits, ylim=limits, aspect="equal")
            axes.set(xlabel="false positive rate (reals called fake)", ylabel="miss rate (fakes called real)")
            axes.set_xticks(ndtri(np.array(TICKS)), [f"{100 * tick:g} %" for tick in TICKS])
            axes.set_yticks(ndtri(np.array(TICKS)), [f"{100 * tick:g} %" for tick in TICKS])
            axes.set(xlim=limits, ylim=limits)
            axes.plot(limits, limits, color=style.MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
    return figure


def _curve(name: str, labels: ArrayLike, scores: ArrayLike) -> Curve:
    fpr, tpr, _ = classification.roc_curve(labels, scores)
    inside = (fpr > 0) & (fpr < 1) & (tpr > 0) & (tpr < 1)
    return Curve(name, ndtri(fpr[inside]), ndtri(1 - tpr[inside]), f"{classification.eer(labels, scores):.3f}")
