"""Attention on partial fakes: how much denser it lies inside the true fake spans than outside, by method and stream."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from experiments.figures import style
from experiments.figures.attention import LINES, along_time

ALL = "all streams"
LOW, HIGH = 0.05, 100.0  # of the axis; what lies beyond is drawn at its end


@dataclasses.dataclass(frozen=True)
class SpanAttention:
    """One window of a partial fake: attention per second inside the fake spans, as a multiple of that outside."""

    clip_id: str
    method: str
    stream: str  # or ALL: the attention of all of them together
    ratio: float


def ratios(
    attention: Mapping[str, np.ndarray], start: float, window: float, spans: Sequence[tuple[float, float]]
) -> dict[str, float]:
    """{stream, and ALL: attention per step inside the spans, as a multiple of that outside}.

    attention: {stream: [t …]}, over t equal steps of a window of `window` s that begins at `start` s of the clip. A
    step is judged by its middle. Streams without attention, or without a step inside and one outside, are left out.
    """
    inside, outside = np.zeros(2), np.zeros(2)  # attention, and seconds
    found = {}
    for stream, weights in attention.items():
        weights = along_time(np.asarray(weights, np.float64))
        times = start + (np.arange(len(weights)) + 0.5) / len(weights) * window
        fake = np.any([(times >= begin) & (times < end) for begin, end in spans], axis=0)
        if not fake.any() or fake.all() or not weights.any():
            continue
        found[stream] = _ratio(weights[fake].mean(), weights[~fake].mean())
        inside += weights[fake].sum(), fake.mean()
        outside += weights[~fake].sum(), 1 - fake.mean()
    if found:
        found[ALL] = _ratio(inside[0] / inside[1], outside[0] / outside[1])
    return found


def medians(windows: Sequence[SpanAttention]) -> dict[tuple[str, str], float]:
    """{(method, stream): median over its windows}; the method "" is all of them."""
    groups: dict[tuple[str, str], list[float]] = {}
    for window in windows:
        for method in ("", window.method):
            groups.setdefault((method, window.stream), []).append(window.ratio)
    return {key: float(np.median(values)) for key, values in groups.items()}


def draw(windows: Sequence[SpanAttention], *, title: str = "") -> Figure:
    """A panel per method: each window's ratio as a dot, and the median, by stream.

    Raises:
      ValueError: there is no window.
    """
    if not windows:
        raise ValueError("attention in spans: expected at least one window of a partial fake, found none")
    methods = sorted({window.method for window in windows})
    streams = [*sorted({window.stream for window in windows} - {ALL}), ALL]
    middle = medians(windows)
    with style.look():
        figure = style.new_figure(2.2 * len(methods) + 1.2, 0.34 * len(streams) + 1.5)
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        for method, axes in zip(methods, figure.subplots(1, len(methods), sharey=True, squeeze=False)[0], strict=True):
            for place, stream in enumerate(streams):
                values = [w.ratio for w in windows if (w.method, w.stream) == (method, stream)]
                if not values:
                    continue
                colour = LINES.get(stream, {"color": style.MUTED})["color"]
                spread = place + 0.28 * np.linspace(-1, 1, len(values) + 2)[1:-1]
                axes.plot(np.clip(values, LOW, HIGH), spread, "o", color=colour, markersize=2.5, alpha=0.5, mew=0)
                said = f"{middle[method, stream]:.2g}" if middle[method, stream] <= HIGH else f"> {HIGH:g}"
                median = np.clip(middle[method, stream], LOW, HIGH)
                axes.plot([median, median], [place - 0.36, place + 0.36], color=style.INK, linewidth=1.8)
                axes.text(HIGH, place, said, ha="right", va="center", fontsize=8)
            axes.axvline(1, color=style.MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
            axes.set_xscale("log")
            axes.set_xlim(LOW, HIGH)
            axes.xaxis.set_major_formatter(ScalarFormatter())
            axes.set_title(method or "fakes")
            axes.set_xlabel("inside ÷ outside")
            axes.set_yticks(range(len(streams)), streams)
            axes.grid(axis="y", visible=False)
    return figure


def _ratio(inside: float, outside: float) -> float:
    return float(inside / max(outside, 1e-12))
