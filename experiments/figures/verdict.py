"""One clip's verdict: what was found when, of which type, and where in the picture, beside the truth."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments.figures import style
from mmdf_jax.audio import SAMPLE_RATE

STEP = 0.04  # s, of the timelines
SHOWN = 8  # frames
LINES = {
    "video": {"color": style.SECOND, "linestyle": (0, (4, 1.2))},
    "audio": {"color": style.ACCENT},
    "sync": {"color": style.INK, "linestyle": (0, (2, 1))},
}
WINDOW, POINTS = 400, 1500  # samples of a spectrum, and spectra of a clip at most
FLOOR_DB = -80.0


@dataclasses.dataclass(frozen=True)
class Frame:
    """A picture [h w 3] uint8 at `time` s; where it was called manipulated, [gh gw] from 0 to 1, and where it was."""

    time: float
    picture: np.ndarray
    found: np.ndarray
    truth: np.ndarray | None = None  # [gh' gw'] from 0 to 1


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What is drawn of a clip; times in seconds from its start."""

    title: str
    score: float  # p(fake)
    threshold: float  # of that score; nan where there is none
    types: Mapping[str, float]  # p(type), which sum to 1
    timelines: Mapping[str, np.ndarray]  # {cue: [t] p(broken), 25 a second; nan where unknown}
    segments: Sequence[tuple[float, float, float]]  # start, end, score
    label: int = -1  # 1 fake, 0 real, -1 unknown
    truth: str = ""  # the true type
    spans: Sequence[tuple[float, float]] | None = None  # the true ones; None: not known
    frames: Sequence[Frame] = ()
    audio: np.ndarray | None = None  # [s] int16 or float, 16 kHz


def draw(verdict: Verdict, *, least: float = 0.3) -> Figure:
    """Timeline of truth, segments (of a score of at least `least`) and frame scores; the types; the map over frames;
    the spectrogram.

    Raises:
      ValueError: the clip has no timeline.
    """
    if not verdict.timelines or not max(len(curve) for curve in verdict.timelines.values()):
        raise ValueError(f"verdict of {verdict.title!r}: expected a timeline, found none")
    seconds = max(len(curve) for curve in verdict.timelines.values()) * STEP
    with style.look():
        figure = style.new_figure(9.6, 6.4)
        colour = {0: style.REAL, 1: style.FAKE}.get(verdict.label, style.INK)
        figure.suptitle(style.shorten(verdict.title, 105), x=0.01, ha="left", fontweight="bold", color=colour)
        grid = figure.add_gridspec(4, 2, width_ratios=(3.2, 1), height_ratios=(0.7, 1.3, 1.3, 1.2))
        bars, scores = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[1, 0])
        heard = figure.add_subplot(grid[3, 0])
        _bars(bars, verdict, least)
        _scores(scores, verdict)
        sound(heard, verdict.audio, seconds)
        for axes in (bars, scores, heard):
            axes.set_xlim(0, seconds)
        bars.tick_params(labelbottom=False)
        scores.tick_params(labelbottom=False)
        _types(figure.add_subplot(grid[:2, 1]), verdict)
        _frames(figure, grid[2, :], verdict)
        _words(figure.add_subplot(grid[3, 1]), verdict, least)
        return figure


def _bars(axes: Axes, verdict: Verdict, least: float) -> None:
    axes.grid(False)
    axes.set(ylim=(0, 2), yticks=(0.5, 1.5), yticklabels=("found", "truth"))
    if verdict.spans is None:
        axes.text(0.01, 0.75, "not known", transform=axes.transAxes, va="center", color=style.MUTED, fontsize=8)
    for begin, end in verdict.spans or ():
        axes.add_patch(Rectangle((begin, 1.15), end - begin, 0.7, color=style.FAKE, linewidth=0))
    for begin, end, score in sorted(verdict.segments, key=lambda segment: segment[2]):
        if score >= least:
            axes.add_patch(
                Rectangle((begin, 0.15), end - begin, 0.7, color=style.THIRD, alpha=min(score, 1.0), linewidth=0)
            )
            axes.text((begin + end) / 2, 0.5, f"{score:.2f}", ha="center", va="center", fontsize=7, clip_on=True)
    axes.tick_params(length=0)


def _scores(axes: Axes, verdict: Verdict) -> None:
    for begin, end in verdict.spans or ():
        axes.axvspan(begin, end, color=style.FAKE, alpha=0.12, linewidth=0)
    for name, curve in verdict.timelines.items():
        axes.plot((np.arange(len(curve)) + 0.5) * STEP, curve, label=name, **LINES.get(name, {}))
    axes.set(ylim=(-0.02, 1.02), ylabel="p(broken)")
    # Above, where no curve runs.
    axes.legend(loc="lower right", bbox_to_anchor=(1, 0.97), ncols=len(verdict.timelines), fontsize=7, borderaxespad=0)


