"""Figures of places: predictions (Figure 2), splits (3), land cover (4), attention beside products (5), a scene."""

import math
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from pyproj import Transformer

from sardino.data.tiles.landcover import IGNORE, Legend
from sardino.data.tiles.radiometry import CHANNELS
from sardino.errors import SardinoError
from sardino.reporting.figures import panels as paint
from sardino.reporting.figures.panels import ClassPanel, Floats, Indices
from sardino.reporting.figures.style import WIDTH, new_figure, styled

PAGE = 10.2  # inches: the tallest figure that fits a page; one of many heads is longer, its panels not below SIDE
SIDE = 0.62
NARROW = 0.9  # inches: headings of narrower panels are broken
BAR = 0.16  # height of the scales below panels, of a panel's
ACROSS = 3  # panels in a row of a scene's figure
NOTHING = "not\navailable"  # on two lines: panels may be narrow
REFERENCE = "reference"  # the store's labels, beside the names of sardino.data.tiles.tile.LAYERS
CLASSES = (REFERENCE, "landcover_300m")  # layers of class indices
# Title, colour map and limits (None: the 1 % and 99 % of the values shown) of the layers that hold an amount.
AMOUNTS: dict[str, tuple[str, str, float | None, float | None]] = {
    "vegetation_percent": ("Vegetation (%)", "YlGn", 0.0, 100.0),
    "ndvi": ("NDVI", "YlGn", 0.0, 1.0),
    "biomass_t_ha": ("Biomass (t/ha)", "YlOrBr", 0.0, None),
    "built_percent": ("Built surface (%)", "magma_r", 0.0, 100.0),
    "elevation_m": ("Elevation (m)", "bone", None, None),
}
# Rows of Figure 5 in the paper's order, with their headings; the heads stand below the first.
ROWS = {"sar": "SAR", "rollout": "Attention\nrollout", "tokens": "Tokens (PCA)", "optical": "Optical"}
ROWS |= {REFERENCE: "Land cover", "landcover_300m": "Land cover\n300 m"}
ROWS |= {name: title.replace(" (", "\n(") for name, (title, *_) in AMOUNTS.items()}
# Colours of different lightness too, for print without colour.
SPLITS = {"train": ("#56B4E9", "Training"), "val": ("#E69F00", "Validation"), "test": ("#7B3294", "Test")}
PALE = 0.3  # opacity of tiles that are listed and have no pixels
MOST_VECTORS = 5000  # outlines that a PDF holds as such


