"""The scores of every manipulation method beside those of the reals, and the threshold."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from experiments.figures import style

GRID = np.linspace(0, 1, 256)
DENSITY_FROM = 8  # clips; below this number the figure shows the clips instead of a density


def draw(
    scores: ArrayLike, methods: Sequence[str], labels: ArrayLike, *, threshold: float = math.nan, title: str = ""
) -> Figure:
    """One ridge per method: scores [n] in [0, 1], methods [n], labels [n] (1 fake). Reals first, then by median."""
    scores, labels = np.asarray(scores, float), np.asarray(labels)
    rows: list[tuple[str, np.ndarray, bool]] = []
    for fake in (False, True):
        names = sorted({name for name, label in zip(methods, labels, strict=True) if (label == 1) == fake})
        of = {name: scores[(np.asarray(methods, object) == name) & ((labels == 1) == fake)] for name in names}
        rows += [(name, of[name], fake) for name in sorted(names, key=lambda name: np.median(of[name]))]
    with style.look():
        figure = style.new_figure(7.4, 1.5 + 0.46 * max(len(rows), 2))
        axes = figure.subplots()
        axes.set(
            title=title or "Scores per method",
            xlabel="score (1 = fake); dots: clips, bar: their median",
            xlim=(-0.01, 1.01),
        )
        axes.set_ylim(len(rows) - 0.4, -0.95)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        if not rows:
            axes.set_yticks([])
            style.say(axes, "No clip has a score.")
            return figure

        for place, (_, values, fake) in enumerate(rows):
            colour = style.FAKE if fake else style.REAL
            if len(values) >= DENSITY_FROM:
                ridge = place + 0.08 - 0.64 * _density(values)
                axes.fill_between(GRID, place + 0.08, ridge, color=colour, alpha=0.45, linewidth=0, zorder=2)
                axes.plot(GRID, ridge, color=colour, linewidth=1, zorder=2)
            jitter = 0.2 + 0.08 * np.cos(np.arange(len(values)) * 2.4)
            axes.scatter(
                values,
                place + jitter,
                s=5 if len(values) > 10 else 14,
                color=colour,
                alpha=_fade(len(values)),
                linewidths=0,
                zorder=3,
            )
            if len(values) > 2:
                median = float(np.median(values))
                axes.plot([median] * 2, [place + 0.08, place + 0.32], color=style.INK, linewidth=1.6, zorder=4)
        axes.set_yticks(range(len(rows)), [style.shorten(name, 34) for name, _, _ in rows])
        axes.tick_params(axis="y", length=0)

        decided = not math.isnan(threshold)
        if decided:
            axes.axvline(threshold, color=style.INK, linewidth=1, linestyle=(0, (3, 2)), zorder=5)
            axes.annotate(
                f"threshold {threshold:.3f}",
                (threshold, 1),
                xycoords=("data", "axes fraction"),
                xytext=(4 if threshold < 0.75 else -4, -2),
                textcoords="offset points",
                ha="left" if threshold < 0.75 else "right",
                va="top",
                fontsize=8,
            )
        shares = axes.secondary_yaxis("right")
        shares.set_yticks(
            range(len(rows)),
            [
                f"{len(values):,} clip{'s' * (len(values) != 1)}"
                + (f", {100 * np.mean(values >= threshold):.0f} % called fake" if decided else "")
                for _, values, _ in rows
            ],
        )
        shares.tick_params(length=0)
        shares.spines["right"].set_visible(False)
    return figure


def _fade(count: int) -> float:
    return float(np.clip(12 / max(count, 1) ** 0.6, 0.08, 0.8))


def _density(values: np.ndarray) -> np.ndarray:
    """A Gaussian kernel density on GRID, mirrored at 0 and 1, where scores crowd; its highest point is 1."""
    spread = min(values.std(), np.subtract(*np.percentile(values, [75, 25])) / 1.34 or values.std())
    width = float(np.clip(0.9 * spread * len(values) ** -0.2, 0.012, 0.1))  # Silverman 1986
    counts, edges = np.histogram(values, bins=512, range=(0, 1))
    centres = (edges[:-1] + edges[1:]) / 2
    mirrored = np.concatenate([-centres, centres, 2 - centres])
    kernel = np.exp(-0.5 * ((GRID[:, None] - mirrored) / width) ** 2)
    density = kernel @ np.tile(counts, 3)
    return density / density.max()
