"""The README's picture of a detector, from the batch to the score table: python -m experiments.figures.architecture"""

import pathlib

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from experiments.figures import style

# Left to right: a column's title, the folder it lives in, and its boxes (name, second line).
COLUMNS = (
    ("batch", "data_pipelines/", (("image", "[b n h w 3]"), ("video", "[b t h w 3]"), ("audio", "[b s]"))),
    (
        "encoders",
        "mmdf_jax/encoders/",
        (
            ("CLIP, DINOv2, ConvNeXt,", "EfficientNet"),
            ("3-D ResNet, CNN + LSTM,", "temporal difference"),
            ("wav2vec 2.0, HuBERT,", "spectrogram CNN"),
        ),
    ),
    ("fusion", "mmdf_jax/fusion/", (("cross-modal attention", "{stream: [b t … d]} → [b d]"),)),
    ("task", "mmdf_jax/tasks/", (("detection", "loss · scores · metrics"),)),
    ("table", "experiments/", (("score table", "one row per clip"),)),
    ("report", "experiments/", (("results, figures,", "text: from the table"),)),
)
COLOURS = (style.MUTED, style.REAL, style.ACCENT, style.THIRD, style.FAKE, style.INK)
LEFTS = (0.0, 1.65, 4.15, 6.65, 8.85, 10.75)
WIDTHS = (1.2, 2.05, 2.05, 1.75, 1.45, 1.6)
HEIGHT, ROWS = 0.72, (2.0, 1.0, 0.0)


def draw() -> Figure:
    """The stages as boxes, an arrow where one hands its result to the next."""
    with style.look():
        figure = style.new_figure(11.5, 3.0)
        axes = figure.subplots()
        axes.set(xlim=(-0.1, 12.45), ylim=(-0.1, 3.5))
        axes.axis("off")
        heights = [ROWS if len(boxes) == len(ROWS) else (ROWS[1],) for _, _, boxes in COLUMNS]
        for (title, folder, boxes), left, width, colour, ys in zip(
            COLUMNS, LEFTS, WIDTHS, COLOURS, heights, strict=True
        ):
            middle = left + width / 2
            axes.text(middle, 3.3, title, ha="center", va="center", fontsize=11, fontweight="bold", color=colour)
            axes.text(middle, 3.0, folder, ha="center", va="center", fontsize=7.5, color=style.MUTED)
            for (name, second), y in zip(boxes, ys, strict=True):
                _box(axes, left, y, width, colour, name, second)
        for i in range(len(COLUMNS) - 1):
            for start in heights[i]:
                for end in heights[i + 1]:
                    if len(heights[i]) != len(heights[i + 1]) or start == end:
                        _arrow(axes, (LEFTS[i] + WIDTHS[i], start), (LEFTS[i + 1], end))
        return figure


def _box(axes: Axes, left: float, y: float, width: float, colour: str, name: str, second: str) -> None:
    shape = FancyBboxPatch(
        (left, y), width, HEIGHT, boxstyle="round,pad=0,rounding_size=0.1", facecolor="white", edgecolor=colour
    )
    shape.set_linewidth(1.4)
    axes.add_patch(shape)
    for text, up in ((name, 0.66), (second, 0.3)):
        axes.text(left + width / 2, y + up * HEIGHT, text, ha="center", va="center", fontsize=8)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    (x0, y0), (x1, y1) = start, end
    style_of = {"arrowstyle": "-|>", "color": style.MUTED, "linewidth": 1.0, "shrinkA": 2, "shrinkB": 2}
    axes.annotate("", (x1, y1 + HEIGHT / 2), (x0, y0 + HEIGHT / 2), arrowprops=style_of)


if __name__ == "__main__":
    style.save(draw(), pathlib.Path(__file__).with_suffix(".png"))
