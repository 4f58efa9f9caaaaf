"""Figure 2: what goes into the models and what comes out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sardino.errors import SardinoError
from sardino.reporting.imagery import bare, class_image, class_legend, heat, sar_composite, scale_bar, tight
from sardino.reporting.provenance import captioned
from sardino.reporting.style import WIDTH, new_figure, styled
from sardino.tiles.landcover import Legend


@dataclass(frozen=True)
class PredictionRow:
    """One tile of Figure 2.

    Args:
        sar: (C, H, W) backscatter in dB.
        attention: (heads, h, w) class-token attention.
        from_attention, from_both: (H, W) class index predicted from attention maps, and from SAR with them.
        reference: (H, W) class index.
    """

    sar: NDArray[np.floating]
    attention: NDArray[np.floating]
    from_attention: NDArray[np.uint8]
    from_both: NDArray[np.uint8]
    reference: NDArray[np.uint8]


@styled
def draw_predictions(
    rows: Sequence[PredictionRow], channels: Sequence[str], legend: Legend, gsd_m: float, title: str, heads: int = 3
) -> Figure:
    """SAR, attention maps, both predictions and the reference, one row a tile (paper, Figure 2).

    Args:
        channels: names of the SAR channels.
        gsd_m: metres per pixel.
        title: says what the data are.
        heads: how many heads are shown: always the first ones, so that none is picked by eye.
    """
    if not rows:
        raise SardinoError("Figure 2 needs at least one tile")
    shown = min(heads, len(rows[0].attention))
    names = ["SAR", *(f"Head {i + 1}" for i in range(shown)), "From attention", "From SAR\n+ attention", "Reference"]
    side = WIDTH / len(names)
    figure = new_figure(WIDTH, side * len(rows) + 1.25)
    figure.suptitle(captioned(title, [legend]))
    tight(figure)
    panels = figure.subplots(len(rows), len(names), squeeze=False)
    maps = []
    for line, row in zip(panels, rows, strict=True):
        bare(line[0]).imshow(sar_composite(row.sar, channels))
        scale_bar(line[0], row.sar.shape[-1], gsd_m)
        for axes, attention in zip(line[1:], row.attention[:shown], strict=False):
            heat(axes, attention, cmap="viridis")
        for axes, index in zip(line[1 + shown :], (row.from_attention, row.from_both, row.reference), strict=True):
            bare(axes).imshow(class_image(index, legend))
            maps.append((index, legend))
    for axes, name in zip(panels[0], names, strict=True):
        axes.set_title(name)
    class_legend(figure, maps)
    return figure
