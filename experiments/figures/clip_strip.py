"""One clip at a glance: some frames, where it is fake and was said to be, its sound, and every detector's score."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments.figures import style, verdict


@dataclasses.dataclass(frozen=True)
class Strip:
    """What is drawn of a clip; times in seconds from its start."""

    title: str
    label: int  # 1 fake, 0 real
    seconds: float
    frames: Sequence[np.ndarray]  # [h w 3] uint8, all alike in size, at even steps of time
    audio: np.ndarray | None  # [s] int16, 16 kHz
    spans: Sequence[tuple[float, float]]  # fake alone in these
    found: Mapping[str, Sequence[tuple[float, float, float]]]  # {detector: its segments (start, end, score)}
    scores: Mapping[str, float]  # {detector: P(fake)}, nan for none


def draw(strip: Strip, *, least: float = 0.3) -> Figure:
    """least: the score from which on segments are shown."""
    with style.look():
        figure = style.new_figure(10.0, max(2.7, 0.6 + 0.125 * len(strip.scores)))
        ink = style.FAKE if strip.label else style.REAL
        figure.suptitle(style.shorten(strip.title, 110), x=0.01, ha="left", fontsize=9, fontweight="bold", color=ink)
        rows = figure.add_gridspec(
            3, 2, width_ratios=(2.6, 1), height_ratios=(2.2, 0.35 + 0.25 * len(strip.found), 1.3)
        )
        _frames(figure.add_subplot(rows[0, 0]), strip)
        spans, heard = figure.add_subplot(rows[1, 0]), figure.add_subplot(rows[2, 0])
        _spans(spans, strip, least)
        verdict.sound(heard, strip.audio, strip.seconds)
        for axes in (spans, heard):
            axes.set_xlim(0, max(strip.seconds, 0.1))
        _scores(figure.add_subplot(rows[:, 1]), strip)
    return figure


def _frames(axes: Axes, strip: Strip) -> None:
    axes.set_axis_off()
    if not strip.frames:
        style.say(axes, "no pictures")
        return
    gap = np.full((strip.frames[0].shape[0], max(2, strip.frames[0].shape[1] // 30), 3), 255, np.uint8)
    axes.imshow(np.concatenate([part for frame in strip.frames for part in (frame, gap)][:-1], axis=1))
    axes.set_anchor("W")


def _spans(axes: Axes, strip: Strip, least: float) -> None:
    axes.grid(False)
    names = ["truth", *strip.found]
    axes.set(ylim=(len(names), 0), xticks=[])
    axes.set_yticks(np.arange(len(names)) + 0.5, [style.shorten(name, 22) for name in names], fontsize=6.5)
    axes.tick_params(length=0)
    whole = [(0.0, strip.seconds)] if strip.label else []
    for begin, end in strip.spans or whole:
        axes.add_patch(Rectangle((begin, 0.15), end - begin, 0.7, color=style.FAKE, linewidth=0))
    for row, segments in enumerate(strip.found.values(), 1):
        for begin, end, score in sorted(segments, key=lambda segment: segment[2]):
            if score >= least:
                size = {"width": end - begin, "height": 0.7}
                axes.add_patch(
                    Rectangle((begin, row + 0.15), **size, color=style.THIRD, alpha=min(score, 1), linewidth=0)
                )


def _scores(axes: Axes, strip: Strip) -> None:
    names, values = list(strip.scores), np.array(list(strip.scores.values()), float)
    places = np.arange(len(names))
    axes.barh(places, np.nan_to_num(values), color=[style.FAKE if value >= 0.5 else style.REAL for value in values])
    for place, value in zip(places, values, strict=True):
        axes.text(
            np.nan_to_num(value) + 0.02, place, "–" if np.isnan(value) else f"{value:.2f}", va="center", fontsize=5.5
        )
    axes.set(xlim=(0, 1.15), ylim=(len(names) - 0.4, -0.6), xticks=[0, 0.5, 1], xlabel="P(fake)")
    axes.set_yticks(places, [style.shorten(name, 24) for name in names], fontsize=6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
