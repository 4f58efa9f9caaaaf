"""Tiles from any STAC API that serves terrain-corrected Sentinel-1: search, read, composite, label."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from sardino.data.sources.seasonal_composite import MEASURED, SeasonalSource, in_year, season_of
from sardino.data.sources.source import CARBON_FRACTION, LeftOut, SourceChip, missing_layer
from sardino.data.sources.stac.catalogue import Catalogue, asset_of, begin
from sardino.data.sources.stac.read import load
from sardino.data.tiles.landcover import IGNORE, WORLDCOVER
from sardino.data.tiles.radiometry import SEASONS
from sardino.data.tiles.tile import Tile
from sardino.errors import SardinoError

# Version of each year's map; two algorithms, so that their difference is no change on the ground.
WORLDCOVER_VERSIONS = {2020: "1.0.0", 2021: "2.0.0"}
FOREIGN = 0.001  # largest share of codes that WorldCover does not have; more is another product
CLEAREST = 8  # least cloudy images that are tried to fill a tile
BRIGHTEST = 10.0  # linear power above which a whole scene's median cannot be: 10 dB. Amplitude counts lie far beyond
# Collection and asset of the reference layers that the Planetary Computer has.
LAYERS = {
    "optical": ("sentinel-2-l2a", "visual"),
    "landcover_300m": ("esa-cci-lc", "lccs_class"),
    "biomass_t_ha": ("hgb", "aboveground"),
}
ALWAYS = ("2000-01-01", "2099-12-31")

# ESA CCI land cover (LCCS codes, product user guide) in WorldCover's classes; mosaics go with their larger part.
_LCCS: dict[int, tuple[int, ...]] = {
    10: (50, 60, 61, 62, 70, 71, 72, 80, 81, 82, 90, 100, 160),
    **{20: (120, 121, 122), 30: (110, 130), 40: (10, 11, 12, 20, 30, 40), 50: (190,)},
    **{60: (150, 151, 152, 153, 200, 201, 202), 70: (220,), 80: (210,), 90: (180,), 95: (170,), 100: (140,)},
}


@dataclass(frozen=True)
class StacSource(SeasonalSource):
    """Seasonal composites with WorldCover labels from a STAC API."""

    catalogue: Catalogue = field(default_factory=Catalogue)  # the API; the Planetary Computer by default
    collection: str = "sentinel-1-rtc"  # of Sentinel-1 scenes in linear power, on a map grid
    assets: tuple[str, str] = ("vv", "vh")  # names of the VV and the VH asset, in any case
    quantity: str = "gamma0"  # what the collection holds, "gamma0" or "sigma0"; never taken from values
    resampling: str = "bilinear"  # of power to the tile's grid; where grids coincide pixels are copied
    needed: tuple[str, ...] = SEASONS  # seasons without which a tile is left out
    label_collection: str = "esa-worldcover"  # WorldCover; "" for tiles without labels
    exclude: tuple[str, ...] = ()  # ids of scenes to do without
    threads: int = field(default=4, compare=False)  # files read at once for a tile
    synthetic: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quantity not in ("gamma0", "sigma0"):
            raise SardinoError(f"a collection holds gamma0 or sigma0, not {self.quantity}")
        if unknown := set(self.layers) - set(LAYERS):
            raise SardinoError(f"no recipe for the layer {min(unknown)}: there are {', '.join(LAYERS)}")
        if unknown := set(self.needed) - set(SEASONS):
            raise SardinoError(f"'{min(unknown)}' is no season: there are {', '.join(SEASONS)}")

    @property
    def product(self) -> str:
        return f"Sentinel-1 {self.collection} {self.quantity}, seasonal {self.composite} of {self.orbit} passes"

    @property
    def labelled(self) -> bool:
        return bool(self.label_collection)

    def metadata(self) -> dict[str, Any]:
        """Every setting that changes a pixel."""
        facts = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}
        del facts["catalogue"], facts["threads"]
        label = f"ESA WorldCover {self.labels_of}" if self.labelled else "none"
        return facts | {"source": "stac", "url": self.catalogue.url, "product": self.product, "labels": label}

    def chip(self, tile: Tile) -> SourceChip:
        """The tile's twelve channels, labels and layers, read now.

        LeftOut, by name, where a season, the labels or a readable file is missing; Transient where the server fails.
        """
        notes: list[str] = []
        scenes = self.scenes(tile)
        label = self._label(tile)
        series = self.series(tile, scenes, notes)
        layers = {name: self._layer(name, tile) for name in self.layers}
        return self.composed(series, label, layers, self.collection, self.needed, sorted(set(notes)))

    def scenes(self, tile: Tile) -> list[Any]:
        """Items (pystac.Item) that count: IW, both polarisations, this orbit direction, this year of seasons."""
        found = self.catalogue.search(self.collection, tile, f"{self.year - 1}-12-01", f"{self.year}-12-01")
        times = np.array([begin(item).replace(tzinfo=None) for item in found], "datetime64[s]")
        found = [item for item, inside in zip(found, in_year(times, self.year), strict=True) if inside]
        unfit = {item.id: self._unfit(item) for item in found}
        kept = [item for item in found if not unfit[item.id]]
        if not kept:
            others = Counter(unfit.values())
            there = ", ".join(f"{count} {reason}" for reason, count in sorted(others.items())) or "no scene at all"
            raise LeftOut(f"{self.collection} has no {self.orbit} IW scene with vv and vh in {self.year} here: {there}")
        present = {season_of(begin(item).month) for item in kept}
        if absent := [season for season in self.needed if season not in present]:
            none = f"no {self.orbit} scene in {', '.join(absent)} of {self.year} here"
            remedy = "choose another year or orbit direction, or do without the season"
            raise LeftOut(f"{self.collection} has {none}: {remedy}")
        return kept

    def series(self, tile: Tile, scenes: list[Any], notes: list[str]) -> xr.Dataset:
        """The scenes on the tile's grid with a margin for the erosion, in linear power; odd things are noted.

        Decibels and amplitude counts are refused: neither is ever guessed into power.
        """
        how: dict[str, Any] = {"resampling": self.resampling, "dtype": "float32", "nodata": -32768.0}
        how |= {"catalogue": self.catalogue, "threads": self.threads, "notes": notes}
        series = load(scenes, self.assets, geobox(tile).pad(self.margin_px), **how)
        orbits = [int(item.properties.get("sat:relative_orbit", 0)) for item in scenes]
        series = series.rename(dict(zip(self.assets, MEASURED, strict=True)))
        sample = series["vv"].values[:, ::7, ::7]
        sample = sample[np.isfinite(sample) & (sample != 0) & (sample > -32768)]
        if sample.size and not 0 < (middle := float(np.median(sample))) < BRIGHTEST:
            unit = f"{middle:.3g}, which looks like {'decibels' if middle < 0 else 'amplitude counts'}"
            raise LeftOut(f"{self.collection} holds values around {unit}: choose linear power")
        return series.assign_coords(relative_orbit=("time", orbits)).assign_attrs(quantity=self.quantity)

    def _unfit(self, item: Any) -> str:
        """Why a scene does not count; "" if it does."""
        facts = item.properties
        if item.id in self.exclude:
            return "excluded"
        if (mode := facts.get("sar:instrument_mode")) != "IW":
            return f"in {mode or 'an unstated'} mode"
        if (orbit := str(facts.get("sat:orbit_state", "of unstated direction")).lower()) != self.orbit:
            return orbit
        return "" if all(asset_of(item, name) for name in self.assets) else "without both polarisations"

    def _label(self, tile: Tile) -> NDArray[np.uint8]:
        """(H, W) class index of WorldCover, nearest neighbour; LeftOut says which map, year or code is not fit."""
        if not self.labelled:
            return np.full(tile.shape, IGNORE, np.uint8)
        name, year = self.label_collection, self.labels_of
        items = self.catalogue.search(name, tile, *ALWAYS)
        version = "esa_worldcover:product_version"  # "" where unstated
        edition = {item.id: (begin(item).year, str(item.properties.get(version, ""))) for item in items}
        fit = [item for item in items if edition[item.id] in ((year, ""), (year, WORLDCOVER_VERSIONS[year]))]
        if not fit:
            there = ", ".join(sorted({f"{made} {mark}".strip() for made, mark in edition.values()})) or "nothing"
            needed = f"needed is {year} {WORLDCOVER_VERSIONS[year]}"
            raise LeftOut(f"{name} has {there} here, {needed}: choose the label year")
        codes = self._planes(fit, ["map"], tile, "uint8", 0)[0]
        foreign = sorted(set(np.unique(codes).tolist()) - {0, *WORLDCOVER.codes})
        if foreign and np.isin(codes, foreign).mean() > FOREIGN:
            raise LeftOut(f"{name} holds codes {foreign[:5]}, which WorldCover does not have: it is another product")
        label = WORLDCOVER.encode(codes)
        if (label == IGNORE).all():
            raise LeftOut(f"{name} of {year} is empty here: there is nothing to learn from in this tile")
        return label

    def _layer(self, layer: str, tile: Tile) -> NDArray[Any]:
        """A reference layer in the unit of a chip; nodata where the catalogue has none."""
        collection, asset = LAYERS[layer]
        span = (f"{self.year}-06-01", f"{self.year}-08-31") if layer == "optical" else ALWAYS
        items = [item for item in self.catalogue.search(collection, tile, *span) if asset_of(item, asset)]
        if layer == "optical":
            return self._optical(items, asset, tile)
        apart = {item.id: abs(begin(item).year - self.year) for item in items}
        items = [item for item in items if apart[item.id] == min(apart.values())]
        if not items:
            return missing_layer(layer, tile.shape)
        if layer == "landcover_300m":
            table = np.full(256, IGNORE, np.uint8)
            for code, members in _LCCS.items():
                table[list(members)] = WORLDCOVER.codes.index(code)
            return table[self._planes(items, [asset], tile, "uint8", 0)[0]]
        counts = self._planes(items, [asset], tile, "uint16", 65535)[0]
        bands = asset_of(items[0], asset).extra_fields.get("raster:bands") or [{}]
        carbon = np.where(counts == 65535, np.nan, counts * np.float32(bands[0].get("scale", 0.1)))
        return (carbon / np.float32(CARBON_FRACTION)).astype(np.float32)

    def _optical(self, items: list[Any], asset: str, tile: Tile) -> NDArray[np.uint8]:
        """(3, H, W) uint8: the least cloudy image of summer, its gaps filled from the next."""
        image = missing_layer("optical", tile.shape)
        items = sorted(items, key=lambda item: (item.properties.get("eo:cloud_cover", 100.0), item.id))
        for item in items[:CLEAREST]:
            found = self._planes([item], [f"{asset}.{number}" for number in (1, 2, 3)], tile, "uint8", 0, "bilinear")
            image = np.where((image == 0).all(0), found, image)
            if not (image == 0).all(0).any():
                break
        return image

    def _planes(
        self, items: list[Any], bands: list[str], tile: Tile, dtype: str, nodata: int, resampling: str = "nearest"
    ) -> NDArray[Any]:
        """(C, H, W): neighbouring maps joined, the first that has a value."""
        how: dict[str, Any] = {"resampling": resampling, "dtype": dtype, "nodata": nodata}
        how |= {"catalogue": self.catalogue, "groupby": lambda item, parsed, index: 0}
        found = load(items, bands, geobox(tile), **how)
        return np.stack([found[band].values[0] for band in found.data_vars])


def geobox(tile: Tile) -> Any:
    """The tile's grid as odc-geo has it."""
    return GeoBox(tile.shape, Affine(*tile.transform), tile.crs)
