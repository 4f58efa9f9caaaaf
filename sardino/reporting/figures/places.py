"""Figure 5: attention maps above what other sensors and products show of the same place."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from sardino.data.tiles.landcover import IGNORE, Legend
from sardino.data.tiles.radiometry import CHANNELS
from sardino.errors import SardinoError
from sardino.reporting.figures.panels import (
    ClassPanel,
    attention_bar,
    attention_scale,
    bare,
    class_handles,
    class_image,
    class_legend,
    draw_attention,
    heat,
    north_arrow,
    not_available,
    numbered_legend,
    sar_composite,
    scale_bar,
    tight,
)
from sardino.reporting.figures.style import INK, STYLE, WIDTH, captioned, new_figure, styled

PAGE = 10.2
"""Inches: the tallest figure that still fits a page; one of many heads is longer, its panels no smaller than SIDE."""
SIDE = 0.62
NOTHING = "not\navailable"
"""On two lines: panels may be narrow."""
AMOUNTS: dict[str, tuple[str, str, float | None, float | None]] = {
    "vegetation_percent": ("Vegetation (%)", "YlGn", 0.0, 100.0),
    "ndvi": ("NDVI", "YlGn", 0.0, 1.0),
    "biomass_t_ha": ("Biomass (t/ha)", "YlOrBr", 0.0, None),
    "built_percent": ("Built surface (%)", "magma_r", 0.0, 100.0),
    "elevation_m": ("Elevation (m)", "bone", None, None),
}
"""Title, colour map and limits (None: the 1 % and 99 % of the values shown) of the layers that hold an amount."""


@dataclass(frozen=True)
class ComparisonColumn:
    """One place of Figure 5.

    Args:
        name: column heading.
        sar: (C, H, W) backscatter in dB.
        attention: (heads, h, w) class-token attention.
        layers: reference layers by name (sardino.data.tiles.tile.LAYERS), those there are.
        reference: (H, W) class index, with its legend; also the legend of a 300 m land-cover layer.
        channels: names of the SAR channels.
        gsd_m: metres per pixel; None where nothing tells, and no scale bar is drawn.
        rollout: (h, w) attention rolled out through all blocks, 1 is an even spread.
        tokens: (h, w, 3) tokens as colours (sardino.evaluation.token_colours).
        placed: the tile's place on the earth is known, and its rows run from north to south.
        model: whose attention it is: columns of one model share a colour scale.
    """

    name: str
    sar: NDArray[np.floating]
    attention: NDArray[np.floating]
    layers: dict[str, NDArray[Any]] = field(default_factory=dict)
    reference: NDArray[np.uint8] | None = None
    legend: Legend | None = None
    channels: Sequence[str] = CHANNELS
    gsd_m: float | None = 10.0
    rollout: NDArray[np.floating] | None = None
    tokens: NDArray[np.floating] | None = None
    placed: bool = True
    model: str = ""

    def without_tokens(self) -> "ComparisonColumn":
        """The column as Figure 5 has it; rollout and tokens are for the supplement."""
        return replace(self, rollout=None, tokens=None)


@styled
def draw_comparison(columns: Sequence[ComparisonColumn], title: str, heads: int | None = 3) -> Figure:
    """SAR, attention maps, and every product that at least one column has (paper, Figure 5).

    Args:
        title: says what the data are.
        heads: how many heads are shown: always the first ones, so that none is picked by eye; None for all.
    """
    if not columns:
        raise SardinoError("Figure 5 needs at least one column")
    shown = min([len(column.attention) for column in columns] + ([] if heads is None else [heads]))
    rows = ["sar", *(f"head {i + 1}" for i in range(shown)), *_products(columns)]
    side = max(min((WIDTH - 1.7) / len(columns), (PAGE - 1.5) / len(rows)), SIDE)
    figure = new_figure(max(side * len(columns) + 1.7, 5.2), side * len(rows) + 1.5)
    figure.suptitle(captioned(title, (column.legend for column in columns)))
    tight(figure, rows=0.025, columns=0.025)
    # A narrow column of its own for the colour bars keeps the panels of all rows in line.
    grid = figure.subplots(len(rows), len(columns) + 1, squeeze=False, width_ratios=[1] * len(columns) + [0.1])
    panels, bars = grid[:, :-1], grid[:, -1]
    maps: list[ClassPanel] = []
    for line, bar, row in zip(panels, bars, rows, strict=True):
        line[0].set_ylabel(_row_title(row), rotation=0, ha="right", va="center", labelpad=6)
        if weights := _weights(row, columns):
            scales = _scales(columns, weights)
            for axes, column, each in zip(line, columns, weights, strict=True):
                if each is None:
                    not_available(axes, NOTHING)
                else:
                    draw_attention(axes, each, scales[column.model])
            first = next(axes for axes in line if axes.images)
            attention_bar(figure, first, bar, side, alone=len(scales) == 1)
            continue
        limits = _limits(row, columns)
        for axes, column in zip(line, columns, strict=True):
            _draw(axes, row, column, limits, maps)
        if limits is None:
            bar.remove()
        else:
            drawn = next(axes.images[0] for axes in line if axes.images)
            figure.colorbar(drawn, cax=bar).outline.set_linewidth(0.4)
            bar.set_box_aspect(8)
            bar.tick_params(length=2, pad=1.5)
    for axes, column in zip(panels[0], columns, strict=True):
        axes.set_title(textwrap.fill(column.name, max(8, int(side / 0.075)), break_long_words=False))
        if column.gsd_m is not None:
            scale_bar(axes, column.sar.shape[-1], column.gsd_m)
        if column.placed:
            north_arrow(axes)
    numbered_legend(figure, maps, side)
    return figure


def _products(columns: Sequence[ComparisonColumn]) -> list[str]:
    """Rows below the attention maps, in the paper's order: those that at least one column has."""
    order = ("rollout", "tokens", "optical", "reference", "landcover_300m", *AMOUNTS)
    return [name for name in order if any(_product(column, name) is not None for column in columns)]


