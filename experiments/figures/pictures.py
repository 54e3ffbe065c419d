"""Pictures that were drawn before, below each other on one page."""

import pathlib
from collections.abc import Mapping

import matplotlib.image
from matplotlib.figure import Figure

from experiments.figures import style


def draw(pictures: Mapping[str, pathlib.Path]) -> Figure:
    """pictures: {heading: a PNG of 150 dpi}, each at its own size, all as wide as the widest."""
    images = {heading: matplotlib.image.imread(path) for heading, path in pictures.items()}
    width = max(image.shape[1] for image in images.values()) / style.DPI
    heights = [width * image.shape[0] / image.shape[1] + 0.3 for image in images.values()]
    with style.look():
        figure = style.new_figure(width, sum(heights))
        panels = figure.subplots(len(images), 1, height_ratios=heights, squeeze=False)[:, 0]
        for axes, (heading, image) in zip(panels, images.items(), strict=True):
            axes.imshow(image, interpolation="none")
            axes.set_title(heading)
            axes.set_axis_off()
    return figure
