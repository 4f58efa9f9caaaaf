"""Attention as a picture: one logarithmic scale per head, the same in all tiles, and a bar that says where even is."""

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
LEAST = 1.02
"""Times an even spread: no scale is narrower on either side."""
APART = {True: 0.14, False: 0.3}
"""Inches, of an upright bar and of one that lies: numbers nearer to each other would touch."""


def attention_scale(maps: Sequence[NDArray[np.floating]]) -> LogNorm:
    """Colours of one head's maps, in all tiles alike: from their 2 % to their 98 %, an even spread always among them.

    Args:
        maps: (h, w) each, relative to an even spread.
    """
    values = np.concatenate([np.ravel(each) for each in maps]).astype(np.float64)
    values = values[np.isfinite(values) & (values > 0)]
    low, high = np.percentile(values, [2, 98]) if values.size else (1.0, 1.0)
    return LogNorm(min(float(low), 1 / LEAST), max(float(high), LEAST))


def draw_attention(axes: Axes, attention: NDArray[np.floating], scale: LogNorm) -> None:
    """One head's map of one tile."""
    bare(axes).imshow(np.maximum(attention, scale.vmin or 1e-9), norm=scale, cmap=CMAP)


def attention_bar(
    figure: Figure, axes: Axes, bar: Axes, inches: float, upright: bool = True, alone: bool = True
) -> None:
    """The scale of a panel's map in a panel of its own; 1 is named as even.

    Args:
        axes: with a map that `draw_attention` drew.
        bar: where the scale goes.
        inches: its length.
        upright: beside the panels, else below them.
        alone: no panel of the row has another scale; else the ends have no numbers, which would not hold for all.
    """
    drawn = axes.images[0]
    scale = figure.colorbar(drawn, cax=bar, orientation="vertical" if upright else "horizontal")
    scale.outline.set_linewidth(0.4)
    low, high = float(drawn.norm.vmin or 1), float(drawn.norm.vmax or 1)
    ticks = _ticks(low, high, APART[upright] / inches)
    long = scale.long_axis
    long.set_major_locator(FixedLocator(list(ticks)))
    long.set_minor_locator(NullLocator())
    long.set_minor_formatter(NullFormatter())
    bar.tick_params(length=2, pad=1.5, labelsize=7)
    bar.set_box_aspect(8 if upright else 1 / 8)
    if not alone:
        long.set_major_locator(FixedLocator([low, high]))
        long.set_ticklabels(["least", "most"])
        return
    if upright:
        long.set_ticklabels(["1 = even" if tick == 1 else text for tick, text in ticks.items()])
        return
    long.set_ticklabels(list(ticks.values()))
    bar.set_xlabel("1 = even", fontsize=7, labelpad=1)
    for tick, label in zip(ticks, bar.get_xticklabels(), strict=True):
        # Numbers at the ends stay within the panel's width, so that all columns are of one width.
        place = np.log(tick / low) / np.log(high / low) * inches
        label.set_horizontalalignment("left" if place < 0.15 else "right" if place > inches - 0.15 else "center")


def _ticks(low: float, high: float, apart: float) -> dict[float, str]:
    """Places of a scale with their numbers: even, and each end that is not too near to it (a share of the scale)."""
    room = apart * np.log(high / low)
    ticks = {low: _number(low)} if -np.log(low) > room else {}
    ticks[1.0] = "1"
    return ticks | ({high: _number(high)} if np.log(high) > room else {})


def _number(value: float) -> str:
    return f"{value:.3g}" if 0.9 < value < 1.1 else f"{value:.2g}"