def _product(column: ComparisonColumn, name: str) -> NDArray[Any] | None:
    own = {"reference": column.reference, "rollout": column.rollout, "tokens": column.tokens}
    value = own[name] if name in own else column.layers.get(name)
    needs_legend = name in ("reference", "landcover_300m")
    if value is None or (needs_legend and column.legend is None):
        return None
    # A store of several sites fills what a site lacks with nodata.
    nothing = IGNORE if needs_legend else 0 if name == "optical" else None
    there = np.isfinite(value) if nothing is None else value != nothing
    return value if there.any() else None


def _row_title(row: str) -> str:
    fixed = {"sar": "SAR", "optical": "Optical", "reference": "Land cover", "landcover_300m": "Land cover\n300 m"}
    fixed |= {"rollout": "Attention\nrollout", "tokens": "Tokens (PCA)"}
    if row in AMOUNTS:
        return AMOUNTS[row][0].replace(" (", "\n(")
    return fixed.get(row, row.capitalize())


def _limits(row: str, columns: Sequence[ComparisonColumn]) -> tuple[float, float] | None:
    """One colour scale for a whole row, so that columns can be compared."""
    if row not in AMOUNTS:
        return None
    floor, ceiling = AMOUNTS[row][2:]
    layers = [layer for column in columns if (layer := _product(column, row)) is not None]
    values = np.concatenate([np.ravel(layer) for layer in layers])
    low, high = np.nanpercentile(values, [1, 99])
    low = float(low) if floor is None else floor
    return low, max(low + 1, float(high)) if ceiling is None else ceiling


def _weights(row: str, columns: Sequence[ComparisonColumn]) -> list[NDArray[np.floating] | None]:
    """The maps of a row of attention; none where the row shows something else."""
    if row == "rollout":
        return [column.rollout for column in columns]
    return [column.attention[int(row.split()[1]) - 1] for column in columns] if row.startswith("head ") else []


def _scales(columns: Sequence[ComparisonColumn], weights: Sequence[NDArray[np.floating] | None]) -> dict[str, LogNorm]:
    """A scale for each model: beside one that attends sharply, another's maps would all look even."""
    maps: dict[str, list[NDArray[np.floating]]] = {}
    for column, each in zip(columns, weights, strict=True):
        if each is not None:
            maps.setdefault(column.model, []).append(each)
    return {model: attention_scale(each) for model, each in maps.items()}


def _draw(
    axes: Axes,
    row: str,
    column: ComparisonColumn,
    limits: tuple[float, float] | None,
    maps: list[ClassPanel],
) -> None:
    if row == "sar":
        bare(axes).imshow(sar_composite(column.sar, column.channels))
    elif (value := _product(column, row)) is None:
        not_available(axes, NOTHING)
    elif row == "optical":
        bare(axes).imshow(np.moveaxis(value, 0, -1))
    elif row == "tokens":
        bare(axes).imshow(value)
    elif row in AMOUNTS:
        heat(axes, value, limits, cmap=AMOUNTS[row][1])
    elif column.legend is not None:
        bare(axes).imshow(class_image(value, column.legend))
        maps.append((axes, value, column.legend))


