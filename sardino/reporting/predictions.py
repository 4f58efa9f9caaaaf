"""Figure 2: what goes into the models and what comes out."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

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

SIDE = 0.62
"""Inches: no panel is smaller; a figure of many heads is then wider than a page."""
NARROW = 0.9
"""Inches: headings of narrower panels are broken."""
BAR = 0.16
"""Height of the scales, of a panel's."""


@dataclass(frozen=True)
class PredictionRow:
    """One tile of Figure 2.

    Args:
        sar: (C, H, W) backscatter in dB.
        attention: (heads, h, w) class-token attention, 1 is an even spread.
        from_attention, from_both: (H, W) class index predicted from attention maps, and from SAR with them.
        reference: (H, W) class index.
        placed: the tile's place on the earth is known, and its rows run from north to south.
    """

    sar: NDArray[np.floating]
    attention: NDArray[np.floating]
    from_attention: NDArray[np.uint8]
    from_both: NDArray[np.uint8]
    reference: NDArray[np.uint8]
    placed: bool = True


@styled
def draw_predictions(
    rows: Sequence[PredictionRow],
    channels: Sequence[str],
    legend: Legend,
    gsd_m: float,
    title: str,
    heads: int | None = 3,
) -> Figure:
    """SAR, attention maps, both predictions and the reference, one row a tile (paper, Figure 2).

    Args:
        channels: names of the SAR channels.
        gsd_m: metres per pixel.
        title: says what the data are.
        heads: how many heads are shown: always the first ones, so that none is picked by eye; None for all.
    """
    if not rows:
        raise SardinoError("Figure 2 needs at least one tile")
    shown = min([len(rows[0].attention)] + ([] if heads is None else [heads]))
    names = ["SAR", *(f"Head {i + 1}" for i in range(shown)), "From attention", "From SAR\n+ attention", "Reference"]
    side = max(WIDTH / len(names), SIDE)
    figure = new_figure(side * len(names), side * len(rows) + 1.45)
    figure.suptitle(captioned(title, [legend]))
    tight(figure)
    grid = figure.subplots(len(rows) + 1, len(names), squeeze=False, height_ratios=[1] * len(rows) + [BAR])
    panels, bars = grid[:-1], grid[-1]
    scales = [attention_scale([row.attention[head] for row in rows]) for head in range(shown)]
    maps: list[ClassPanel] = []
    for line, row in zip(panels, rows, strict=True):
        bare(line[0]).imshow(sar_composite(row.sar, channels))
        scale_bar(line[0], row.sar.shape[-1], gsd_m)
        if row.placed:
            north_arrow(line[0])
        for axes, attention, scale in zip(line[1:], row.attention[:shown], scales, strict=False):
            draw_attention(axes, attention, scale)
        for axes, index in zip(line[1 + shown :], (row.from_attention, row.from_both, row.reference), strict=True):
            bare(axes).imshow(class_image(index, legend))
            maps.append((axes, index, legend))
    for axes, name in zip(panels[0], names, strict=True):
        axes.set_title(textwrap.fill(name, 9) if side < NARROW else name)
    for column, bar in enumerate(bars):
        if 1 <= column <= shown:
            attention_bar(figure, panels[0, column], bar, side, upright=False)
        else:
            bar.remove()
    numbered_legend(figure, maps, side)
    return figure
