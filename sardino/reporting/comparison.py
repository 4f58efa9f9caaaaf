"""Figure 5: attention maps above what other sensors and products show of the same place."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sardino.errors import SardinoError
from sardino.reporting.attention_map import attention_bar, attention_scale, draw_attention
from sardino.reporting.cartography import ClassPanel, north_arrow, numbered_legend
from sardino.reporting.imagery import bare, class_image, heat, not_available, sar_composite, scale_bar, tight
from sardino.reporting.provenance import captioned
from sardino.reporting.style import WIDTH, new_figure, styled
from sardino.tiles.landcover import IGNORE, Legend
from sardino.tiles.radiometry import CHANNELS

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
        layers: reference layers by name (sardino.tiles.chip.LAYERS), those there are.
        reference: (H, W) class index, with its legend; also the legend of a 300 m land-cover layer.
        channels: names of the SAR channels.
        gsd_m: metres per pixel; None where nothing tells, and no scale bar is drawn.
        rollout: (h, w) attention rolled out through all blocks, 1 is an even spread.
        tokens: (h, w, 3) tokens as colours (sardino.evaluation.token_pca).
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
