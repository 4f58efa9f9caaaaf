"""Labels and reference layers of a tile from a STAC API: WorldCover, and those of Figure 5 that catalogues have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sardino.scenes.source import LeftOut
from sardino.scenes.stac.catalogue import begin
from sardino.tiles.grid import Tile
from sardino.tiles.landcover import IGNORE, WORLDCOVER

if TYPE_CHECKING:
    from sardino.scenes.stac.source import StacSource

WORLDCOVER_VERSIONS = {2020: "1.0.0", 2021: "2.0.0"}
"""Version of each year's map; two algorithms, so that their difference is no change on the ground."""
FOREIGN = 0.001
"""Largest share of codes that WorldCover does not have; more is another product."""
CARBON_FRACTION = 0.47
"""Carbon in dry biomass (IPCC 2006 guidelines, volume 4, table 4.3): HGB maps carbon, the layer biomass."""
CLEAREST = 8
"""Least cloudy images that are tried to fill a tile."""


@dataclass(frozen=True)
class LayerRecipe:
    """Where a catalogue keeps a reference layer."""

    collection: str
    asset: str
    resampling: str


LAYER_RECIPES = {
    "optical": LayerRecipe("sentinel-2-l2a", "visual", "bilinear"),
    "landcover_300m": LayerRecipe("esa-cci-lc", "lccs_class", "nearest"),
    "biomass_t_ha": LayerRecipe("hgb", "aboveground", "nearest"),
}
"""Layers of LAYERS that the Planetary Computer has, under its names."""

# ESA CCI land cover (LCCS codes, product user guide) in WorldCover's classes; mosaics go with their larger part.
_LCCS = {
    10: (50, 60, 61, 62, 70, 71, 72, 80, 81, 82, 90, 100, 160),
    20: (120, 121, 122),
    30: (110, 130),
    40: (10, 11, 12, 20, 30, 40),
    50: (190,),
    60: (150, 151, 152, 153, 200, 201, 202),
    70: (220,),
    80: (210,),
    90: (180,),
    95: (170,),
    100: (140,),
}


def read_label(source: StacSource, tile: Tile, geobox: Any) -> NDArray[np.uint8]:
    """(H, W) class index of WorldCover at a tile, nearest neighbour; IGNORE where it has nothing.

    Raises:
        LeftOut: the collection has no map here, or that of another year or version, or holds another product.
    """
    if not source.label_collection:
        return np.full(tile.shape, IGNORE, np.uint8)
    name, year = source.label_collection, source.labels_of
    items = source.catalogue.search(name, tile, "2000-01-01", "2099-12-31")
    fit = [item for item in items if _edition(item)[0] == year and _edition(item)[1] in ("", WORLDCOVER_VERSIONS[year])]
    if not fit:
        there = ", ".join(sorted({" ".join(map(str, _edition(item))).strip() for item in items})) or "nothing"
        raise LeftOut(f"{name} has {there} here, needed is {year} {WORLDCOVER_VERSIONS[year]}: choose the label year")
    codes = _read(source, fit, "map", geobox, "nearest", "uint8", 0)
    foreign = sorted(set(np.unique(codes)) - {0, *WORLDCOVER.codes})
    if foreign and np.isin(codes, foreign).mean() > FOREIGN:
        listed = ", ".join(map(str, foreign[:5]))
        raise LeftOut(f"{name} holds the codes {listed}, which WorldCover does not have: it is another product")
    label = WORLDCOVER.encode(codes)
    if (label == IGNORE).all():
        raise LeftOut(f"{name} of {year} is empty here: there is nothing to learn from in this tile")
    return label


def read_layer(source: StacSource, layer: str, tile: Tile, geobox: Any) -> NDArray[Any]:
    """A reference layer of a tile in the units of LAYERS; filled with nodata where the catalogue has none."""
    recipe = LAYER_RECIPES[layer]
    span = ("2000-01-01", "2099-12-31")
    if layer == "optical":
        span = (f"{source.year}-06-01", f"{source.year}-08-31")
    items = source.catalogue.search(recipe.collection, tile, *span)
    items = [item for item in items if recipe.asset in item.assets]
    if layer == "optical":
        items = sorted(items, key=lambda item: (item.properties.get("eo:cloud_cover", 100.0), item.id))[:CLEAREST]
        return _optical(source, items, recipe, tile, geobox)
    years = {abs(_edition(item)[0] - source.year) for item in items}
    items = [item for item in items if abs(_edition(item)[0] - source.year) == min(years)]
    if layer == "landcover_300m":
        if not items:
            return np.full(tile.shape, IGNORE, np.uint8)
        return _worldcover_index(_read(source, items, recipe.asset, geobox, recipe.resampling, "uint8", 0))
    if not items:
        return np.full(tile.shape, np.nan, np.float32)
    counts = _read(source, items, recipe.asset, geobox, recipe.resampling, "uint16", 65535)
    carbon = np.where(counts == 65535, np.nan, counts * np.float32(_scale(items[0], recipe.asset, 0.1)))
    return (carbon / np.float32(CARBON_FRACTION)).astype(np.float32)


def _optical(source: StacSource, items: list[Any], recipe: LayerRecipe, tile: Tile, geobox: Any) -> NDArray[np.uint8]:
    """(3, H, W) uint8: the least cloudy image of summer, its gaps filled from the next."""
    image = np.zeros((3, *tile.shape), np.uint8)
    for item in items:
        bands = [f"{recipe.asset}.{number}" for number in (1, 2, 3)]
        found = _planes(source, [item], bands, geobox, recipe.resampling, "uint8", 0)
        image = np.where((image == 0).all(0), found, image)
        if not (image == 0).all(0).any():
            break
    return image


def _worldcover_index(lccs: NDArray[np.uint8]) -> NDArray[np.uint8]:
    table = np.full(256, IGNORE, np.uint8)
    for code, members in _LCCS.items():
        table[list(members)] = WORLDCOVER.codes.index(code)
    return table[lccs]


def _read(
    source: StacSource, items: list[Any], asset: str, geobox: Any, resampling: str, dtype: str, nodata: int
) -> NDArray[Any]:
    """(H, W) of one band: neighbouring maps joined, the first that has a value."""
    return _planes(source, items, [asset], geobox, resampling, dtype, nodata)[0]


def _planes(
    source: StacSource, items: list[Any], bands: list[str], geobox: Any, resampling: str, dtype: str, nodata: int
) -> NDArray[Any]:
    from sardino.scenes.stac.cog import load

    found = load(
        items,
        bands,
        geobox,
        policy=source.catalogue.policy,
        resampling=resampling,
        dtype=dtype,
        nodata=nodata,
        groupby=_together,
    )
    return np.stack([found[band].values[0] for band in found.data_vars])


def _together(item: Any, parsed: Any, index: int) -> int:
    return 0


def _edition(item: Any) -> tuple[int, str]:
    """Year and product version, the latter "" where unstated."""
    return begin(item).year, str(item.properties.get("esa_worldcover:product_version", ""))


def _scale(item: Any, asset: str, default: float) -> float:
    bands = item.assets[asset].extra_fields.get("raster:bands") or [{}]
    return float(bands[0].get("scale", default))
