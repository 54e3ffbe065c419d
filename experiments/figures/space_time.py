"""Slices through a film: one row of the picture over time, where unsteady patches show as ragged lines."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.figures import style

# Height of the rows in an aligned face crop, in parts of it.
ROWS: Mapping[str, float] = {"cheek": 0.52, "mouth": 0.72}
FRAME = 0.04  # s


@dataclasses.dataclass(frozen=True)
class Shown:
    """A clip's window: frames [t h w 3] uint8; start, s; fake spans, s of the clip; label, 1 fake."""

    name: str
    frames: np.ndarray
    start: float
    spans: Sequence[tuple[float, float]]
    label: int


def draw(clips: Sequence[Shown], *, title: str, rows: Mapping[str, float] = ROWS) -> Figure:
    """One row for each clip, one column for each slice: time runs downwards, fake time is marked at the left."""
    with style.look():
        figure = style.new_figure(0.4 + 3.1 * len(rows), 0.8 + 1.5 * len(clips))
        panels = figure.subplots(len(clips), len(rows), squeeze=False)
        for line, clip in zip(panels, clips, strict=True):
            t, h = clip.frames.shape[:2]
            end = clip.start + t * FRAME
            for axes, (name, height) in zip(line, rows.items(), strict=True):
                axes.imshow(
                    clip.frames[:, min(int(height * h), h - 1)], aspect="auto", interpolation="nearest",
                    extent=(0, 1, end, clip.start),
                )  # fmt: skip
                for begin, stop in clip.spans or ([(clip.start, end)] if clip.label == 1 else []):
                    inside = max(begin, clip.start), min(stop, end)
                    if inside[0] < inside[1]:
                        axes.plot([0.012, 0.012], inside, color=style.FAKE, linewidth=4, solid_capstyle="butt")
                axes.set(xticks=(), xlim=(0, 1), ylim=(end, clip.start))
                axes.grid(False)
                axes.set_title(f"{name} · {style.shorten(clip.name, 32)}", fontsize=8)
            line[0].set_ylabel("time, s")
        panels[-1, 0].set_xlabel("across the picture (orange at the left: truly fake)")
        figure.suptitle(title, x=0.02, ha="left", fontweight="bold", fontsize=10)
        return figure
