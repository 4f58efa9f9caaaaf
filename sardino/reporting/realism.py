"""Pictures of synthetic beside measured radar images, and of the statistics in which they differ."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sardino.evaluation.realism import standardised
from sardino.reporting.style import MUTED, PALETTE, WIDTH, new_figure, styled


@styled
def draw_images(images: Mapping[str, NDArray[np.floating]], columns: int = 4) -> Figure:
    """One polarisation of each image in grey, standardised, because not all of them are calibrated.

    Args:
        images: title to (H, W) dB, NaN where missing.
        columns: images per row.
    """
    rows = -(-len(images) // columns)
    figure = new_figure(WIDTH, 0.4 + rows * (WIDTH / columns + 0.2))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, (title, db) in zip(axes, images.items(), strict=False):
        axis.imshow(standardised(db), cmap="gray", vmin=-2.5, vmax=2.5)
        axis.set_title(title)
    return figure


@styled
def draw_statistics(
    statistics: Mapping[str, Mapping[str, Any]], synthetic: Mapping[str, bool], edges: Sequence[float]
) -> Figure:
    """Histograms, spatial correlation and equivalent looks of images; synthetic ones coloured, measured ones grey.

    Args:
        statistics: title to the statistics of one polarisation.
        synthetic: title to whether the image is synthetic.
        edges: of the histogram's bins, in standard deviations.
    """
    figure = new_figure(WIDTH, 2.9)
    left, middle, right = figure.subplots(1, 3)
    centres = (np.asarray(edges)[1:] + np.asarray(edges)[:-1]) / 2
    colours = {title: PALETTE[0] if synthetic[title] else MUTED for title in statistics}
    for title, found in statistics.items():
        left.plot(centres, found["histogram"], color=colours[title], linewidth=0.9)
        middle.plot(found["lags_px"], found["correlation_columns"], color=colours[title], linewidth=0.9)
    left.set(xlabel="standard deviations from the mean", ylabel="density", title="Histogram")
    middle.set(xlabel="lag in range, px", ylabel="correlation", xscale="log", title="Spatial correlation")
    places = np.arange(len(statistics))
    right.barh(places, [found["looks"] for found in statistics.values()], color=list(colours.values()))
    right.set_yticks(places, list(statistics), fontsize=5)
    right.set(xlabel="equivalent looks", xscale="log", title="Homogeneous places")
    right.invert_yaxis()
    figure.suptitle("blue: synthetic; grey: measured", color=MUTED)
    return figure
