"""A map from a few clicks, beside what it was made from and what is there."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from sardino.data.tiles.landcover import Legend
from sardino.errors import SardinoError
from sardino.reporting.figures import panels as paint
from sardino.reporting.figures.style import INK, WIDTH, styled


@styled
def draw_clicks(
    sar: NDArray[np.floating],
    colours: NDArray[np.floating],
    mapped: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    clicks: tuple[NDArray[np.int64], NDArray[np.int64]],
    channels: Sequence[str],
    legend: Legend,
    gsd_m: float,
    title: str,
) -> Figure:
    """Four maps of one place: backscatter with the clicks, tokens as colours, the map, and the truth.

    Args:
        sar: (C, H, W) dB.
        colours: (h, w, 3) of the patches' tokens, from 0 to 1.
        mapped, truth: (h, w) class index by patches.
        clicks: rows and columns of patches, shown in the colour of their truth.
    """
    if not colours.shape[:2] == mapped.shape == truth.shape:
        raise SardinoError(f"colours of {colours.shape} and maps of {mapped.shape}, {truth.shape} are not of one place")
    side = WIDTH / 2
    size = (WIDTH, 2 * side * sar.shape[1] / sar.shape[2] + 1.3)
    figure, ((first, second), (third, fourth)) = paint.map_grid(title, [legend], size, (2, 2), gap=(0.05, 0.05))
    paint.draw_sar(first, sar, channels, gsd_m, placed=True)
    cell, (rows, columns) = sar.shape[1] / len(truth), clicks
    points = first.scatter(
        (columns + 0.5) * cell - 0.5, (rows + 0.5) * cell - 0.5, s=34, linewidths=1.4, edgecolors="white", zorder=4,
        c=[legend.colors[index] for index in truth[rows, columns]],
    )  # fmt: skip
    points.set_path_effects([withStroke(linewidth=2.6, foreground=INK)])
    first.set_title(f"Backscatter, and {len(rows)} clicks")
    paint.bare(second).imshow(colours)
    second.set_title("Tokens: their first three components as colours")
    maps = [paint.draw_classes(axes, index, legend) for axes, index in ((third, mapped), (fourth, truth))]
    third.set_title("Mapped from the clicks")
    fourth.set_title("What is there")
    paint.class_legend(figure, maps, side)
    return figure
