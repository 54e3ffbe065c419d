"""The Tippett plot: how often likelihood ratios of at least a size are given to fakes and to reals."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.figures import style
from mmdf_jax.metrics import likelihood


def draw(labels: np.ndarray, llr: np.ndarray, *, bounds: tuple[float, float], title: str = "") -> Figure:
    """labels [n] (1 fake); llr [n] natural logarithms, nan for none; bounds: what the calibration set supports."""
    known = ~np.isnan(llr)
    labels, tens = labels[known], llr[known] / math.log(10)
    with style.look():
        figure = style.new_figure(7.2, 4.8)
        axes = figure.subplots()
        axes.set_title(title or "Likelihood ratios", pad=22)
        axes.set(
            xlabel="likelihood ratio, P(score | fake) / P(score | real)",
            ylabel="share of clips with at least that ratio",
        )
        reach = max(1.2, float(np.abs(tens).max(initial=0)) * 1.05, *(abs(x) / math.log(10) for x in bounds))
        reach = min(reach, 6.5)
        axes.set(xlim=(-reach, reach), ylim=(-0.02, 1.02))
        for one, colour, name in ((1, style.FAKE, "fakes"), (0, style.REAL, "reals")):
            own = np.sort(tens[labels == one])
            if not len(own):
                continue
            misleading = float((own < 0).mean() if one else (own > 0).mean())
            x = np.concatenate([[-99], own, [99]])
            y = np.concatenate([[1.0], 1 - np.arange(len(own)) / len(own), [0.0]])
            axes.step(x, y, where="pre", color=colour, label=f"{len(own)} {name}, {misleading:.1%} misleading")
        axes.axvline(0, color=style.MUTED, linewidth=0.8)
        low, high = (bound / math.log(10) for bound in bounds)
        for side, edge in ((low, -99), (high, 99)):
            axes.axvspan(*sorted((side, edge)), color=style.GRID, alpha=0.6, linewidth=0, zorder=0)
        axes.plot([], [], "s", color=style.GRID, markersize=9, label="more than validation supports")
        ticks = np.arange(math.ceil(-reach), math.floor(reach) + 1)
        axes.set_xticks(ticks, [f"{10**t:,}" if t >= 0 else f"1/{10**-t:,}" for t in ticks.tolist()])
        _words(axes, reach)
        figure.legend(loc="outside lower center", ncols=3)
    return figure


def _words(axes: Axes, reach: float) -> None:
    """The verbal scale above the plot, as far as there is room."""
    for low, high, words in likelihood.BANDS:
        start, end = math.log10(low), min(math.log10(high), reach)
        if end - start < 0.3:
            continue
        for sign in (-1, 1):
            axes.text(
                *(sign * (start + end) / 2, 1.01),
                words.replace(" ", "\n"),
                transform=axes.get_xaxis_transform(),
                ha="center",
                va="bottom",
                fontsize=7,
                color=style.MUTED,
            )
