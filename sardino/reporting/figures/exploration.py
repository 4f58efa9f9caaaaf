"""The explorer's figures: a place as radar sees it, where the model looks, what another product says; whole scenes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from sardino.data.tiles.landcover import Legend
from sardino.reporting.figures import panels as paint
from sardino.reporting.figures.places import AMOUNTS, CLASSES, REFERENCE
from sardino.reporting.figures.style import INK, STYLE, captioned

ATTENTION, SIMILARITY = "times an even share (1 = even)", "cosine similarity of tokens (1 = alike)"
"""Units of a map."""
TITLES = {"optical": "Optical image", "landcover_300m": "Land cover at 300 m"}
TITLES |= {name: title for name, (title, *_) in AMOUNTS.items()}
# Inches. Panels stay where they are whatever is shown, so that nothing jumps under the pointer.
EXPLORED_SIDE, GAP, MARGIN, TOP, BOTTOM = 2.95, 0.3, 0.1, 0.3, 1.05
# A screen has fewer dots to an inch than paper.
LEGIBLE = rc_context({**STYLE, "axes.titlesize": 9.5, "axes.labelsize": 8.5, "xtick.labelsize": 8})
SIZE = (3 * EXPLORED_SIDE + 2 * GAP + 2 * MARGIN, EXPLORED_SIDE + TOP + BOTTOM)


@dataclass(frozen=True)
class Exploration:
    """One look at one place: a tile, or a window of a scene."""

    sar: NDArray[np.floating]  # (C, H, W) backscatter in dB, of the channels named
    channels: Sequence[str]
    map: NDArray[np.floating]  # (h, w) over equal cells of the place, in the unit below
    said: str  # what the map is, its heading
    patch: tuple[int, int] | None  # (row, column) of the cell that looks; None where no single cell does
    layer: str  # REFERENCE or a name of sardino.data.tiles.tile.LAYERS
    values: NDArray[Any] | None  # of the layer, (3, H, W) uint8 for "optical", else (H, W); None where there is none
    legend: Legend  # of the labels
    gsd_m: float | None = None  # metres per pixel; None where unknown
    unit: str = ATTENTION  # or SIMILARITY, of the map
    synthetic: bool = False  # backscatter and layers are of the synthetic world

    @property
    def cell(self) -> tuple[float, float]:
        """(height, width) of a patch in pixels."""
        return self.sar.shape[1] / self.map.shape[0], self.sar.shape[2] / self.map.shape[1]


def empty_figure(dpi: float = 90) -> Figure:
    """The figure that `draw_exploration` fills again and again; dots per inch of a screen with one dot per pixel."""
    return Figure(figsize=SIZE, dpi=dpi, facecolor="white")


def layer_title(layer: str, legend: Legend) -> str:
    """A layer's name for people; labels that were computed from an image say so."""
    return captioned(legend.name, [legend]) if layer == REFERENCE else TITLES.get(layer, layer)


@LEGIBLE
def draw_exploration(seen: Exploration, figure: Figure) -> Figure:
    """Three panels, one pixel grid: SAR, map, layer; the looking patch is framed in each of them.

    `figure`: of `empty_figure`; what it held is replaced.
    """
    figure.clear()
    places = [_place(number, BOTTOM, EXPLORED_SIDE, EXPLORED_SIDE) for number in range(3)]
    sar, middle, layer = panels = [paint.bare(figure.add_axes(place)) for place in places]
    sar.imshow(paint.sar_composite(seen.sar, seen.channels))
    origin = " (synthetic)" if seen.synthetic else ""  # on the panels, as pictures of them travel alone
    sar.set_title(f"Radar backscatter{origin}")
    if seen.gsd_m is not None:
        paint.scale_bar(sar, seen.sar.shape[-1], seen.gsd_m)
    height, width = seen.sar.shape[1:]
    over_the_tile = (-0.5, width - 0.5, height - 0.5, -0.5)
    alike = seen.unit == SIMILARITY
    # The patch itself is 1; what is least alike has a scale's other end.
    scale: dict[str, Any] = {"limits": (float(seen.map.min()), 1.0), "cmap": "magma"} if alike else {"cmap": "viridis"}
    drawn = paint.heat(middle, seen.map, extent=over_the_tile, **scale)
    middle.set_title(seen.said)
    _bar(figure, 1, drawn, seen.unit, extend="neither" if alike else "both")
    _draw_layer(figure, layer, seen)
    layer.set_title(f"{layer_title(seen.layer, seen.legend)}{origin}")
    for axes in panels:
        axes.set(xlim=over_the_tile[:2], ylim=over_the_tile[2:])
        if seen.patch is not None:
            height, width = seen.cell
            corner = (seen.patch[1] * width - 0.5, seen.patch[0] * height - 0.5)
            # White round black: it shows on any ground and needs no colour.
            for colour, line in (("white", 3.4), ("black", 1.4)):
                frame = Rectangle(corner, width, height, fill=False, edgecolor=colour, linewidth=line, zorder=5)
                axes.add_patch(frame)
    return figure


