"""Tiles from Google Earth Engine: a year's passes through xee on exactly the tile's grid, with labels and layers.

Not run against the live service: requests are checked as expressions, answers on recorded shapes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sardino.data.sources.earthengine.assets import (
    FIRST_YEAR,
    LABELS,
    LAYER_NAMES,
    ORBITS,
    PASSES,
    label_image,
    layer_image,
    passes,
)
from sardino.data.sources.earthengine.session import HIGH_VOLUME, explained, initialise, pixels
from sardino.data.sources.seasonal_composite import (
    ERODE_PX,
    HOLE_PX,
    METHODS,
    Method,
    composite_chip,
    seasonal_composite,
)
from sardino.data.sources.source import LeftOut, SourceChip, Transient
from sardino.data.tiles.landcover import IGNORE, WORLDCOVER
from sardino.data.tiles.radiometry import CHANNELS
from sardino.data.tiles.tile import Tile
from sardino.errors import SardinoError

MISSING = -9999.0
"""Stands for masked pixels in requests of float layers."""


@dataclass(frozen=True)
class EarthEngineSource:
    """Seasonal sigma0, WorldCover labels and reference layers, computed tile by tile by a user's own account.

    Args:
        project: Google Cloud project that is registered for Earth Engine.
        year: winter starts in December of the year before.
        orbit: "ascending" or "descending"; the two are never mixed.
        method: "mean" in linear power, or "median" as geetiles takes.
        erode_px: border taken off each pass.
        label_year: 2020 or 2021; the backscatter's year where None.
        layers: names of reference layers.
        min_valid: smallest share of pixels, 0 to 1, that every season must have.
        requests: simultaneous requests of one tile; the service allows about 40 for a whole project.
        endpoint: address of the service.
    """

    project: str
    year: int
    orbit: str = "ascending"
    method: Method = "mean"
    erode_px: int = ERODE_PX
    label_year: int | None = None
    layers: tuple[str, ...] = LAYER_NAMES
    min_valid: float = 0.0
    requests: int = 4
    endpoint: str = HIGH_VOLUME

    channels = CHANNELS
    legend = WORLDCOVER
    product = "Sentinel-1 GRD sigma0 from Earth Engine, seasonal composites in linear power"
    synthetic = False

    def __post_init__(self) -> None:
        if not self.project:
            raise SardinoError("Earth Engine needs a Google Cloud project that is registered for it: name it")
        if self.year < FIRST_YEAR:
            raise SardinoError(f"Sentinel-1 has whole years from {FIRST_YEAR}, not {self.year}: choose a later year")
        if self._label_year not in LABELS:
            raise SardinoError(
                f"WorldCover has no year {self._label_year}: choose the label year {' or '.join(map(str, LABELS))}"
            )
        if self.orbit not in ORBITS or self.method not in METHODS or not 0 <= self.min_valid <= 1 or self.requests < 1:
            raise SardinoError(
                f"the orbit is {' or '.join(ORBITS)}, the method {' or '.join(METHODS)}, the valid share 0 to 1, and "
                f"at least one request runs at a time"
            )
        if self.erode_px < 0:
            raise SardinoError(f"{self.erode_px} pixels cannot be taken off a border: give 0 or more")
        for layer in self.layers:
            layer_image(layer, self.year, "EPSG:4326")

    @property
    def _label_year(self) -> int:
        return self.year if self.label_year is None else self.label_year

    def chip(self, tile: Tile) -> SourceChip:
        """The 12 channels, the label and the layers of one tile.

        Raises:
            LeftOut: a season has no pass, or there is no label.
            Transient: the service is busy or the line broke.
            SardinoError: no access: credentials, registration or project.
        """
        initialise(self.project, self.endpoint)
        margin = self.erode_px + HOLE_PX if self.erode_px else 0
        wide = _widened(tile, margin)
        with explained(tile):
            series = series_of(*self._load(wide), wide)
            composite = seasonal_composite(series, self.year, self.method, self.erode_px)
            inner = slice(margin, margin + tile.shape[0]), slice(margin, margin + tile.shape[1])
            composite = composite.isel(y=inner[0], x=inner[1])
            codes = pixels(label_image(self._label_year), tile)[0]
            label = WORLDCOVER.encode(codes)
            if (label == IGNORE).all():
                raise LeftOut(f"{LABELS[self._label_year]} has no label in tile {tile.id}: is it on land?")
            layers = {name: self._layer(name, tile) for name in self.layers}
        return composite_chip(composite, label, layers=layers, min_valid=self.min_valid, source="Earth Engine")

    def metadata(self) -> dict[str, Any]:
        """Facts for the store, JSON values."""
        images = {name: layer_image(name, self.year, "EPSG:4326") for name in self.layers}
        return {
            "source": f"Earth Engine {PASSES}",
            "quantity": "sigma0",
            "unit": "dB",
            "composite": f"seasonal {self.method} of linear power",
            "year": self.year,
            "orbit_pass": self.orbit,
            "instrument_mode": "IW",
            "resampling": "nearest pixel, as the service resamples unless told otherwise",
            "erode_px": self.erode_px,
            "min_valid": self.min_valid,
            "labels": WORLDCOVER.name,
            "label_asset": LABELS[self._label_year],
            "label_year": self._label_year,
            "layers": {name: {"asset": image.asset, "year": image.year} for name, image in images.items()},
        }

    def _load(self, tile: Tile) -> tuple[xr.Dataset, list[Any]]:
        """The passes as xee opens them, and their relative orbits."""
        corners = [list(corner) for corner in tile.footprint_in("EPSG:4326").exterior.coords]
        collection = passes(corners, self.year, self.orbit)
        orbits = collection.aggregate_array("relativeOrbitNumber_start").getInfo()
        if not orbits:
            raise LeftOut(
                f"Earth Engine has no {self.orbit} IW pass with VV and VH over tile {tile.id} in {self.year}: choose "
                f"the other direction or another year"
            )
        dataset = xr.open_dataset(
            collection,
            engine="ee",
            crs=tile.crs,
            crs_transform=tile.transform,
            shape_2d=(tile.shape[1], tile.shape[0]),
            executor_kwargs={"max_workers": self.requests},
        )
        return dataset.load(), orbits

    def _layer(self, name: str, tile: Tile) -> NDArray[Any]:
        image = layer_image(name, self.year, tile.crs).image()
        if name == "optical":
            return pixels(image, tile)
        if name == "landcover_300m":
            return pixels(image, tile)[0]
        values = pixels(image.unmask(MISSING, False), tile)[0].astype(np.float32)
        return np.where(values == MISSING, np.float32(np.nan), values)


def series_of(dataset: xr.Dataset, orbits: list[Any], tile: Tile) -> xr.Dataset:
    """What xee returns, as the series that composites are made of.

    Args:
        dataset: variables VV and VH, dims (time, y, x), NaN where masked.
        orbits: relative orbit of each pass, in the same order.
        tile: the grid asked for; another one is refused.

    Returns:
        vv and vh, float32 linear power, zero and below taken as missing; attribute quantity "sigma0".
    """
    import rioxarray  # noqa: F401  gives a dataset its CRS

    if {"VV", "VH"} - set(dataset.data_vars) or set(dataset["VV"].dims) != {"time", "y", "x"}:
        raise SardinoError(f"Earth Engine returned {dict(dataset.sizes)} of {list(dataset.data_vars)}: xee has changed")
    a, _, left, _, e, top = tile.transform
    grid = {"x": left + a * (np.arange(tile.shape[1]) + 0.5), "y": top + e * (np.arange(tile.shape[0]) + 0.5)}
    for axis, wanted in grid.items():
        found = dataset[axis].values
        if found.shape != wanted.shape or np.abs(found - wanted).max() > abs(a) / 100:
            raise SardinoError(
                f"Earth Engine returned another grid along {axis} than tile {tile.id} has: xee has changed"
            )
    if len(orbits) != dataset.sizes["time"] or dataset["time"].dtype.kind != "M":
        raise Transient(
            f"Earth Engine returned {dataset.sizes['time']} passes for {len(orbits)} orbits of tile {tile.id}"
        )
    planes = {}
    for name in ("VV", "VH"):
        power = dataset[name].transpose("time", "y", "x").values.astype(np.float32)
        planes[name.lower()] = ("time", "y", "x"), np.where(power > 0, power, np.float32(np.nan))
    places = {name: dataset[name].values for name in ("time", "y", "x")} | {"relative_orbit": ("time", orbits)}
    return xr.Dataset(planes, places, {"quantity": "sigma0"}).rio.write_crs(tile.crs)


def _widened(tile: Tile, margin: int) -> Tile:
    a, b, c, d, e, f = tile.transform
    rows, columns = tile.shape
    place = (a, b, c - margin * a, d, e, f - margin * e)
    return Tile(tile.region, tile.crs, place, (rows + 2 * margin, columns + 2 * margin))
