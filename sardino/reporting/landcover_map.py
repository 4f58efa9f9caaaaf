"""Figure 4: example land-cover maps."""

import math

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sardino.errors import SardinoError
from sardino.reporting.imagery import bare, class_image, class_legend, scale_bar, tight
from sardino.reporting.provenance import captioned
from sardino.reporting.style import WIDTH, new_figure, styled
from sardino.tiles.landcover import Legend


@styled
def draw_landcover(labels: NDArray[np.uint8], legend: Legend, gsd_m: float, title: str, columns: int = 5) -> Figure:
    """Reference maps in the legend's own colours (paper, Figure 4).

    Args:
        labels: (n, H, W) class index, 255 where unlabelled.
        gsd_m: metres per pixel.
        title: says what the labels are.
        columns: maps side by side.
    """
    if labels.ndim != 3 or not len(labels):
        raise SardinoError(f"Figure 4 needs labels (n, H, W), not {labels.shape}")
    across = min(columns, len(labels))
    down = math.ceil(len(labels) / across)
    side = min(WIDTH / across, 2.4)
    figure = new_figure(max(side * across, 4.8), side * down * labels.shape[1] / labels.shape[2] + 1.2)
    figure.suptitle(captioned(title, [legend]))
    tight(figure)
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for axes, label in zip(panels, labels, strict=False):
        bare(axes).imshow(class_image(label, legend))
    scale_bar(panels[0], labels.shape[-1], gsd_m)
    for axes in panels[len(labels) :]:
        axes.remove()
    class_legend(figure, [(label, legend) for label in labels])
    return figure
