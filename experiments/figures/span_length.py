"""How long a fake span must be to be found: recall against the length of the true spans, at several IoU thresholds."""

import math
from collections.abc import Hashable, Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.figures import style
from mmdf_jax.metrics import localisation
from mmdf_jax.metrics.localisation import ROUNDING, Clips
from mmdf_jax.stats.bootstrap import interval_of_weights

EDGES = (0.0, 0.2, 0.4, 0.8, 1.6, 3.2, math.inf)  # s
COLOURS = (style.REAL, style.ACCENT, style.FAKE, style.THIRD)


def draw(
    proposals: Clips,
    truths: Clips,
    groups: Sequence[Hashable] = (),
    *,
    ious: Sequence[float] = (0.5, 0.75, 0.9),
    count: int = 5,
    edges: Sequence[float] = EDGES,
    title: str = "",
    samples: int = 2000,
) -> Figure:
    """A line per threshold, a point per class of lengths: the share of true spans that a proposal finds.

    Args:
      proposals, truths: per clip, segments and true spans in seconds, as `metrics.localisation` takes them.
      groups: [n] who is in each clip; with them a point has its 95 % interval over them, () draws none.
      count: the proposals of each clip that count, best first.
      edges: of the classes of lengths, in seconds.
    """
    found = localisation.find(proposals, truths, [count])
    length, best = found.spans[:, 1] - found.spans[:, 0], found.best[:, 0]
    class_of = np.searchsorted(edges, length + ROUNDING, side="right") - 1
    kinds = [kind for kind in range(len(edges) - 1) if (class_of == kind).any()]
    with style.look():
        figure = style.new_figure(5.4, 3.8)
        axes = figure.subplots()
        axes.set(
            ylim=(-0.02, 1.04),
            xlabel="length of the true span, s (number of spans)",
            ylabel=f"found by the {count} best proposals",
            title=title or "Spans found",
        )
        if not kinds:
            axes.set_xticks([])
            style.say(axes, "No clip is fake in a known span.")
            return figure

        for line, iou in enumerate(ious):
            hit = best >= iou - ROUNDING
            places = np.arange(len(kinds)) + 0.12 * (line - (len(ious) - 1) / 2)
            shares = np.array([hit[class_of == kind].mean() for kind in kinds])
            colour = COLOURS[line % len(COLOURS)]
            axes.plot(places, shares, "o-", color=colour, markersize=5, label=f"IoU ≥ {iou:g}")
            if len(groups):
                ends = [_interval(found.clip, hit, class_of == kind, groups, samples) for kind in kinds]
                reach = np.abs(np.array(ends).T - shares)
                known = ~np.isnan(reach).any(0)
                style_of = {"color": colour, "linewidth": 1, "capsize": 2, "linestyle": "none"}
                axes.errorbar(places[known], shares[known], reach[:, known], **style_of)
        names = [_name(edges[kind], edges[kind + 1]) for kind in kinds]
        counts = [int((class_of == kind).sum()) for kind in kinds]
        axes.set_xticks(range(len(kinds)), [f"{name}\n({n:,})" for name, n in zip(names, counts, strict=True)])
        axes.set_xlim(-0.5, len(kinds) - 0.5)
        axes.grid(axis="x", visible=False)
        figure.legend(loc="outside lower left", ncols=len(ious))
    return figure


def _interval(
    clip: np.ndarray, hit: np.ndarray, chosen: np.ndarray, groups: Sequence[Hashable], samples: int
) -> tuple[float, float]:
    """The 95 % limits, over groups, of the share of `chosen` spans that are hit."""
    hits, spans = (np.bincount(clip[chosen], x[chosen], len(groups)) for x in (hit, np.ones(len(hit))))

    def share(weights: np.ndarray) -> float:
        total = weights @ spans
        return float(weights @ hits / total) if total else math.nan

    found = interval_of_weights(share, groups, rarer=spans > 0, samples=samples)
    return found.low, found.high


def _name(low: float, high: float) -> str:
    if math.isinf(high):
        return f"≥ {low:g}"
    return f"< {high:g}" if low == 0 else f"{low:g}–{high:g}"