def patch_at(x: float, y: float, seen: Exploration) -> tuple[int, int]:
    """(row, column) of the patch at a point of a panel, in pixels of the tile; the nearest one for its very edge."""
    height, width = seen.cell
    row, column = int((y + 0.5) // height), int((x + 0.5) // width)
    rows, columns = seen.map.shape
    return min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)


@LEGIBLE
def draw_scene_overview(picture: NDArray[np.floating] | None, shape: tuple[int, int], title: str) -> Figure:
    """A whole scene to choose a window of, its axes in pixels.

    `picture`: (h, w, 3) from 0 to 1 of all of it, however coarse; None for the frame alone. `shape`: (rows, columns).
    """
    rows, columns = shape
    tallest, widest = 3.0, SIZE[0] - 1.2
    scale = min(tallest / rows, widest / columns)
    figure = Figure((columns * scale + 1.2, rows * scale + 1), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    edges = (-0.5, columns - 0.5, rows - 0.5, -0.5)
    if picture is not None:
        axes.imshow(picture, extent=edges)
    axes.set(xlim=edges[:2], ylim=edges[2:], aspect="equal", xlabel="column (px)", ylabel="row (px)", title=title)
    return figure


def _place(number: int, bottom: float, width: float, height: float) -> tuple[float, float, float, float]:
    """A box in the column of a panel, in the figure's own unit."""
    left = MARGIN + number * (EXPLORED_SIDE + GAP) + (EXPLORED_SIDE - width) / 2
    return left / SIZE[0], bottom / SIZE[1], width / SIZE[0], height / SIZE[1]


def _bar(figure: Figure, number: int, drawn: ScalarMappable, unit: str, extend: str = "neither") -> None:
    axes = figure.add_axes(_place(number, BOTTOM - 0.25, 0.85 * EXPLORED_SIDE, 0.11))
    style = {"orientation": "horizontal", "extend": extend, "ticks": MaxNLocator(5)}
    paint.colour_bar(figure, drawn, axes, **style).set_label(unit, color=INK, labelpad=2)


def _draw_layer(figure: Figure, axes: Axes, seen: Exploration) -> None:
    values, name = seen.values, seen.layer
    if values is None:
        paint.not_available(axes, "there is none here")
        axes.set(aspect="auto")
    elif name == "optical":
        axes.imshow(np.moveaxis(values, 0, -1))
    elif name in CLASSES:
        axes.imshow(paint.class_image(values, seen.legend))
        handles = paint.class_handles([(values, seen.legend)])
        below = _place(2, 0, EXPLORED_SIDE + 0.1, BOTTOM - 0.08)
        spacing = {"borderaxespad": 0, "handlelength": 1.2, "columnspacing": 1.0, "labelspacing": 0.25}
        figure.legend(handles=handles, loc="upper center", bbox_to_anchor=below, ncols=2, **spacing)
    else:
        _, colours, floor, ceiling = AMOUNTS.get(name, ("", "cividis", None, None))
        limits = None if floor is None or ceiling is None else (floor, ceiling)
        _bar(figure, 2, paint.heat(axes, values, limits, cmap=colours), layer_title(name, seen.legend))