def _types(axes: Axes, verdict: Verdict) -> None:
    names = list(verdict.types)
    places = np.arange(len(names))[::-1]
    colours = [style.FAKE if name != "real" else style.REAL for name in names]
    axes.barh(places, list(verdict.types.values()), color=colours, height=0.7)
    axes.set(xlim=(0, 1), title="p(type)")
    labels = [f"{name} ◂" if name == verdict.truth else name for name in names]
    axes.set_yticks(places, [style.shorten(label, 24) for label in labels], fontsize=7)
    axes.grid(visible=False, axis="y")


def _frames(figure: Figure, place: object, verdict: Verdict) -> None:
    if not verdict.frames:
        axes = figure.add_subplot(place)
        axes.set_axis_off()
        style.say(axes, "no pictures")
        return
    chosen = np.unique(np.linspace(0, len(verdict.frames) - 1, min(SHOWN, len(verdict.frames))).round().astype(int))
    row = place.subgridspec(1, SHOWN)
    for column, i in enumerate(chosen):
        frame = verdict.frames[i]
        axes = figure.add_subplot(row[0, column])
        axes.set_axis_off()
        axes.set_title(f"{frame.time:.2f} s", fontsize=7.5, fontweight="normal", loc="center", pad=2)
        h, w = frame.picture.shape[:2]
        axes.imshow(frame.picture @ np.array([0.299, 0.587, 0.114]), cmap="gray", vmin=0, vmax=255, extent=(0, w, h, 0))
        found = np.clip(frame.found, 0, 1)
        shown = axes.imshow(found, cmap="inferno", vmin=0, vmax=1, extent=(0, w, h, 0), interpolation="bilinear")
        shown.set_alpha(0.55)
        if frame.truth is not None and (frame.truth >= 0.5).any() and (frame.truth < 0.5).any():
            rows, columns = frame.truth.shape
            x, y = (np.arange(columns) + 0.5) * w / columns, (np.arange(rows) + 0.5) * h / rows
            axes.contour(x, y, frame.truth, levels=[0.5], colors="white", linewidths=1.0)


def sound(axes: Axes, audio: np.ndarray | None, seconds: float) -> None:
    """The spectrogram of the first `seconds` of audio [s], 16 kHz, in dB below its loudest point."""
    axes.grid(False)
    axes.set(xlabel="time, s", ylabel="kHz", ylim=(0, SAMPLE_RATE / 2000))
    if audio is None or len(audio) < WINDOW:
        axes.set_yticks([])
        style.say(axes, "no sound")
        return
    audio = audio[: round(seconds * SAMPLE_RATE)].astype(np.float64)
    hop = max(WINDOW // 2, len(audio) // POINTS)
    starts = np.arange(0, len(audio) - WINDOW + 1, hop)
    spectra = np.abs(np.fft.rfft(audio[starts[:, None] + np.arange(WINDOW)] * np.hanning(WINDOW), axis=1))
    decibels = 20 * np.log10(np.maximum(spectra / max(spectra.max(), 1e-9), 1e-9))
    extent = (0, (starts[-1] + WINDOW) / SAMPLE_RATE, 0, SAMPLE_RATE / 2000)
    axes.imshow(decibels.T, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=FLOOR_DB, vmax=0)


def _words(axes: Axes, verdict: Verdict, least: float) -> None:
    axes.set_axis_off()
    fake = verdict.score >= verdict.threshold
    decided = "undecided" if np.isnan(verdict.threshold) else "fake" if fake else "real"
    lines = [f"p(fake) {verdict.score:.2f}: {decided}"]
    if decided == "fake":
        lines.append(f"type: {max((name for name in verdict.types if name != 'real'), key=verdict.types.get)}")
    for begin, end, score in [segment for segment in verdict.segments if segment[2] >= least][:4]:
        lines.append(f"{begin:.2f} – {end:.2f} s ({score:.2f})")
    truth = {0: "real", 1: "fake"}.get(verdict.label, "unknown")
    lines.append(f"truth: {truth}" + (f", {verdict.truth}" if verdict.label == 1 and verdict.truth else ""))
    axes.text(0, 1, "\n".join(style.shorten(line, 44) for line in lines), va="top", fontsize=8.5, linespacing=1.5)