@dataclass(frozen=True)
class PredictionRow:
    """One tile of Figure 2."""

    sar: Floats  # (C, H, W) backscatter in dB
    attention: Floats  # (heads, h, w) of the class token, 1 is an even spread
    from_attention: Indices  # (H, W) class index predicted from attention maps alone
    from_both: Indices  # (H, W) class index predicted from SAR with attention maps
    reference: Indices  # (H, W) class index
    placed: bool = True  # the tile's place on the earth is known, and its rows run from north to south


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

    `heads`: how many heads are shown: always the first ones, so that none is picked by eye; None for all.
    """
    if not rows:
        raise SardinoError("Figure 2 needs at least one tile")
    shown = min([len(rows[0].attention)] + ([] if heads is None else [heads]))
    names = ["SAR", *(f"Head {i + 1}" for i in range(shown)), "From attention", "From SAR\n+ attention", "Reference"]
    side = max(WIDTH / len(names), SIDE)
    size, shape = (side * len(names), side * len(rows) + 1.45), (len(rows) + 1, len(names))
    figure, grid = paint.map_grid(title, [legend], size, shape, height_ratios=[1] * len(rows) + [BAR])
    panels, bars = grid[:-1], grid[-1]
    scales = [paint.attention_scale([row.attention[head] for row in rows]) for head in range(shown)]
    maps: list[ClassPanel] = []
    for line, row in zip(panels, rows, strict=True):
        paint.draw_sar(line[0], row.sar, channels, gsd_m, row.placed)
        for axes, attention, scale in zip(line[1:], row.attention[:shown], scales, strict=False):
            paint.draw_attention(axes, attention, scale)
        for axes, index in zip(line[1 + shown :], (row.from_attention, row.from_both, row.reference), strict=True):
            maps.append(paint.draw_classes(axes, index, legend))
    for axes, name in zip(panels[0], names, strict=True):
        axes.set_title(textwrap.fill(name, 9) if side < NARROW else name)
    for column, bar in enumerate(bars):
        if 1 <= column <= shown:
            paint.attention_bar(figure, panels[0, column], bar, side, upright=False)
        else:
            bar.remove()
    paint.class_legend(figure, maps, side)
    return figure


@styled
def draw_splits(listed: pd.DataFrame, title: str, made: Collection[str] | None = None) -> Figure:
    """One map per region, its tiles coloured by split, with counts (paper, Figure 3).

    `listed`: of a tile store: columns id, region, crs, split, and geometry (tile outlines in EPSG:4326). `made`: ids of
    the tiles that have pixels, by default all; the others are pale.
    """
    listed = listed[listed["split"].isin(SPLITS)]  # without those that have no valid pixel
    if not len(listed):
        raise SardinoError("Figure 3 needs at least one tile")
    regions = list(dict.fromkeys(listed["region"]))
    pale = np.zeros(len(listed), bool) if made is None else ~listed["id"].isin(made).to_numpy()
    across = min(3, len(regions))
    down = -(-len(regions) // across)
    figure = new_figure(max(WIDTH * across / 3, 4.2), 2.75 * down + 0.7)
    figure.suptitle(title)
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for axes, region in zip(panels, regions, strict=False):
        rows = (listed["region"] == region).to_numpy()
        _draw_region(axes, str(region), listed[rows], pale[rows])
    for axes in panels[len(regions) :]:
        axes.remove()
    handles = [Patch(facecolor=colour, label=label) for colour, label in SPLITS.values()]
    handles += [Patch(facecolor="grey", alpha=PALE, label="Listed, without pixels")] * bool(pale.any())
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def placed_outlines(tiles: pd.DataFrame) -> tuple[NDArray[np.bool_], list[Floats], str]:
    """Which tiles of a region have a place, their outlines (n, 2) in km from their lower left, and the CRS of these.

    `tiles`: of a tile store: columns crs, and geometry in EPSG:4326.
    """
    known = (tiles["crs"].astype(bool) & tiles["geometry"].notna()).to_numpy()
    placed = tiles[known]
    if not len(placed):
        return known, [], ""
    crs = str(placed["crs"].mode().iloc[0])
    to_map = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    outlines = [np.column_stack(to_map.transform(*geometry.exterior.coords.xy)) for geometry in placed["geometry"]]
    origin = np.concatenate(outlines).min(0)
    return known, [(outline - origin) / 1000 for outline in outlines], crs


def _draw_region(axes: Axes, region: str, tiles: pd.DataFrame, pale: NDArray[np.bool_]) -> None:
    def counted(rows: pd.DataFrame) -> str:
        return ", ".join(f"{split} {(rows['split'] == split).sum()}" for split in SPLITS)

    known, outlines, crs = placed_outlines(tiles)
    placed = tiles[known]
    # "los-angeles" is Los Angeles; short keys are initials.
    name = region.upper() if region in ("conus", "usa") else region.replace("-", " ").replace("_", " ").title()
    pixels = f"\nwith pixels: {counted(tiles[~pale])}" * bool(pale.any())
    axes.set_title(f"{name}: {len(tiles)} tiles\n{counted(tiles)}{pixels}")
    if not len(placed):
        paint.not_available(axes, "tiles without coordinates")
        return
    alphas = np.where(pale[known], PALE, 1)
    colours = [to_rgba(SPLITS[split][0], alpha) for split, alpha in zip(placed["split"], alphas, strict=True)]
    span, sides = np.concatenate(outlines).max(0), [np.ptp(outline, axis=0).max() for outline in outlines]
    # A white gap would swallow tiles that are small on the map; those get an edge that enlarges them where they lie
    # scattered, and none where they fill the map.
    small, dense = np.median(sides) < span.max() / 60, np.sum(np.square(sides)) > span.prod() / 2
    style = {"edgecolors": colours if small else "white", "linewidths": (0.0 if dense else 0.8) if small else 0.3}
    many = {"rasterized": len(outlines) > MOST_VECTORS, "antialiased": not (small and dense)}
    axes.add_collection(PolyCollection(outlines, facecolors=colours, **style, **many))
    margin = 0.03 * span.max()
    axes.set(xlim=(-margin, span[0] + margin), ylim=(-margin, span[1] + margin), aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    axes.set(xlabel=f"Easting (km), {crs}", ylabel="Northing (km)")


@styled
def draw_landcover(labels: Indices, legend: Legend, gsd_m: float, title: str) -> Figure:
    """Reference maps in the legend's own colours (paper, Figure 4).

    `labels`: (n, H, W) class index, 255 where unlabelled. `title`: says what the labels are.
    """
    if labels.ndim != 3 or not len(labels):
        raise SardinoError(f"Figure 4 needs labels (n, H, W), not {labels.shape}")
    across = min(5, len(labels))
    down = math.ceil(len(labels) / across)
    side = min(WIDTH / across, 2.4)
    size = (max(side * across, 4.8), side * down * labels.shape[1] / labels.shape[2] + 1.2)
    figure, grid = paint.map_grid(title, [legend], size, (down, across))
    panels = grid.ravel()
    maps = [paint.draw_classes(axes, label, legend) for axes, label in zip(panels, labels, strict=False)]
    paint.scale_bar(panels[0], labels.shape[-1], gsd_m)
    for axes in panels[len(labels) :]:
        axes.remove()
    paint.class_legend(figure, maps, per_column=1.5)
    return figure


@dataclass(frozen=True)
class ComparisonColumn:
    """One place of Figure 5."""

    name: str  # heading
    sar: Floats  # (C, H, W) backscatter in dB
    attention: Floats  # (heads, h, w) of the class token
    layers: dict[str, NDArray[Any]] = field(default_factory=dict)  # those there are, by their names in LAYERS
    reference: Indices | None = None  # (H, W) class index
    legend: Legend | None = None  # of the reference and of a 300 m land-cover layer
    channels: Sequence[str] = CHANNELS
    gsd_m: float | None = 10.0  # metres per pixel; None where nothing tells, and no scale bar is drawn
    rollout: Floats | None = None  # (h, w) attention through all blocks, 1 is an even spread
    tokens: Floats | None = None  # (h, w, 3) as colours (sardino.evaluation.patches)
    placed: bool = True  # the tile's place on the earth is known, and its rows run from north to south
    model: str = ""  # whose attention it is: columns of one model share a colour scale

    def without_tokens(self) -> "ComparisonColumn":
        """The column as Figure 5 has it; rollout and tokens are for the supplement."""
        return replace(self, rollout=None, tokens=None)

    def weights(self, row: str) -> Floats | None:
        """What a row of attention shows, "Head 2" or "rollout"; None for any other row."""
        if row.startswith("Head "):
            return self.attention[int(row.split()[1]) - 1]
        return self.rollout if row == "rollout" else None

    def product(self, row: str) -> NDArray[Any] | None:
        """What a row below the heads shows; None where there is nothing."""
        own = {REFERENCE: self.reference, "rollout": self.rollout, "tokens": self.tokens}
        value = own[row] if row in own else self.layers.get(row)
        if value is None or (row in CLASSES and self.legend is None):
            return None
        return value if has_values(row, value) else None


@styled
def draw_comparison(columns: Sequence[ComparisonColumn], title: str, heads: int | None = 3) -> Figure:
    """SAR, attention maps, and every product that at least one column has (paper, Figure 5).

    `heads`: how many heads are shown: always the first ones, so that none is picked by eye; None for all.
    """
    if not columns:
        raise SardinoError("Figure 5 needs at least one column")
    shown = min([len(column.attention) for column in columns] + ([] if heads is None else [heads]))
    rows = ["sar", *(f"Head {i + 1}" for i in range(shown))]
    rows += [row for row in ROWS if any(column.product(row) is not None for column in columns)]
    side = max(min((WIDTH - 1.7) / len(columns), (PAGE - 1.5) / len(rows)), SIDE)
    size = (max(side * len(columns) + 1.7, 5.2), side * len(rows) + 1.5)
    # A narrow column of its own for the colour bars keeps the panels of all rows in line.
    ratios, legends = [1] * len(columns) + [0.1], [column.legend for column in columns]
    shape = (len(rows), len(columns) + 1)
    figure, grid = paint.map_grid(title, legends, size, shape, width_ratios=ratios, gap=(0.025, 0.025))
    maps: list[ClassPanel] = []
    for (*line, bar), row in zip(grid, rows, strict=True):
        line[0].set_ylabel(ROWS.get(row, row), rotation=0, ha="right", va="center", labelpad=6)
        if any(column.weights(row) is not None for column in columns):
            scales = _draw_weights(line, row, columns)
            paint.attention_bar(figure, next(axes for axes in line if axes.images), bar, side, alone=scales == 1)
            continue
        limits = _limits(row, columns)
        for axes, column in zip(line, columns, strict=True):
            _draw_product(axes, row, column, limits, maps)
        if limits is None:
            bar.remove()
        else:
            paint.colour_bar(figure, next(axes.images[0] for axes in line if axes.images), bar)
            bar.set_box_aspect(8)
    for axes, column in zip(grid[0, :-1], columns, strict=True):
        axes.set_title(textwrap.fill(column.name, max(8, int(side / 0.075)), break_long_words=False))
    paint.class_legend(figure, maps, side)
    return figure


def _draw_weights(line: Sequence[Axes], row: str, columns: Sequence[ComparisonColumn]) -> int:
    """A row of attention; how many scales it has, one a model: beside a sharp one, another's maps would look even."""
    maps: dict[str, list[Floats]] = {}
    for column in columns:
        if (weights := column.weights(row)) is not None:
            maps.setdefault(column.model, []).append(weights)
    scales = {model: paint.attention_scale(each) for model, each in maps.items()}
    for axes, column in zip(line, columns, strict=True):
        if (weights := column.weights(row)) is None:
            paint.not_available(axes, NOTHING)
        else:
            paint.draw_attention(axes, weights, scales[column.model])
    return len(scales)