# Figure 2: what goes into the models and what comes out.

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


# Figure 4: example land-cover maps.


@styled
def draw_landcover(labels: NDArray[np.uint8], legend: Legend, gsd_m: float, title: str, columns: int = 5) -> Figure:
    """Reference maps in the legend's own colours (paper, Figure 4).

    Args:
        labels: (n, H, W) class index, 255 where unlabelled.
        gsd_m: metres per pixel.
        title: says what the labels are.
        columns: maps side by side.
    """
    if labels.ndim != 3 or not len(labels):
        raise SardinoError(f"Figure 4 needs labels (n, H, W), not {labels.shape}")
    across = min(columns, len(labels))
    down = math.ceil(len(labels) / across)
    side = min(WIDTH / across, 2.4)
    figure = new_figure(max(side * across, 4.8), side * down * labels.shape[1] / labels.shape[2] + 1.2)
    figure.suptitle(captioned(title, [legend]))
    tight(figure)
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for axes, label in zip(panels, labels, strict=False):
        bare(axes).imshow(class_image(label, legend))
    scale_bar(panels[0], labels.shape[-1], gsd_m)
    for axes in panels[len(labels) :]:
        axes.remove()
    class_legend(figure, [(label, legend) for label in labels])
    return figure


# A scene and the maps made of it: backscatter, attention of the first heads, land cover, and what is there.

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


# What the explorer draws: a tile as radar sees it, where the model looks, and what another product says is there.

REFERENCE = "reference"
"""The store's labels, beside the names of sardino.data.tiles.tile.LAYERS."""
TITLES = {"optical": "Optical image", "landcover_300m": "Land cover at 300 m"} | {
    n: t for n, (t, *_) in AMOUNTS.items()
}
EXPLORED_SIDE, GAP, MARGIN, TOP, BOTTOM = 2.95, 0.3, 0.1, 0.3, 1.05
"""Inches. Panels stay where they are whatever is shown, so that nothing jumps under the pointer."""
LEGIBLE = rc_context({**STYLE, "axes.titlesize": 9.5, "axes.labelsize": 8.5, "xtick.labelsize": 8})
"""A screen has fewer dots to an inch than paper."""
SIZE = (3 * EXPLORED_SIDE + 2 * GAP + 2 * MARGIN, EXPLORED_SIDE + TOP + BOTTOM)


@dataclass(frozen=True)
class Exploration:
    """One look at one tile.

    Args:
        sar: (C, H, W) backscatter in dB, of the channels named.
        attention: (h, w) over equal cells of the tile; 1 is an even spread.
        said: what the attention map is, its heading.
        patch: (row, column) of the cell that looks; None where no single cell does.
        layer: REFERENCE or a name of sardino.data.tiles.tile.LAYERS.
        values: the layer's pixels, (3, H, W) uint8 for "optical", else (H, W); None where the tile has none.
        legend: of the labels.
        gsd_m: metres per pixel; None where unknown.
    """

    sar: NDArray[np.floating]
    channels: Sequence[str]
    attention: NDArray[np.floating]
    said: str
    patch: tuple[int, int] | None
    layer: str
    values: NDArray[Any] | None
    legend: Legend
    gsd_m: float | None = None

    @property
    def cell(self) -> tuple[float, float]:
        """(height, width) of a patch in pixels."""
        return self.sar.shape[1] / self.attention.shape[0], self.sar.shape[2] / self.attention.shape[1]


def empty_figure(dpi: float = 90) -> Figure:
    """The figure that `draw_exploration` fills again and again; dots per inch of a screen with one dot per pixel."""
    return Figure(figsize=SIZE, dpi=dpi, facecolor="white")


def layer_title(layer: str, legend: Legend) -> str:
    """A layer's name for people; labels that were computed from an image say so."""
    return captioned(legend.name, [legend]) if layer == REFERENCE else TITLES.get(layer, layer)


