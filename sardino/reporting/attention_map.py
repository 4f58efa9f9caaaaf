"""Attention as a picture: one scale per head, the same distance up and down from an even spread, and its bar."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from sardino.reporting.imagery import bare

CMAP = "cividis"
"""Even steps in lightness, in grey too and with any colour vision."""
STEPS = (1.02, 1.05, 1.1, 1.2, 1.5, 2, 3, 5, 10, 20, 50)
"""Multiples of an even spread that a bar may name."""


def attention_scale(maps: Sequence[NDArray[np.floating]]) -> LogNorm:
    """Colours of one head's maps, in all tiles alike: logarithmic, an even spread in the middle.

    Args:
        maps: (h, w) each, relative to an even spread.
    """
    values = np.concatenate([np.ravel(each) for each in maps]).astype(np.float64)
    values = values[np.isfinite(values) & (values > 0)]
    low, high = np.percentile(values, [2, 98]) if values.size else (1.0, 1.0)
    reach = max(high, 1 / low, STEPS[0])
    return LogNorm(1 / reach, reach)


def draw_attention(axes: Axes, attention: NDArray[np.floating], scale: LogNorm) -> None:
    """One head's map of one tile."""
    bare(axes).imshow(np.maximum(attention, scale.vmin or 1e-9), norm=scale, cmap=CMAP)


def attention_bar(figure: Figure, axes: Axes, bar: Axes, upright: bool = True) -> None:
    """The scale of a panel's map in a panel of its own; 1 is named as even.

    Args:
        axes: with a map that `draw_attention` drew.
        bar: where the scale goes.
        upright: beside the panels, else below them.
    """
    drawn = axes.images[0]
    top = float(drawn.norm.vmax or 1)
    step = max([each for each in STEPS if each <= top], default=STEPS[0])
    scale = figure.colorbar(drawn, cax=bar, orientation="vertical" if upright else "horizontal")
    scale.outline.set_linewidth(0.4)
    long = scale.long_axis
    long.set_major_locator(FixedLocator([1 / step, 1, step]))
    long.set_minor_locator(NullLocator())
    long.set_minor_formatter(NullFormatter())
    long.set_ticklabels([f"1/{step:g}", "1 = even", f"{step:g}"])
    bar.tick_params(length=2, pad=1.5, labelsize=7)
    bar.set_box_aspect(8 if upright else 1 / 8)
