"""Tiles from Google Earth Engine: a year's passes through xee on exactly the tile's grid, with labels and layers.

Not run against the live service: requests are checked as expressions, answers on recorded shapes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sardino.data.sources.earthengine.assets import LABELS, LAYERS, PASSES, label_image, passes
from sardino.data.sources.earthengine.session import HIGH_VOLUME, explained, initialise, pixels
from sardino.data.sources.seasonal_composite import SeasonalSource, composite_chip, seasonal_composite
from sardino.data.sources.source import LeftOut, SourceChip, Transient
from sardino.data.tiles.landcover import IGNORE, WORLDCOVER
from sardino.data.tiles.tile import Tile
from sardino.errors import SardinoError

MISSING = -9999.0
"""Stands for masked pixels in requests of float layers."""


@dataclass(frozen=True)
class EarthEngineSource(SeasonalSource):
    """Seasonal sigma0, WorldCover labels and reference layers, computed tile by tile by a user's own account.

    Args:
        project: Google Cloud project that is registered for Earth Engine.
        requests: simultaneous requests of one tile; the service allows about 40 for a whole project.
        endpoint: address of the service.
    """

    layers: tuple[str, ...] = tuple(LAYERS)
    min_valid: float = 0.0
    project: str = ""
    requests: int = 4
    endpoint: str = HIGH_VOLUME

    product = "Sentinel-1 GRD sigma0 from Earth Engine, seasonal composites in linear power"
    synthetic = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.project:
            raise SardinoError("Earth Engine needs a Google Cloud project that is registered for it: name it")
        if self.requests < 1:
            raise SardinoError(f"at least one request runs at a time, not {self.requests}")
        if unknown := set(self.layers) - set(LAYERS):
            raise SardinoError(f"Earth Engine gives no layer '{min(unknown)}': choose {', '.join(LAYERS)}")

    def chip(self, tile: Tile) -> SourceChip:
        """The 12 channels, the label and the layers of one tile.

        Raises:
            LeftOut: a season has no pass, or there is no label.
            Transient: the service is busy or the line broke.
            SardinoError: no access: credentials, registration or project.
        """
        initialise(self.project, self.endpoint)
        wide = _widened(tile, self.margin_px)
        with explained(tile):
            series = series_of(*self._load(wide), wide)
            composite = self.inner(seasonal_composite(series, self.year, self.composite, self.erode_px))
            label = WORLDCOVER.encode(pixels(label_image(self.labels_of), tile)[0])
            if (label == IGNORE).all():
                raise LeftOut(f"{LABELS[self.labels_of]} has no label in tile {tile.id}: is it on land?")
            layers = {name: self._layer(name, tile) for name in self.layers}
        return composite_chip(composite, label, layers=layers, min_valid=self.min_valid, source="Earth Engine")

    def metadata(self) -> dict[str, Any]:
        """Facts for the store, JSON values."""
        return {
            "source": f"Earth Engine {PASSES}",
            "quantity": "sigma0",
            "unit": "dB",
            "composite": f"seasonal {self.composite} of linear power",
            "year": self.year,
            "orbit_pass": self.orbit,
            "instrument_mode": "IW",
            "resampling": "nearest pixel, as the service resamples unless told otherwise",
            "erode_px": self.erode_px,
            "min_valid": self.min_valid,
            "labels": WORLDCOVER.name,
            "label_asset": LABELS[self.labels_of],
            "label_year": self.labels_of,
            "layers": {n: {"asset": LAYERS[n].asset, "year": LAYERS[n].year(self.year)} for n in self.layers},
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
        image = LAYERS[name].image(LAYERS[name].year(self.year), tile.crs)
        if name in ("optical", "landcover_300m"):
            planes = pixels(image, tile)
            return planes if name == "optical" else planes[0]
        values = pixels(image.unmask(MISSING, False), tile)[0].astype(np.float32)
        return np.where(values == MISSING, np.float32(np.nan), values)


def series_of(dataset: xr.Dataset, orbits: list[Any], tile: Tile) -> xr.Dataset:
    """What xee returns, VV and VH over (time, y, x) with NaN where masked, as the series that composites are made of.

    Float32 linear power, zero and below taken as missing, with the passes' relative orbits. Another grid than the
    tile's is refused.
    """
    import rioxarray  # noqa: F401  gives a dataset its CRS

    if {"VV", "VH"} - set(dataset.data_vars) or set(dataset["VV"].dims) != {"time", "y", "x"}:
        raise SardinoError(f"Earth Engine returned {dict(dataset.sizes)} of {list(dataset.data_vars)}: xee has changed")
    a, _, left, _, e, top = tile.transform
    grid = {"x": left + a * (np.arange(tile.shape[1]) + 0.5), "y": top + e * (np.arange(tile.shape[0]) + 0.5)}
    for axis, wanted in grid.items():
        found = dataset[axis].values
        if found.shape != wanted.shape or np.abs(found - wanted).max() > abs(a) / 100:
            raise SardinoError(f"Earth Engine gave another grid along {axis} than tile {tile.id}'s: xee has changed")
    if len(orbits) != (times := dataset.sizes["time"]) or dataset["time"].dtype.kind != "M":
        raise Transient(f"Earth Engine returned {times} passes for {len(orbits)} orbits of tile {tile.id}")
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
