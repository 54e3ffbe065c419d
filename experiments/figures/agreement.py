"""Agreement between detectors: rank correlation of their scores, and kappa of which clips they get wrong."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.figures import heat_map, style


def draw(names: Sequence[str], scores: np.ndarray, errors: np.ndarray, *, title: str = "") -> Figure:
    """scores: Spearman's rank correlation [m m]; errors: Cohen's kappa of the mistakes [m m]; nan where unknown."""
    side = 1.9 + 0.33 * len(names)
    with style.look():
        figure = style.new_figure(side + 0.4, 2 * side - 1.0)
        figure.suptitle(title or "Agreement", x=0.01, ha="left", fontweight="bold", fontsize=11)
        first, second = figure.subplots(2, 1, sharex=True)
        for axes, values, heading in (
            (first, scores, "scores: Spearman's rank correlation"),
            (second, errors, "mistakes on the same clips: Cohen's kappa"),
        ):
            shown = np.array(values, float)
            np.fill_diagonal(shown, np.nan)
            heat_map.fill(axes, shown, names, names, limits=(-1, 1), colours=heat_map.TWO_SIDED, size=6.5)
            axes.set_title(heading, fontsize=9)
    return figure
