"""The figures of a file's report: what was found over time, faces with their boxes, and where the models point."""

from collections.abc import Sequence

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments.figures import style
from experiments.verdict.examined import Mapped, Shown
from experiments.verdict.verdict import Verdict

COLOURS = (style.REAL, style.FAKE, style.ACCENT, style.SECOND, style.THIRD, style.INK)
DASHES = ("-", (0, (4, 1.2)), (0, (1.5, 1)), (0, (4, 1, 1, 1)))
FLOOR_DB = -80.0
COLUMNS = 4
MOST_SCORES = 6  # curves in one panel


def over_time(verdict: Verdict) -> Figure | None:
    """Evidence of each stretch, scores of windows and steps, suspicious segments, lip-sync, spectrogram: one time axis.

    None for a picture, and where nothing was scored.
    """
    found, one = verdict.content, verdict.examined
    if one.still or not (verdict.lines or one.spectra):
        return None
    panels = [(_evidence, 1.0)] if found["stretches"] else []
    panels += [(_scores, 1.4)] if verdict.lines else []
    panels += [(_steps, 1.4)] if verdict.steps else []
    panels += [(_sync, 1.0)] if found["sync"] else []
    panels += [(_spectrogram, 1.4)] if one.spectra else []
    with style.look():
        figure = style.new_figure(9.6, 0.6 + 1.15 * sum(height for _, height in panels))
        rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=[h for _, h in panels])[:, 0]
        for axes, (draw, _) in zip(rows, panels, strict=True):
            draw(axes, verdict)
            for segment in found["segments"]:
                alpha = 0.08 + 0.2 * min(segment["score"], 1.0)
                axes.axvspan(segment["start"], segment["end"], color=style.THIRD, alpha=alpha, linewidth=0)
        rows[-1].set(xlabel="time, s (shaded: suspicious segments)" if found["segments"] else "time, s")
        rows[-1].set_xlim(0, max(one.seconds, 0.1))
        return figure


def _evidence(axes: Axes, verdict: Verdict) -> None:
    found, highest, named = verdict.content, verdict.content["highest"], set()
    for stretch in found["stretches"]:
        value, who = stretch["log10_lr"], stretch["person"]
        if who == highest:
            colour = style.FAKE if value > 0 else style.REAL
            width = stretch["end"] - stretch["start"]
            axes.bar(stretch["start"], value, width, align="edge", color=colour, alpha=0.8, edgecolor="white")
        else:
            i = [person["name"] for person in found["people"]].index(who)
            line = {"color": COLOURS[i % len(COLOURS)], "linestyle": DASHES[i % len(DASHES)]}
            axes.hlines(value, stretch["start"], stretch["end"], **line, label=None if who in named else who)
            named.add(who)
    if named:
        axes.legend(loc="lower right", bbox_to_anchor=(1, 0.98), ncols=4, fontsize=7, borderaxespad=0)
    bounds = [abs(np.log10(bound)) for bound in verdict.content["evidence"]["bounds"] if bound]
    reach = max([0.5, *bounds]) * 1.1
    axes.axhline(0, color=style.MUTED, linewidth=0.8)
    axes.set(ylim=(-reach, reach), ylabel=f"log10 LR\n(bars: {highest})" if named else "log10 LR")


def _scores(axes: Axes, verdict: Verdict) -> None:
    _curves(axes, verdict.lines, "score of a window", marker=True)


def _steps(axes: Axes, verdict: Verdict) -> None:
    _curves(axes, verdict.steps, "score of a step", marker=False)


def _curves(axes: Axes, lines: Sequence, ylabel: str, *, marker: bool) -> None:
    for i, line in enumerate(lines[:MOST_SCORES]):
        axes.plot(
            line.times,
            line.values,
            color=COLOURS[i % len(COLOURS)],
            linestyle=DASHES[i % len(DASHES)],
            marker="o" if marker and len(line.times) < 60 else None,
            markersize=3,
            linewidth=1.2,
            label=line.name,
        )
    axes.set(ylim=(-0.03, 1.03), ylabel=ylabel)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 0.98), ncols=3, fontsize=7, borderaxespad=0)


