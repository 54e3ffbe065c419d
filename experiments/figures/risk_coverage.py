"""The risk-coverage curve: the error rate on the clips that are answered, as the least confident are left out."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.figures import many_curves, style
from experiments.figures.many_curves import Curve
from mmdf_jax.metrics import selective

MARKS = (1.0, 0.9, 0.8)
_LOOKS = ((style.FAKE, "-"), (style.REAL, "-"), (style.ACCENT, (0, (4, 2))))


def draw(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], *, abstained: float, title: str = "") -> Figure:
    """curves: {detector: (errors [n] 0 or 1, confidence [n])}; abstained: by the conformal thresholds of the first."""
    with style.look():
        figure = style.new_figure(6.4, 4.4)
        axes = figure.subplots()
        axes.set(
            xlim=(0, 1.02), xlabel="coverage: share of clips answered", ylabel="risk: share of these answered wrongly"
        )
        axes.set_title(title or "Risk by coverage")
        for (name, (errors, confidence)), (colour, line) in zip(curves.items(), _LOOKS, strict=False):
            if not len(errors):
                continue
            coverage, risk = selective.risk_coverage(errors, confidence)
            area = selective.aurc(errors, confidence)
            axes.plot(coverage, risk, color=colour, linestyle=line, label=f"{name}: AURC {area:.3f}")
            marks = [selective.risk_at(errors, confidence, share) for share in MARKS]
            axes.plot(MARKS, marks, "o", color=colour, markersize=5, markeredgecolor="white")
        axes.set_ylim(bottom=0)
        if 0 < abstained < 1:
            axes.axvline(1 - abstained, color=style.MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
            axes.text(
                1 - abstained,
                0.98,
                "conformal ",
                transform=axes.get_xaxis_transform(),
                ha="right",
                va="top",
                fontsize=8,
            )
        axes.legend(loc="upper left")
    return figure


def draw_all(panels: Mapping[str, Sequence[tuple[str, np.ndarray, np.ndarray]]], *, title: str = "") -> Figure:
    """panels: {heading: (name, errors [n], confidence [n]) of each detector}."""
    drawn = {
        heading: [
            Curve(name, *selective.risk_coverage(errors, confidence), f"{selective.aurc(errors, confidence):.3f}")
            for name, errors, confidence in detectors
            if len(errors)
        ]
        for heading, detectors in panels.items()
    }
    with style.look():
        figure = many_curves.figure_of(drawn, title=title or "Risk by coverage", legend="AURC")
        for axes in figure.axes:
            axes.set(xlim=(0, 1.02), ylim=(0, max(axes.get_ylim()[1], 0.05)))
            axes.set(xlabel="coverage: share of clips answered", ylabel="risk: share of these answered wrongly")
    return figure