@LEGIBLE
def draw_exploration(seen: Exploration, figure: Figure) -> Figure:
    """Three panels, one pixel grid: SAR, attention, layer; the looking patch is framed in each of them.

    Args:
        seen: what to show.
        figure: of `empty_figure`; what it held is replaced.
    """
    figure.clear()
    sar, attention, layer = panels = [_panel(figure, number) for number in range(3)]
    sar.imshow(sar_composite(seen.sar, seen.channels))
    sar.set_title("Radar backscatter")
    if seen.gsd_m is not None:
        scale_bar(sar, seen.sar.shape[-1], seen.gsd_m)
    height, width = seen.sar.shape[1:]
    over_the_tile = (-0.5, width - 0.5, height - 0.5, -0.5)
    drawn = heat(attention, seen.attention, cmap="viridis", extent=over_the_tile)
    attention.set_title(seen.said)
    _bar(figure, 1, drawn, "times an even share (1 = even)", extend="both")
    layer.set_title(layer_title(seen.layer, seen.legend))
    _draw_layer(figure, layer, seen)
    for axes in panels:
        axes.set(xlim=over_the_tile[:2], ylim=over_the_tile[2:])
        if seen.patch is not None:
            _frame(axes, seen)
    return figure


def patch_at(x: float, y: float, seen: Exploration) -> tuple[int, int]:
    """(row, column) of the patch at a point of a panel, in pixels of the tile; the nearest one for its very edge."""
    height, width = seen.cell
    row, column = int((y + 0.5) // height), int((x + 0.5) // width)
    rows, columns = seen.attention.shape
    return min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)


def _panel(figure: Figure, number: int) -> Axes:
    return bare(figure.add_axes(_place(number, BOTTOM, EXPLORED_SIDE, EXPLORED_SIDE)))


def _place(number: int, bottom: float, width: float, height: float) -> tuple[float, float, float, float]:
    """A box in the column of a panel, in the figure's own unit."""
    left = MARGIN + number * (EXPLORED_SIDE + GAP) + (EXPLORED_SIDE - width) / 2
    return left / SIZE[0], bottom / SIZE[1], width / SIZE[0], height / SIZE[1]


def _bar(figure: Figure, number: int, drawn: ScalarMappable, unit: str, extend: str = "neither") -> None:
    axes = figure.add_axes(_place(number, BOTTOM - 0.25, 0.85 * EXPLORED_SIDE, 0.11))
    bar = figure.colorbar(drawn, cax=axes, orientation="horizontal", extend=extend, ticks=MaxNLocator(5))
    bar.outline.set_linewidth(0.4)
    bar.set_label(unit, color=INK, labelpad=2)
    axes.tick_params(length=2, pad=1.5)


def _draw_layer(figure: Figure, axes: Axes, seen: Exploration) -> None:
    values, name = seen.values, seen.layer
    if values is None:
        axes.set_title(layer_title(name, seen.legend))
        not_available(axes, "this tile has none")
        axes.set(aspect="auto")
    elif name == "optical":
        axes.imshow(np.moveaxis(values, 0, -1))
    elif name in (REFERENCE, "landcover_300m"):
        axes.imshow(class_image(values, seen.legend))
        left, bottom, width, height = _place(2, 0, EXPLORED_SIDE + 0.1, BOTTOM - 0.08)
        figure.legend(
            handles=class_handles([(values, seen.legend)]),
            loc="upper center",
            bbox_to_anchor=(left, bottom, width, height),
            ncols=2,
            borderaxespad=0,
            handlelength=1.2,
            columnspacing=1.0,
            labelspacing=0.25,
        )
    else:
        _, colours, floor, ceiling = AMOUNTS.get(name, ("", "cividis", None, None))
        limits = None if floor is None or ceiling is None else (floor, ceiling)
        _bar(figure, 2, heat(axes, values, limits, cmap=colours), layer_title(name, seen.legend))


def _frame(axes: Axes, seen: Exploration) -> None:
    """White round black: it shows on any ground and needs no colour."""
    height, width = seen.cell
    row, column = seen.patch or (0, 0)
    corner = (column * width - 0.5, row * height - 0.5)
    for colour, line in (("white", 3.4), ("black", 1.4)):
        axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=colour, linewidth=line, zorder=5))


def has_values(name: str, values: NDArray[Any]) -> bool:
    """Whether a tile holds anything of a layer: a store of several sites fills what one lacks with nodata."""
    if name in (REFERENCE, "landcover_300m"):
        return bool((values != IGNORE).any())
    return bool((values != 0).any() if name == "optical" else np.isfinite(values).any())