def _sync(axes: Axes, verdict: Verdict) -> None:
    windows = verdict.content["sync"]["windows"]
    points = axes.scatter(
        [window["start"] for window in windows],
        [window["offset_frames"] for window in windows],
        c=[window["confidence"] for window in windows],
        cmap="viridis",
        s=16,
    )
    axes.figure.colorbar(points, ax=axes, label="confidence", fraction=0.03, pad=0.01)
    axes.axhspan(-1, 1, color=style.GRID, zorder=0)
    axes.set(ylim=(-16, 16), ylabel="offset, frames")


def _spectrogram(axes: Axes, verdict: Verdict) -> None:
    axes.grid(False)
    loudest = max(float(spectra.max()) for _, _, spectra in verdict.examined.spectra)
    for start, step, spectra in verdict.examined.spectra:
        decibels = 20 * np.log10(np.maximum(spectra / max(loudest, 1e-9), 1e-9))
        extent = (start, start + step * len(spectra), 0, 8)
        axes.imshow(decibels.T, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=FLOOR_DB, vmax=0)
    axes.set(ylim=(0, 8), ylabel="kHz")


def faces(shown: Sequence[Shown], names: Sequence[str]) -> Figure | None:
    """Whole pictures with the boxes of those who are judged; None without a picture."""
    if not shown:
        return None
    rows = -(-len(shown) // COLUMNS)
    pictures = [cv2.imdecode(np.frombuffer(one.jpeg, np.uint8), cv2.IMREAD_COLOR_RGB) for one in shown]
    h, w = pictures[0].shape[:2]
    with style.look():
        figure = style.new_figure(9.6, rows * (2.4 * min(h / w, 1.4) + 0.3))
        grid = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
        for axes in grid:
            axes.set_axis_off()
        for axes, one, picture in zip(grid, shown, pictures, strict=False):
            axes.imshow(picture)
            axes.set_title(f"{one.time:.2f} s", fontsize=7.5, fontweight="normal", pad=2)
            for face in one.faces:
                x0, y0, x1, y1 = face.box
                colour = COLOURS[(face.person + 1) % len(COLOURS)]
                axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor="white", linewidth=2.2))
                axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=1.3))
                box = {"facecolor": colour, "edgecolor": "none", "pad": 1}
                axes.text(x0, y0, names[face.person], fontsize=6.5, color="white", va="bottom", bbox=box)
            axes.set(xlim=(0, picture.shape[1]), ylim=(picture.shape[0], 0))
        return figure


def places(mapped: Sequence[Mapped], *, most: int = 2 * COLUMNS) -> Figure | None:
    """Face crops of the most suspicious windows under what the model points at; None without any."""
    frames = []
    for one in mapped:
        n = len(one.pictures)
        if n and one.maps.shape[0] == n:
            frames += [(one, i, one.start + (i + 0.5) * one.window / n) for i in range(n)]
    frames = frames[:most]
    if not frames:
        return None
    rows = -(-len(frames) // COLUMNS)
    with style.look():
        figure = style.new_figure(9.6, rows * 2.4)
        grid = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
        for axes in grid:
            axes.set_axis_off()
        for axes, (one, i, time) in zip(grid, frames, strict=False):
            grey = one.pictures[i] @ np.array([0.299, 0.587, 0.114])
            h, w = grey.shape
            axes.imshow(grey, cmap="gray", vmin=0, vmax=255, extent=(0, w, h, 0))
            top = 1.0 if one.kind == "localisation" else max(float(one.maps.max()), 1e-9)
            axes.imshow(
                one.maps[i] / top,
                cmap="inferno",
                vmin=0,
                vmax=1,
                extent=(0, w, h, 0),
                interpolation="bilinear",
                alpha=0.5,
            )
            axes.set_title(f"{time:.2f} s, window {one.score:.2f}", fontsize=7.5, fontweight="normal", pad=2)
        return figure
