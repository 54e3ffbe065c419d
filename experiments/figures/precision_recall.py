"""Precision against recall of the segments that a detector proposes, a curve per IoU threshold."""

import math
from collections.abc import Hashable, Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.figures import style
from mmdf_jax.metrics import localisation
from mmdf_jax.metrics.localisation import Clips
from mmdf_jax.stats.bootstrap import interval_of_weights

COLOURS = (style.REAL, style.ACCENT, style.THIRD, style.FAKE, style.SECOND, style.MUTED)


def draw(
    proposals: Clips,
    truths: Clips,
    groups: Sequence[Hashable] = (),
    *,
    ious: Sequence[float] = (0.5, 0.75, 0.9, 0.95),
    title: str = "",
    samples: int = 2000,
) -> Figure:
    """One curve per threshold, with its average precision and, of groups [n], its 95 % interval over them.

    proposals, truths: per clip, segments and true spans in seconds, as `metrics.localisation` takes them.
    groups: [n] who is in each clip; () draws no interval.
    """
    with style.look():
        figure = style.new_figure(5.2, 5.0)
        axes = figure.subplots()
        axes.set(
            xlim=(-0.01, 1.01),
            ylim=(-0.01, 1.02),
            xlabel="recall (true spans found)",
            ylabel="precision (proposals that find one)",
            title=title or "Segments",
        )
        matches = {iou: localisation.match(proposals, truths, iou) for iou in ious}
        spans = sum(map(len, truths))
        if not spans:
            style.say(axes, "No clip is fake in a known span.")
            return figure

        for place, (iou, matched) in enumerate(matches.items()):
            precision, recall = localisation.precision_recall(matched)
            label = f"IoU ≥ {iou:g}: AP {localisation.average_precision_of(matched):.3f}"
            if len(groups):
                found = interval_of_weights(
                    lambda weights, matched=matched: localisation.average_precision_of(matched, weights),
                    groups,
                    rarer=matched.truths > 0,
                    samples=samples,
                )
                label += "" if math.isnan(found.low) else f" [{found.low:.3f}, {found.high:.3f}]"
            colour = COLOURS[place % len(COLOURS)]
            # The precision of a recall is the one at the next point, so that the area is the AP.
            axes.step(recall, np.append(precision[1:], precision[-1]), where="post", color=colour, label=label)
        clips = sum(len(true) > 0 for true in truths)
        figure.legend(
            loc="outside lower left", ncols=2, title=f"{spans:,} true spans in {clips:,} of {len(truths):,} clips"
        )
    return figure
