"""The look that all figures share, and how they are saved. Object-oriented matplotlib: no global state, no display."""

import contextlib
import os
import warnings
from collections.abc import Iterator

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from experiments.files import atomic

# Okabe & Ito (2008): these colours differ for every common colour blindness, and in grey.
REAL, FAKE = "#0072B2", "#D55E00"
ACCENT, SECOND, THIRD = "#009E73", "#CC79A7", "#E69F00"
INK, MUTED, GRID = "#222222", "#6b6b6b", "#e4e4e4"
DPI, PRINT_DPI = 150, 300

_RC = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture on every machine
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "text.parse_math": False,  # a `$` in a method's name is a `$`
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "pdf.fonttype": 42,  # fonts that stay text, as publishers ask
    "figure.facecolor": "white",
}


@contextlib.contextmanager
def look() -> Iterator[None]:
    """Figures built, laid out or saved inside have the shared look, whatever the user's own matplotlib settings.

    The font lacks some scripts: names in them show as boxes, and no warning is given, which would not help.
    """
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` by `height` inches that lays itself out; call it inside `look()`."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    FigureCanvasAgg(figure)
    return figure


def settle(figure: Figure) -> None:
    """Lays a figure out for good: to be saved several times, at any resolution, without doing so each time."""
    layout = figure.get_layout_engine()
    if layout.get()["rect"] == (0, 0, 1, 1):
        layout.set(rect=(0.012, 0, 0.976, 1))  # letters are not equally wide at every resolution
    with look():
        for _ in range(2):  # the second pass knows how wide the labels have become
            figure.draw_without_rendering()
    figure.set_layout_engine("none")


def say(axes: Axes, text: str) -> None:
    """Writes into the middle of a panel why it is empty."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=MUTED)


def shorten(text: str, length: int) -> str:
    """At most `length` characters; the middle is cut, because names differ at their ends."""
    if len(text) <= length:
        return text
    head = (length - 1) // 2
    return f"{text[:head]}…{text[len(text) - (length - 1 - head) :]}"


def save(figure: Figure, path: str | os.PathLike, *, dpi: int = DPI) -> None:
    """Writes a PNG, or a PDF by the path's end, atomically; the same figure always gives the same bytes."""
    kind = os.fspath(path).rpartition(".")[2]
    with atomic(path) as temporary, look():
        unsaid = {"png": "Software", "pdf": "CreationDate"}[kind]
        figure.savefig(temporary, format=kind, dpi=dpi, metadata={unsaid: None})


def save_for_print(figure: Figure, path: os.PathLike) -> None:
    """Writes `<path>.png` at 300 dpi and `<path>.pdf`."""
    for kind in ("png", "pdf"):
        save(figure, f"{os.fspath(path)}.{kind}", dpi=PRINT_DPI)
