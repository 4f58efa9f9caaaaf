"""Figure 3: where tiles learn and where they judge."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from pyproj import Transformer

from sardino.errors import SardinoError
from sardino.reporting.figures.panels import not_available
from sardino.reporting.figures.style import WIDTH, new_figure, styled

SPLITS = {"train": ("#56B4E9", "Training"), "val": ("#E69F00", "Validation"), "test": ("#7B3294", "Test")}
"""Colours of different lightness too, for print without colour."""


@styled
def draw_splits(index: pd.DataFrame, title: str) -> Figure:
    """One map per region, its tiles coloured by split, with counts (paper, Figure 3).

    Args:
        index: of a tile store: columns region, crs, split, and geometry (tile outlines in EPSG:4326).
        title: says what the data are.
    """
    if not len(index):
        raise SardinoError("Figure 3 needs at least one tile")
    regions = list(dict.fromkeys(index["region"]))
    across = min(3, len(regions))
    down = -(-len(regions) // across)
    figure = new_figure(max(WIDTH * across / 3, 4.2), 2.75 * down + 0.7)
    figure.suptitle(title)
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for axes, region in zip(panels, regions, strict=False):
        _draw_region(axes, str(region), index[index["region"] == region])
    for axes in panels[len(regions) :]:
        axes.remove()
    handles = [Patch(facecolor=colour, label=label) for colour, label in SPLITS.values()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _draw_region(axes: Axes, region: str, tiles: pd.DataFrame) -> None:
    counts = {split: int((tiles["split"] == split).sum()) for split in SPLITS}
    shares = ", ".join(f"{split} {n}" for split, n in counts.items())
    placed = tiles[tiles["crs"].astype(bool) & tiles["geometry"].notna()]
    axes.set_title(f"{_heading(region)}: {len(tiles)} tiles\n{shares}")
    if not len(placed):
        not_available(axes, "tiles without coordinates")
        return
    crs = str(placed["crs"].mode().iloc[0])
    to_map = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    outlines = [np.column_stack(to_map.transform(*geometry.exterior.coords.xy)) for geometry in placed["geometry"]]
    origin = np.concatenate(outlines).min(0)
    outlines = [(outline - origin) / 1000 for outline in outlines]
    colours = [SPLITS[split][0] for split in placed["split"]]
    span = np.concatenate(outlines).max(0)
    # A white gap would swallow tiles that are small on the map; those get an edge that enlarges them instead.
    small = np.median([np.ptp(outline, axis=0).max() for outline in outlines]) < span.max() / 60
    style = {"edgecolors": colours if small else "white", "linewidths": 0.8 if small else 0.3}
    axes.add_collection(PolyCollection(outlines, facecolors=colours, **style))
    margin = 0.03 * span.max()
    axes.set(xlim=(-margin, span[0] + margin), ylim=(-margin, span[1] + margin), aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    axes.set(xlabel=f"Easting (km), {crs}", ylabel="Northing (km)")


def _heading(region: str) -> Any:
    """A region's key as a heading: "los-angeles" to "Los Angeles"; short keys are initials."""
    return region.upper() if region in ("conus", "usa") else region.replace("-", " ").replace("_", " ").title()
