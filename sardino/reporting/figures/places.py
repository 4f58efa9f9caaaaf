"""Figures of places: predictions (Figure 2), land cover (4), attention beside other products (5), a scene."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sardino.data.tiles.landcover import IGNORE, Legend
from sardino.data.tiles.radiometry import CHANNELS
from sardino.errors import SardinoError
from sardino.reporting.figures.panels import (
    ClassPanel,
    attention_bar,
    attention_scale,
    bare,
    class_legend,
    draw_attention,
    draw_classes,
    draw_sar,
    heat,
    map_grid,
    not_available,
    scale_bar,
)
from sardino.reporting.figures.style import WIDTH, styled

PAGE = 10.2
"""Inches: the tallest figure that still fits a page; one of many heads is longer, its panels no smaller than SIDE."""
SIDE = 0.62
NARROW = 0.9
"""Inches: headings of narrower panels are broken."""
BAR = 0.16
"""Height of the scales below panels, of a panel's."""
ACROSS = 3
"""Panels in a row of a scene's figure."""
NOTHING = "not\navailable"
"""On two lines: panels may be narrow."""
REFERENCE = "reference"
"""The store's labels, beside the names of sardino.data.tiles.tile.LAYERS."""
CLASSES = (REFERENCE, "landcover_300m")
"""Layers of class indices."""
AMOUNTS: dict[str, tuple[str, str, float | None, float | None]] = {
    "vegetation_percent": ("Vegetation (%)", "YlGn", 0.0, 100.0),
    "ndvi": ("NDVI", "YlGn", 0.0, 1.0),
    "biomass_t_ha": ("Biomass (t/ha)", "YlOrBr", 0.0, None),
    "built_percent": ("Built surface (%)", "magma_r", 0.0, 100.0),
    "elevation_m": ("Elevation (m)", "bone", None, None),
}
"""Title, colour map and limits (None: the 1 % and 99 % of the values shown) of the layers that hold an amount."""


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
        title: says what the data are.
        heads: how many heads are shown: always the first ones, so that none is picked by eye; None for all.
    """
    if not rows:
        raise SardinoError("Figure 2 needs at least one tile")
    shown = min([len(rows[0].attention)] + ([] if heads is None else [heads]))
    names = ["SAR", *(f"Head {i + 1}" for i in range(shown)), "From attention", "From SAR\n+ attention", "Reference"]
    side = max(WIDTH / len(names), SIDE)
    size = (side * len(names), side * len(rows) + 1.45)
    shape = (len(rows) + 1, len(names))
    figure, grid = map_grid(title, [legend], size, shape, height_ratios=[1] * len(rows) + [BAR])
    panels, bars = grid[:-1], grid[-1]
    scales = [attention_scale([row.attention[head] for row in rows]) for head in range(shown)]
    maps: list[ClassPanel] = []
    for line, row in zip(panels, rows, strict=True):
        draw_sar(line[0], row.sar, channels, gsd_m, row.placed)
        for axes, attention, scale in zip(line[1:], row.attention[:shown], scales, strict=False):
            draw_attention(axes, attention, scale)
        for axes, index in zip(line[1 + shown :], (row.from_attention, row.from_both, row.reference), strict=True):
            maps.append(draw_classes(axes, index, legend))
    for axes, name in zip(panels[0], names, strict=True):
        axes.set_title(textwrap.fill(name, 9) if side < NARROW else name)
    for column, bar in enumerate(bars):
        if 1 <= column <= shown:
            attention_bar(figure, panels[0, column], bar, side, upright=False)
        else:
            bar.remove()
    class_legend(figure, maps, side)
    return figure


@styled
def draw_landcover(labels: NDArray[np.uint8], legend: Legend, gsd_m: float, title: str, columns: int = 5) -> Figure:
    """Reference maps in the legend's own colours (paper, Figure 4).

    Args:
        labels: (n, H, W) class index, 255 where unlabelled.
        title: says what the labels are.
        columns: maps side by side.
    """
    if labels.ndim != 3 or not len(labels):
        raise SardinoError(f"Figure 4 needs labels (n, H, W), not {labels.shape}")
    across = min(columns, len(labels))
    down = math.ceil(len(labels) / across)
    side = min(WIDTH / across, 2.4)
    size = (max(side * across, 4.8), side * down * labels.shape[1] / labels.shape[2] + 1.2)
    figure, grid = map_grid(title, [legend], size, (down, across))
    panels = grid.ravel()
    maps = [draw_classes(axes, label, legend) for axes, label in zip(panels, labels, strict=False)]
    scale_bar(panels[0], labels.shape[-1], gsd_m)
    for axes in panels[len(labels) :]:
        axes.remove()
    class_legend(figure, maps, per_column=1.5)
    return figure


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
        tokens: (h, w, 3) tokens as colours (sardino.evaluation.patches).
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
    size = (max(side * len(columns) + 1.7, 5.2), side * len(rows) + 1.5)
    # A narrow column of its own for the colour bars keeps the panels of all rows in line.
    ratios, legends = [1] * len(columns) + [0.1], [column.legend for column in columns]
    shape = (len(rows), len(columns) + 1)
    figure, grid = map_grid(title, legends, size, shape, width_ratios=ratios, gap=(0.025, 0.025))
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
    class_legend(figure, maps, side)
    return figure


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
    side = WIDTH / ACROSS
    size = (WIDTH, 2 * side * sar.shape[1] / sar.shape[2] + 1.8)
    figure, grid = map_grid(title, [legend], size, (3, ACROSS), height_ratios=[1, 1, 0.12])
    draw_sar(grid[0, 0], sar, channels, gsd_m, placed=True)
    grid[0, 0].set_title("Backscatter")
    maps: list[ClassPanel] = []
    for axes, index, name in zip(grid[0, 1:], (landcover, reference), ("Mapped", "Reference"), strict=True):
        if index is None:
            axes.remove()
            continue
        maps.append(draw_classes(axes, index, legend))
        axes.set_title(name)
    for number, (axes, bar) in enumerate(zip(grid[1], grid[2], strict=True)):
        if number >= len(attention):
            axes.remove()
            bar.remove()
            continue
        draw_attention(axes, attention[number], attention_scale([attention[number]]))
        axes.set_title(f"Head {number + 1}")
        attention_bar(figure, axes, bar, side, upright=False)
    class_legend(figure, maps, side)
    return figure


def has_values(name: str, values: NDArray[Any]) -> bool:
    """Whether a tile holds anything of a layer: a store of several sites fills what one lacks with nodata."""
    if name in CLASSES:
        return bool((values != IGNORE).any())
    return bool((values != 0).any() if name == "optical" else np.isfinite(values).any())


def _products(columns: Sequence[ComparisonColumn]) -> list[str]:
    """Rows below the attention maps, in the paper's order: those that at least one column has."""
    order = ("rollout", "tokens", "optical", "reference", "landcover_300m", *AMOUNTS)
    return [name for name in order if any(_product(column, name) is not None for column in columns)]


def _product(column: ComparisonColumn, name: str) -> NDArray[Any] | None:
    own = {"reference": column.reference, "rollout": column.rollout, "tokens": column.tokens}
    value = own[name] if name in own else column.layers.get(name)
    if value is None or (name in CLASSES and column.legend is None):
        return None
    return value if has_values(name, value) else None


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
        draw_sar(axes, column.sar, column.channels, column.gsd_m, column.placed)
    elif (value := _product(column, row)) is None:
        not_available(axes, NOTHING)
    elif row == "optical":
        bare(axes).imshow(np.moveaxis(value, 0, -1))
    elif row == "tokens":
        bare(axes).imshow(value)
    elif row in AMOUNTS:
        heat(axes, value, limits, cmap=AMOUNTS[row][1])
    elif column.legend is not None:
        maps.append(draw_classes(axes, value, column.legend))
