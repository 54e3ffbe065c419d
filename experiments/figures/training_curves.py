"""Training curves from metrics.jsonl: losses, validation AUC and accuracy, learning rate, gradient norm."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from experiments.figures import style

NOISY = ("train/loss", "train/loss_joint", "train/grad_norm")  # drawn with a moving mean where there are many points
SMOOTHED = 50  # points; over more a moving mean is drawn over a noisy curve
Curves = dict[str, tuple[np.ndarray, np.ndarray]]


def curves_of(rows: Iterable[Mapping[str, Any]]) -> Curves:
    """The lines of metrics.jsonl (`experiments.metrics_log.read`) as {name: (steps [n], values [n])}, steps ascending.

    A step that was logged twice counts as logged last; null, which stands for what was not finite, becomes nan.
    """
    values: dict[str, dict[int, float]] = {}
    for row in rows:
        for name, value in row.items():
            if name != "step" and (value is None or isinstance(value, (int, float))):
                values.setdefault(name, {})[row["step"]] = math.nan if value is None else float(value)
    return {
        name: (np.array(sorted(by_step)), np.array([by_step[step] for step in sorted(by_step)]))
        for name, by_step in values.items()
    }


def best_step(curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> int | None:
    """The first step of highest validation AUC, or of lowest validation loss where there is no AUC."""
    for name, sign in (("val/auc", 1), ("val/loss", -1)):
        steps, values = curves.get(name, (np.zeros(0), np.zeros(0)))
        if np.isfinite(values).any():
            return int(steps[np.nanargmax(np.where(np.isfinite(values), sign * values, -math.inf))])
    return None


def draw(curves: Curves, *, title: str = "", best: int | None = None) -> Figure:
    """Four panels over the step; `best`, the step of the kept checkpoint, defaults to `best_step(curves)`."""
    best = best_step(curves) if best is None else best
    with style.look():
        figure = style.new_figure(9, 5.4)
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        loss, quality, rate, norm = figure.subplots(2, 2, sharex=True).ravel()

        # Validation measures the joint loss. Where that is logged, the panel shows it instead of the whole loss.
        train = "train/loss_joint" if "train/loss_joint" in curves else "train/loss"
        _panel(loss, "Loss", [(train, "train", style.MUTED), ("val/loss", "validation", style.FAKE)], curves)
        _panel(
            quality,
            "Validation",
            [("val/auc", "AUC", style.REAL), ("val/accuracy", "accuracy", style.THIRD)],
            curves,
        )
        _panel(rate, "Learning rate", [("train/learning_rate", "", style.ACCENT)], curves)
        _panel(norm, "Gradient norm", [("train/grad_norm", "", style.SECOND)], curves, log=True)
        rate.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=False)
        for axes in (rate, norm):
            axes.set_xlabel("step")
        if best is not None:
            for axes in (loss, quality, rate, norm):
                axes.axvline(best, color=style.INK, linewidth=0.9, linestyle=(0, (3, 2)), zorder=1)
            steps = [step for values in curves.values() for step in values[0]]
            side = "right" if best > np.mean([min(steps), max(steps)]) else "left"
            quality.annotate(
                f"best: step {best:,}{_at(curves, best)}",
                (best, 0.02),
                xycoords=("data", "axes fraction"),
                xytext=(-4 if side == "right" else 4, 2),
                textcoords="offset points",
                ha=side,
                fontsize=8,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8},
            )
    return figure


def draw_all(runs: Sequence[tuple[str, Curves]], *, title: str = "") -> Figure:
    """A small panel for each (name, curves): training loss, and validation AUC on the axis to the right."""
    across = min(4, max(len(runs), 1))
    down = max(math.ceil(len(runs) / across), 1)
    with style.look():
        figure = style.new_figure(2.9 * across, 2.2 * down + 0.5)
        figure.suptitle(title or "Training", x=0.01, ha="left", fontweight="bold", fontsize=11)
        panels = figure.subplots(down, across, squeeze=False).ravel().tolist()
        for axes in panels[len(runs) :]:
            axes.set_axis_off()
        for place, (axes, (name, curves)) in enumerate(zip(panels, runs, strict=False)):
            axes.set_title(style.shorten(name, 30), fontsize=8.5)
            if "train/loss" in curves:
                steps, values = curves["train/loss"]
                if len(values) > SMOOTHED:
                    axes.plot(steps, values, color=style.MUTED, alpha=0.35, linewidth=0.8)
                    values = _smooth(values)
                axes.plot(steps, values, color=style.MUTED, linewidth=1.3)
            axes.set_ylim(bottom=0)
            right = axes.twinx()
            right.grid(False)
            right.spines["right"].set_visible(True)
            right.set_ylim(0.45, 1.01)
            if "val/auc" in curves:
                right.plot(*curves["val/auc"], "o-", color=style.REAL, markersize=3)
            if (best := best_step(curves)) is not None:
                axes.axvline(best, color=style.INK, linewidth=0.9, linestyle=(0, (3, 2)))
            if (place + 1) % across and place + 1 < len(runs):
                right.set_yticklabels([])
        figure.supxlabel("step; dashed: the step of the best validation", fontsize=9)
        figure.supylabel("training loss (grey)", fontsize=9, color=style.MUTED)
        figure.text(0.995, 0.5, "validation AUC (blue)", rotation=90, ha="right", va="center", color=style.REAL)
        figure.get_layout_engine().set(rect=(0, 0, 0.975, 1))
    return figure


def _at(curves: Curves, best: int) -> str:
    steps, values = curves.get("val/auc", (np.zeros(0), np.zeros(0)))
    here = values[steps == best]
    return f", AUC {here[0]:.3f}" if len(here) else ""


def _panel(axes: Axes, title: str, series: list[tuple[str, str, str]], curves: Curves, *, log: bool = False) -> None:
    axes.set_title(title)
    shown = [(name, label, colour) for name, label, colour in series if name in curves]
    for name, label, colour in shown:
        steps, values = curves[name]
        values = np.where(np.isfinite(values), values, np.nan)
        if name in NOISY and len(values) > SMOOTHED:
            axes.plot(steps, values, color=colour, alpha=0.35, linewidth=0.8)
            steps, values = steps, _smooth(values)
        marker = "o" if name.startswith("val/") or len(values) == 1 else None
        axes.plot(steps, values, color=colour, label=label or None, marker=marker, markersize=3)
    positive = [value for name, _, _ in shown for value in curves[name][1] if value > 0]
    if log and positive and max(positive) > 20 * min(positive):
        axes.set_yscale("log", nonpositive="mask")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    if not shown:
        style.say(axes, "not logged")
    elif any(label for _, label, _ in shown):
        axes.legend(loc="best")


def _smooth(values: np.ndarray) -> np.ndarray:
    """A centred moving mean over a twentieth of the run that skips what is not finite."""
    width = max(len(values) // 20, 3)
    finite = np.isfinite(values)
    kernel = np.ones(width)
    total = np.convolve(np.where(finite, values, 0.0), kernel, "same")
    count = np.convolve(finite.astype(float), kernel, "same")
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
