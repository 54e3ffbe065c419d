"""Optical flow of some clips between two frames, as arrows on the first of them."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.figures import style

EVERY = 12  # arrows along a side


@dataclasses.dataclass(frozen=True)
class Shown:
    """A clip: a frame [h w 3] uint8, the flow from it to the next [h' w' 2] in its own pixels; label, 1 fake."""

    name: str
    frame: np.ndarray
    flow: np.ndarray
    label: int


def draw(clips: Sequence[Shown], *, title: str) -> Figure:
    """One column for each clip: above the frame with arrows (orange: a fake), below the speeds, on one scale."""
    with style.look():
        figure = style.new_figure(0.6 + 1.75 * max(len(clips), 2), 4.0)
        panels = figure.subplots(2, len(clips), squeeze=False)
        # In percent of the picture's width, so that the size at which flow is computed does not matter.
        speeds = [100 * np.hypot(*np.moveaxis(clip.flow, -1, 0)) / clip.flow.shape[1] for clip in clips]
        top = max(float(np.quantile(np.concatenate([s.ravel() for s in speeds]), 0.99)), 1e-3)
        for above, below, clip, speed in zip(panels[0], panels[1], clips, speeds, strict=True):
            h, w = clip.frame.shape[:2]
            above.imshow(clip.frame, interpolation="nearest", extent=(0, 1, 1, 0), alpha=0.75)
            rows, columns = (np.linspace(0.5, n - 0.5, min(EVERY, n)).astype(int) for n in clip.flow.shape[:2])
            x, y = (columns + 0.5) / clip.flow.shape[1], (rows + 0.5) / clip.flow.shape[0]
            u, v = np.moveaxis(clip.flow[np.ix_(rows, columns)], -1, 0) / clip.flow.shape[1]
            # The longest usual arrow spans one cell of the grid.
            above.quiver(x, y, u, v, color=style.FAKE if clip.label else style.REAL, angles="xy", scale_units="xy",
                         scale=EVERY * top / 100, width=0.008)  # fmt: skip
            shown = below.imshow(speed, cmap="cividis", vmin=0, vmax=top, extent=(0, 1, 1, 0))
            above.set_title(style.shorten(clip.name, 22), fontsize=8)
            for axes in (above, below):
                axes.set(xticks=(), yticks=(), xlim=(0, 1), ylim=(1, 0), aspect=h / w)
        figure.colorbar(shown, ax=panels[1].tolist(), label="% of the width a frame", shrink=0.8)
        figure.suptitle(title, x=0.02, ha="left", fontweight="bold", fontsize=10)
        return figure