def _limits(row: str, columns: Sequence[ComparisonColumn]) -> tuple[float, float] | None:
    """One colour scale for a whole row of an amount, so that columns can be compared."""
    if row not in AMOUNTS:
        return None
    floor, ceiling = AMOUNTS[row][2:]
    layers = [layer for column in columns if (layer := column.product(row)) is not None]
    low, high = np.nanpercentile(np.concatenate([np.ravel(layer) for layer in layers]), [1, 99])
    low = float(low) if floor is None else floor
    return low, max(low + 1, float(high)) if ceiling is None else ceiling


def _draw_product(
    axes: Axes, row: str, column: ComparisonColumn, limits: tuple[float, float] | None, maps: list[ClassPanel]
) -> None:
    if row == "sar":
        paint.draw_sar(axes, column.sar, column.channels, column.gsd_m, column.placed)
    elif (value := column.product(row)) is None:
        paint.not_available(axes, NOTHING)
    elif row == "optical":
        paint.bare(axes).imshow(np.moveaxis(value, 0, -1))
    elif row == "tokens":
        paint.bare(axes).imshow(value)
    elif row in AMOUNTS:
        paint.heat(axes, value, limits, cmap=AMOUNTS[row][1])
    elif column.legend is not None:
        maps.append(paint.draw_classes(axes, value, column.legend))


