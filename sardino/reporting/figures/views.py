"""A tile and the views that DINO's networks see of it (paper, section 2)."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sardino.errors import SardinoError
from sardino.reporting.figures.panels import sar_composite
from sardino.reporting.figures.style import WIDTH, new_figure, styled
from sardino.reporting.record import provenance


@styled
def draw_views(
    tile_db: NDArray[np.floating],
    large: Sequence[NDArray[np.floating]],
    small: Sequence[NDArray[np.floating]],
    channels: Sequence[str],
    *,
    synthetic: bool,
) -> Figure:
    """The tile, its large views (student and teacher) and its small ones (student alone), at one scale of pixels.

    Args:
        tile_db: (C, H, W) dB.
        large, small: (C, h, w) views; normalised or not, as each picture is stretched by itself.
        channels: names of the C channels.
        synthetic: whether the tile is of the synthetic world.
    """
    if not large:
        raise SardinoError("there is no view to draw: a recipe has at least one global crop")
    pictures = [("tile", tile_db), *(("student, teacher", v) for v in large), *(("student", v) for v in small)]
    shares = [picture.shape[-1] for _, picture in pictures]
    figure = new_figure(WIDTH, 0.45 + (WIDTH - 0.3) * max(shares) / (sum(shares) + 4 * len(shares)))
    figure.suptitle(f"One tile and its views ({provenance(synthetic=synthetic)})")
    panels = figure.subplots(1, len(pictures), width_ratios=shares, squeeze=False)[0]
    for axes, (title, picture) in zip(panels, pictures, strict=True):
        axes.imshow(sar_composite(picture, channels), interpolation="nearest")
        axes.set_title(title, fontsize=7)
        axes.set_anchor("N")
        axes.set_axis_off()
    return figure
