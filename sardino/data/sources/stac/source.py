"""Tiles from any STAC API that serves terrain-corrected Sentinel-1: search, read, composite, label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sardino.data.sources.seasonal_composite import (
    ERODE_PX,
    HOLE_PX,
    MEASURED,
    METHODS,
    Method,
    composite_chip,
    in_year,
    season_of,
    seasonal_composite,
)
from sardino.data.sources.source import LeftOut, SourceChip
from sardino.data.sources.stac.catalogue import Catalogue, begin
from sardino.data.tiles.landcover import IGNORE, WORLDCOVER, Legend
from sardino.data.tiles.radiometry import CHANNELS, SEASONS
from sardino.data.tiles.tile import Tile
from sardino.errors import SardinoError

# Labels and reference layers of a tile from a STAC API: WorldCover, and those of Figure 5 that catalogues have.

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
    from sardino.data.sources.stac.read import load

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


BRIGHTEST = 10.0
"""Linear power above which a whole scene's median cannot be: 10 dB. Amplitude counts lie far beyond."""


@dataclass(frozen=True)
class StacSource:
    """Seasonal composites with WorldCover labels from a STAC API.

    Args:
        year: winter starts in December of the year before.
        catalogue: the API; the Planetary Computer by default.
        orbit: "ascending" or "descending"; the two look from different sides and are never mixed.
        collection: of Sentinel-1 scenes in linear power, on a map grid.
        assets: names of the VV and the VH asset.
        quantity: what the collection holds, "gamma0" or "sigma0"; never taken from values.
        composite: "mean" in linear power, or "median".
        erode_px: taken off at each pass's border.
        resampling: of power to the tile's grid; where grids coincide pixels are copied.
        needed: seasons without which a tile is left out.
        min_valid: smallest share of a tile's pixels that each needed season must cover.
        label_collection: WorldCover; "" for tiles without labels.
        label_year: 2020 or 2021; the scenes' year where None.
        layers: reference layers to add, from LAYER_RECIPES.
        exclude: ids of scenes to do without.
        threads: files read at once for a tile.
    """

    year: int
    catalogue: Catalogue = field(default_factory=Catalogue)
    orbit: str = "ascending"
    collection: str = "sentinel-1-rtc"
    assets: tuple[str, str] = ("vv", "vh")
    quantity: str = "gamma0"
    composite: Method = "mean"
    erode_px: int = ERODE_PX
    resampling: str = "bilinear"
    needed: tuple[str, ...] = SEASONS
    min_valid: float = 0.5
    label_collection: str = "esa-worldcover"
    label_year: int | None = None
    layers: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    threads: int = field(default=4, compare=False)
    synthetic: bool = False

    def __post_init__(self) -> None:
        if not 2015 <= self.year <= 2100:
            raise SardinoError(f"Sentinel-1 has no whole year {self.year}: its first is 2015")
        if self.orbit not in ("ascending", "descending"):
            raise SardinoError(f"an orbit direction is ascending or descending, not '{self.orbit}'")
        if self.composite not in METHODS or self.quantity not in ("gamma0", "sigma0"):
            raise SardinoError(
                f"a composite is {' or '.join(METHODS)} of gamma0 or sigma0, not {self.composite} of {self.quantity}"
            )
        if self.label_collection and self.labels_of not in WORLDCOVER_VERSIONS:
            raise SardinoError(
                f"WorldCover exists for {' and '.join(map(str, WORLDCOVER_VERSIONS))}, not for {self.labels_of}: "
                f"choose the label year"
            )
        if unknown := set(self.layers) - set(LAYER_RECIPES):
            raise SardinoError(f"no recipe for the layer {min(unknown)}: there are {', '.join(LAYER_RECIPES)}")
        if unknown := set(self.needed) - set(SEASONS):
            raise SardinoError(f"'{min(unknown)}' is no season: there are {', '.join(SEASONS)}")

    @property
    def channels(self) -> tuple[str, ...]:
        return CHANNELS

    @property
    def legend(self) -> Legend:
        return WORLDCOVER

    @property
    def product(self) -> str:
        return f"Sentinel-1 {self.collection} {self.quantity}, seasonal {self.composite} of {self.orbit} passes"

    @property
    def labels_of(self) -> int:
        """Year of the label product."""
        return self.year if self.label_year is None else self.label_year

    def metadata(self) -> dict[str, Any]:
        """Every setting that changes a pixel."""
        facts = asdict(self)
        del facts["catalogue"], facts["threads"]
        facts["assets"], facts["needed"], facts["layers"], facts["exclude"] = (
            list(facts[name]) for name in ("assets", "needed", "layers", "exclude")
        )
        label = f"ESA WorldCover {self.labels_of}" if self.label_collection else "none"
        return facts | {"source": "stac", "url": self.catalogue.url, "product": self.product, "labels": label}

    def chip(self, tile: Tile) -> SourceChip:
        """The tile's twelve channels, labels and layers, read now.

        Raises:
            LeftOut: a season, the labels or a readable file is missing, by name.
            Transient: the server did not deliver.
        """
        notes: list[str] = []
        scenes = self.scenes(tile)
        label = read_label(self, tile, geobox(tile))
        series = self.series(tile, scenes, notes=notes)
        _check_power(series, self.collection)
        composite = seasonal_composite(series, self.year, self.composite, self.erode_px)
        layers = {name: read_layer(self, name, tile, geobox(tile)) for name in self.layers}
        return composite_chip(
            self.inner(composite),
            label,
            layers=layers,
            needed=self.needed,
            min_valid=self.min_valid,
            notes=sorted(set(notes)),
            source=self.collection,
        )

    def scenes(self, tile: Tile) -> list[Any]:
        """Items (pystac.Item) that count: IW, both polarisations, this orbit direction, this year of seasons."""
        found = self.catalogue.search(self.collection, tile, f"{self.year - 1}-12-01", f"{self.year}-12-01")
        found = [item for item in found if in_year(_utc([item]), self.year)[0]]
        unfit = {item.id: self._unfit(item) for item in found}
        kept = [item for item in found if not unfit[item.id]]
        if not kept:
            others = Counter(reason for reason in unfit.values() if reason)
            there = ", ".join(f"{count} {reason}" for reason, count in sorted(others.items())) or "no scene at all"
            raise LeftOut(f"{self.collection} has no {self.orbit} IW scene with vv and vh in {self.year} here: {there}")
        present = {season_of(begin(item).month) for item in kept}
        if absent := [season for season in self.needed if season not in present]:
            raise LeftOut(
                f"{self.collection} has no {self.orbit} scene in {', '.join(absent)} of {self.year} here: choose "
                f"another year or orbit direction, or do without the season"
            )
        return kept

    def series(
        self, tile: Tile, scenes: list[Any], chunks: Mapping[str, int] | None = None, notes: list[str] | None = None
    ) -> xr.Dataset:
        """The scenes on the tile's grid with a margin for the erosion, linear power; lazy where chunks are given."""
        from sardino.data.sources.stac.read import load

        series = load(
            scenes,
            self.assets,
            geobox(tile).pad(self.margin_px),
            policy=self.catalogue.policy,
            resampling=self.resampling,
            dtype="float32",
            nodata=-32768.0,
            threads=self.threads,
            chunks=chunks,
            notes=notes,
        )
        orbits = [int(item.properties.get("sat:relative_orbit", 0)) for item in scenes]
        series = series.rename(dict(zip(self.assets, MEASURED, strict=True)))
        series = series.assign_coords(relative_orbit=("time", orbits))
        return series.assign_attrs(quantity=self.quantity)

    @property
    def margin_px(self) -> int:
        """Pixels read beyond the tile, so that a border just outside is eroded inside as well."""
        return self.erode_px + HOLE_PX if self.erode_px else 0

    def inner(self, composite: xr.Dataset) -> xr.Dataset:
        """A composite without its margin."""
        inside = slice(self.margin_px, -self.margin_px or None)
        return composite.isel(y=inside, x=inside)

    def _unfit(self, item: Any) -> str:
        """Why a scene does not count; "" if it does."""
        facts = item.properties
        if item.id in self.exclude:
            return "excluded"
        if (mode := facts.get("sar:instrument_mode")) != "IW":
            return f"in {mode or 'an unstated'} mode"
        if (orbit := str(facts.get("sat:orbit_state", "of unstated direction")).lower()) != self.orbit:
            return orbit
        if any(name not in item.assets for name in self.assets):
            return "without both polarisations"
        return ""


def geobox(tile: Tile) -> Any:
    """The tile's grid as odc-geo has it."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    return GeoBox(tile.shape, Affine(*tile.transform), tile.crs)


def _utc(items: list[Any]) -> Any:
    return np.array([begin(item).replace(tzinfo=None) for item in items], "datetime64[s]")


def _check_power(series: xr.Dataset, collection: str) -> None:
    """Refuse decibels and amplitude counts: neither is ever guessed into power."""
    sample = series["vv"].values[:, ::7, ::7]
    sample = sample[np.isfinite(sample) & (sample != 0) & (sample > -32768)]
    if sample.size and not 0 < (middle := float(np.median(sample))) < BRIGHTEST:
        unit = "decibels" if middle < 0 else "amplitude counts"
        raise LeftOut(
            f"{collection} holds values around {middle:.3g}, which is no linear power but looks like {unit}: "
            f"choose a collection in linear power, such as sentinel-1-rtc"
        )