@styled
def draw_scene(
    sar: Floats,
    attention: Floats,
    landcover: Indices,
    channels: Sequence[str],
    legend: Legend,
    gsd_m: float,
    title: str,
    reference: Indices | None = None,
) -> Figure:
    """Two rows of maps of one place: SAR, map and reference; below them the attention of the first three heads.

    Args:
        sar: (C, H, W) backscatter in dB.
        attention: (heads, h, w), 1 is an even spread; of any size.
        landcover: (H, W) class index as mapped.
        gsd_m: metres per pixel.
        reference: (H, W) class index; left out where nobody knows.
    """
    if landcover.shape != sar.shape[1:] or (reference is not None and reference.shape != landcover.shape):
        raise SardinoError(f"a scene of {sar.shape[1:]} pixels and maps of {landcover.shape} are not of one place")
    side = WIDTH / ACROSS
    size = (WIDTH, 2 * side * sar.shape[1] / sar.shape[2] + 1.8)
    figure, grid = paint.map_grid(title, [legend], size, (3, ACROSS), height_ratios=[1, 1, 0.12])
    paint.draw_sar(grid[0, 0], sar, channels, gsd_m, placed=True)
    grid[0, 0].set_title("Backscatter")
    maps: list[ClassPanel] = []
    for axes, index, name in zip(grid[0, 1:], (landcover, reference), ("Mapped", "Reference"), strict=True):
        if index is None:
            axes.remove()
            continue
        maps.append(paint.draw_classes(axes, index, legend))
        axes.set_title(name)
    for number, (axes, bar) in enumerate(zip(grid[1], grid[2], strict=True)):
        if number >= len(attention):
            axes.remove()
            bar.remove()
            continue
        paint.draw_attention(axes, attention[number], paint.attention_scale([attention[number]]))
        axes.set_title(f"Head {number + 1}")
        paint.attention_bar(figure, axes, bar, side, upright=False)
    paint.class_legend(figure, maps, side)
    return figure


def has_values(name: str, values: NDArray[Any]) -> bool:
    """Whether a tile holds anything of a layer: a store of several sites fills what one lacks with nodata."""
    if name in CLASSES:
        return bool((values != IGNORE).any())
    return bool((values != 0).any() if name == "optical" else np.isfinite(values).any())
