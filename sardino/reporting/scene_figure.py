"""A scene and the maps made of it: backscatter, attention of the first heads, land cover, and what is there."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sardino.errors import SardinoError
from sardino.reporting.attention_map import attention_bar, attention_scale, draw_attention
from sardino.reporting.cartography import ClassPanel, north_arrow, numbered_legend
from sardino.reporting.imagery import bare, class_image, sar_composite, scale_bar, tight
from sardino.reporting.provenance import captioned
from sardino.reporting.style import WIDTH, new_figure, styled
from sardino.tiles.landcover import Legend

ACROSS = 3
"""Panels in a row."""


@styled
def draw_scene(
    sar: NDArray[np.floating],
    attention: NDArray[np.floating],
    landcover: NDArray[np.uint8],
    channels: Sequence[str],
    legend: Legend,
    gsd_m: float,
    title: str,
    reference: NDArray[np.uint8] | None = None,
) -> Figure:
    """Two rows of maps of one place: SAR, map and reference; below them the attention of the first three heads.

    Args:
        sar: (C, H, W) backscatter in dB.
        attention: (heads, h, w), 1 is an even spread; of any size.
        landcover: (H, W) class index as mapped.
        channels: names of the SAR channels.
        gsd_m: metres per pixel.
        title: says what the data are.
        reference: (H, W) class index; left out where nobody knows.
    """
    if landcover.shape != sar.shape[1:] or (reference is not None and reference.shape != landcover.shape):
        raise SardinoError(f"a scene of {sar.shape[1:]} pixels and maps of {landcover.shape} are not of one place")
    shown = min(ACROSS, len(attention))
    side = WIDTH / ACROSS
    height = side * sar.shape[1] / sar.shape[2]
    figure = new_figure(WIDTH, 2 * height + 1.8)
    figure.suptitle(captioned(title, [legend]))
    tight(figure)
    grid = figure.subplots(3, ACROSS, squeeze=False, height_ratios=[1, 1, 0.12])
    bare(grid[0, 0]).imshow(sar_composite(sar, channels))
    grid[0, 0].set_title("Backscatter")
    scale_bar(grid[0, 0], sar.shape[2], gsd_m)
    north_arrow(grid[0, 0])
    maps: list[ClassPanel] = []
    for axes, index, name in zip(grid[0, 1:], (landcover, reference), ("Mapped", "Reference"), strict=True):
        if index is None:
            axes.remove()
            continue
        bare(axes).imshow(class_image(index, legend))
        axes.set_title(name)
        maps.append((axes, index, legend))
    for number, (axes, bar) in enumerate(zip(grid[1], grid[2], strict=True)):
        if number < shown:
            draw_attention(axes, attention[number], attention_scale([attention[number]]))
            axes.set_title(f"Head {number + 1}")
            attention_bar(figure, axes, bar, side, upright=False)
        else:
            axes.remove()
            bar.remove()
    numbered_legend(figure, maps, side)
    return figure
