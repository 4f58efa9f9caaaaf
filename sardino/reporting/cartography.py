"""What makes a picture a map: where north is, and class numbers that survive a print in grey."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from sardino.reporting.imagery import class_handles
from sardino.reporting.style import INK
from sardino.tiles.landcover import Legend

ClassPanel = tuple[Axes, NDArray[np.uint8], Legend]
"""A panel that shows a class map, its indices (H, W) and their legend."""
ROOM = 0.055
"""Inches: half of what a number needs around it."""


def north_arrow(axes: Axes) -> None:
    """An arrow to the north of the tile's grid, in the upper right corner: rows of tiles run from north to south."""
    box = {"boxstyle": "square,pad=0.25", "facecolor": "white", "alpha": 0.85, "linewidth": 0}
    axes.annotate(
        "N",
        xy=(0.9, 0.97),
        xytext=(0, -20),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=7,
        color=INK,
        bbox=box,
        arrowprops={"arrowstyle": "-|>", "color": INK, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0},
    )


def numbered_legend(figure: Figure, panels: Sequence[ClassPanel], inches: float) -> None:
    """The classes that occur, numbered, below all panels; and each number on its largest area, where it has room.

    Official colours of different classes are the same grey: a print needs the numbers.

    Args:
        inches: side of a panel.
    """
    handles = class_handles((index, legend) for _, index, legend in panels)
    numbers: dict[tuple[str, str], int] = {}
    for handle in handles:
        name, colour = str(handle.get_label()), _hex(handle)
        if name != "No label":
            numbers[name, colour] = len(numbers) + 1
            handle.set_label(f"{len(numbers)} {name}")
    for axes, index, legend in panels:
        for place, each in enumerate(legend.classes):
            if number := numbers.get((each.name, _key(each.color))):
                _mark(axes, index == place, ROOM / inches, str(number), each.color)
    if handles:
        columns = max(1, min(len(handles), round(figure.get_figwidth() / 1.6)))
        names = ", ".join(dict.fromkeys(legend.name for _, _, legend in panels))
        found = figure.legend(handles=handles, loc="outside lower center", ncols=columns, columnspacing=1.4)
        found.set_title(names, {"size": 7.5})


def _mark(axes: Axes, mask: NDArray[np.bool_], room: float, text: str, colour: str) -> None:
    """The number at the point of a class that lies deepest in it."""
    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    if depth[row, column] < room * mask.shape[1]:
        return
    lightness = float(np.dot(to_rgb(colour), (0.299, 0.587, 0.114)))
    ink = "white" if lightness < 0.5 else "black"
    axes.text(float(column), float(row), text, ha="center", va="center_baseline", fontsize=7, color=ink)


def _hex(handle: Patch) -> str:
    return _key(handle.get_facecolor())


def _key(colour: object) -> str:
    return "".join(f"{round(255 * part):02x}" for part in to_rgb(colour))
