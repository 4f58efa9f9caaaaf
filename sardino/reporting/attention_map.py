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
STEPS = (1.02, 1.05, 1.1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Multiples of an even spread, and their inverses, that a bar may name."""
APART = 0.25
"""Of a bar's length: numbers nearer to each other would touch."""


def attention_scale(maps: Sequence[NDArray[np.floating]]) -> LogNorm:
    """Colours of one head's maps, in all tiles alike: from their 2 % to their 98 %, an even spread always among them.

    Args:
        maps: (h, w) each, relative to an even spread.
    """
    values = np.concatenate([np.ravel(each) for each in maps]).astype(np.float64)
    values = values[np.isfinite(values) & (values > 0)]
    low, high = np.percentile(values, [2, 98]) if values.size else (1.0, 1.0)
    return LogNorm(min(float(low), 1 / STEPS[0]), max(float(high), STEPS[0]))


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
    scale = figure.colorbar(drawn, cax=bar, orientation="vertical" if upright else "horizontal")
    scale.outline.set_linewidth(0.4)
    ticks = _ticks(float(drawn.norm.vmin or 1), float(drawn.norm.vmax or 1))
    long = scale.long_axis
    long.set_major_locator(FixedLocator(list(ticks)))
    long.set_minor_locator(NullLocator())
    long.set_minor_formatter(NullFormatter())
    bar.tick_params(length=2, pad=1.5, labelsize=7)
    bar.set_box_aspect(8 if upright else 1 / 8)
    if upright:
        long.set_ticklabels(["1 = even" if tick == 1 else text for tick, text in ticks.items()])
        return
    long.set_ticklabels(list(ticks.values()))
    bar.set_xlabel("1 = even", fontsize=7, labelpad=1)
    for tick, label in zip(ticks, bar.get_xticklabels(), strict=True):
        # Numbers at the ends stay within the panel's width, so that all columns are of one width.
        label.set_horizontalalignment("center" if tick == 1 else "left" if tick < 1 else "right")


def _ticks(low: float, high: float) -> dict[float, str]:
    """Places of a scale with their numbers: even, and one step to each side where there is room."""
    room = APART * np.log(high / low)
    below = max((step for step in STEPS if 1 / step >= low * (1 - 1e-9)), default=1.0)
    above = max((step for step in STEPS if step <= high * (1 + 1e-9)), default=1.0)
    ticks = {1 / below: f"1/{below:g}"} if np.log(below) > room else {}
    ticks[1.0] = "1"
    return ticks | ({float(above): f"{above:g}"} if np.log(above) > room else {})
