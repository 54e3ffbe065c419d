"""Pictures that were drawn before, beside each other on one page."""

import pathlib
from collections.abc import Sequence

import matplotlib.image
from matplotlib.figure import Figure

from experiments.figures import style


def draw(paths: Sequence[pathlib.Path]) -> Figure:
    """paths: PNGs of `style.DPI`; each keeps its size."""
    images = [matplotlib.image.imread(path) for path in paths]
    widths = [image.shape[1] / style.DPI for image in images]
    with style.look():
        figure = style.new_figure(sum(widths), max(image.shape[0] for image in images) / style.DPI)
        figure.get_layout_engine().set(w_pad=0, h_pad=0, wspace=0, hspace=0)
        panels = figure.subplots(1, len(images), width_ratios=widths, squeeze=False)[0]
        for axes, image in zip(panels, images, strict=True):
            axes.imshow(image, interpolation="none")
            axes.set_anchor("N")
            axes.set_axis_off()
    return figure
