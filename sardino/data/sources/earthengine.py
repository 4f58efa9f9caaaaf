"""Tiles from Google Earth Engine: a year's passes through xee on exactly the tile's grid, with labels and layers.

Not run against the live service: requests are checked as expressions, answers on recorded shapes.
"""

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ee
import numpy as np
import rioxarray  # noqa: F401  gives a dataset its CRS
import xarray as xr
from google.auth.exceptions import RefreshError, TransportError
from numpy.typing import NDArray

from sardino.data.sources.seasonal_composite import SeasonalSource
from sardino.data.sources.source import CARBON_FRACTION, LeftOut, SourceChip, Transient
from sardino.data.tiles.landcover import IGNORE, WORLDCOVER
from sardino.data.tiles.tile import Tile
from sardino.errors import SardinoError, first_line

HIGH_VOLUME = "https://earthengine-highvolume.googleapis.com"  # meant for many small requests, such as one per tile
# Sigma0 in linear power: thermal noise removed, orthorectified, not terrain-flattened; no border is masked.
PASSES = "COPERNICUS/S1_GRD_FLOAT"
LABELS = {2020: "ESA/WorldCover/v100", 2021: "ESA/WorldCover/v200"}  # WorldCover's editions
CLOUDY = [0, 1, 3, 8, 9, 10, 11]  # classes of Sentinel-2's scene classification that are not clear ground
# Classes of the Copernicus Global Land Cover in each of WorldCover's.
_COARSE_CLASSES = {code: (code,) for code in (20, 30, 40, 50, 60, 70, 90, 100)} | {
    10: (111, 112, 113, 114, 115, 116, 121, 122, 123, 124, 125, 126),
    80: (80, 200),
}
MISSING = -9999.0  # stands for masked pixels in requests of float layers
_AFFINE = ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")
_OPENING = threading.Lock()
_AGAIN = re.compile(
    r"quota|too many|rate limit|timed? ?out|deadline|internal|unavailable|backend|try again|\b429\b|\b50[0-4]\b", re.I
)
_REFUSED = re.compile(r"permission|not (registered|been used)|sign ?up|credential|authori[sz]|authentic|project", re.I)


def passes(outline: list[list[float]], year: int, orbit: str) -> Any:
    """The ee.ImageCollection of all passes of a year of seasons over a place.

    Interferometric Wide mode at 10 m in both polarisations and one orbit direction, from 1 December of the year before
    to 30 November, both included. Nothing is computed per image, so that images keep the ids and times that the
    series is built from. The outline is a closed ring of [longitude, latitude].
    """
    return (
        ee.ImageCollection(PASSES)
        .filterBounds(ee.Geometry.Polygon([outline], None, False))
        # The end is exclusive: the first day of the next winter keeps the last of this fall.
        .filterDate(f"{year - 1}-12-01", f"{year}-12-01")
        .filter(ee.Filter.eq("instrumentMode", "IW"))
        .filter(ee.Filter.eq("resolution_meters", 10))
        .filter(ee.Filter.listContains("transmitterReceiverPolarisation", "VV"))
        .filter(ee.Filter.listContains("transmitterReceiverPolarisation", "VH"))
        .filter(ee.Filter.eq("orbitProperties_pass", orbit.upper()))
        .select(["VV", "VH"])
        .sort("system:time_start")
    )


def label_image(year: int) -> Any:
    """WorldCover's official codes as an ee.Image, 0 where there is none."""
    return ee.ImageCollection(LABELS[year]).first().select(["Map"], ["label"]).unmask(0, False).toUint8()


def _built(year: int, crs: str) -> Any:
    # Square metres in a cell of 100 m, to percent.
    cells = ee.Image(f"{LAYERS['built_percent'].asset}/{year}").select(["built_surface"], ["built_percent"])
    return cells.divide(100).toFloat()


def _vegetation(year: int, crs: str) -> Any:
    years = ee.ImageCollection(LAYERS["vegetation_percent"].asset).filterDate(f"{year}-01-01", f"{year + 1}-01-01")
    cover = years.first().select(["Percent_Tree_Cover"], ["vegetation_percent"]).toFloat()
    return cover.where(cover.eq(200), 0).updateMask(cover.lte(100).Or(cover.eq(200)))  # 200 is water


def _biomass(year: int, crs: str) -> Any:
    carbon = ee.ImageCollection(LAYERS["biomass_t_ha"].asset).first().select(["agb"], ["biomass_t_ha"])
    return carbon.toFloat().divide(CARBON_FRACTION)


def _optical(year: int, crs: str) -> Any:
    def clear(scene: Any) -> Any:
        classes = scene.select("SCL")
        return scene.updateMask(classes.remap(CLOUDY, [0] * len(CLOUDY), 1)).select(["B4", "B3", "B2"])

    scenes = ee.ImageCollection(LAYERS["optical"].asset).filterDate(f"{year}-01-01", f"{year + 1}-01-01")
    median = scenes.filter(ee.Filter.lt("CLOUDY_PIXEL_PERCENTAGE", 60)).map(clear).median()
    # Reflectance 0 to 0.3 over 1 to 255; 0 stays for missing.
    return median.multiply(254 / 3000).add(1).clamp(1, 255).round().unmask(0, False).toUint8()


def _coarse(year: int, crs: str) -> Any:
    pairs = [(theirs, WORLDCOVER.codes.index(ours)) for ours, many in _COARSE_CLASSES.items() for theirs in many]
    # From 100 m to 300 m by the commonest class.
    classes = ee.Image(f"{LAYERS['landcover_300m'].asset}/{year}").select("discrete_classification")
    classes = classes.reduceResolution(ee.Reducer.mode(), False, 16).reproject(crs, None, 300)
    index = classes.remap([theirs for theirs, _ in pairs], [ours for _, ours in pairs], IGNORE)
    return index.rename(["landcover_300m"]).unmask(IGNORE, False).toUint8()


@dataclass(frozen=True)
class LayerAsset:
    """Where Earth Engine keeps a reference layer."""

    asset: str  # id in the catalogue
    years: Sequence[int]
    image: Callable[[int, str], Any]  # of a year, in the layer's unit; the CRS is for what is aggregated in metres

    def year(self, wanted: int) -> int:
        """The nearest year that there is."""
        return min(self.years, key=lambda known: abs(known - wanted))


# Reference layers by name, see sardino.data.tiles.tile.
LAYERS = {
    "optical": LayerAsset("COPERNICUS/S2_SR_HARMONIZED", range(2019, 2101), _optical),
    "landcover_300m": LayerAsset("COPERNICUS/Landcover/100m/Proba-V-C3/Global", range(2015, 2020), _coarse),
    "vegetation_percent": LayerAsset("MODIS/061/MOD44B", range(2000, 2025), _vegetation),
    "biomass_t_ha": LayerAsset("NASA/ORNL/biomass_carbon_density/v1", (2010,), _biomass),
    "built_percent": LayerAsset("JRC/GHSL/P2023A/GHS_BUILT_S", range(1975, 2031, 5), _built),
}


def initialise(project: str, endpoint: str = HIGH_VOLUME) -> None:
    """Open the session of this process, once.

    SardinoError, with the remedy, where there are no credentials or the project has no access; Transient where the
    service cannot be reached.
    """
    # The client counts as open before its list of functions has arrived: other threads wait for it.
    with _OPENING:
        if ee.data.is_initialized():
            return
        try:
            ee.Initialize(project=project, url=endpoint)
        except Exception as error:
            said = first_line(error)
            if _REFUSED.search(said) or type(error).__name__ in ("RefreshError", "DefaultCredentialsError"):
                refused = f"Earth Engine gives no access to project '{project}' ({said})"
                remedy = "run `earthengine authenticate` once, and register the project at"
                raise SardinoError(f"{refused}: {remedy} https://console.cloud.google.com/earth-engine") from error
            raise Transient(f"Earth Engine cannot be reached ({said}): check the connection and try again") from error


@contextmanager
def _explained(tile: Tile) -> Iterator[None]:
    """Sort the service's errors into what another try may mend and what it may not."""
    try:
        yield
    except RefreshError as error:
        remedy = "run `earthengine authenticate` again"
        raise SardinoError(f"Earth Engine no longer takes the credentials ({first_line(error)}): {remedy}") from error
    except ee.EEException as error:
        said = first_line(error)
        if _AGAIN.search(said):
            raise Transient(f"Earth Engine did not answer for tile {tile.id} ({said})") from error
        if _REFUSED.search(said):
            raise SardinoError(f"Earth Engine refuses ({said}): check the project's registration and roles") from error
        raise LeftOut(f"Earth Engine cannot compute tile {tile.id} ({said})") from error
    except (OSError, ValueError, TransportError) as error:
        # A connection that broke, or an answer cut short that no longer adds up.
        raise Transient(f"Earth Engine's answer for tile {tile.id} broke off ({first_line(error)})") from error


def _pixels(image: Any, tile: Tile) -> NDArray[Any]:
    """An ee.Image on the tile's own grid, nearest pixel, (bands, H, W) in the image's type."""
    size = {"width": tile.shape[1], "height": tile.shape[0]}
    affine = dict(zip(_AFFINE, tile.transform, strict=True))
    grid = {"dimensions": size, "affineTransform": affine, "crsCode": tile.crs}
    answer = ee.data.computePixels({"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": grid})
    if not answer.dtype.names or answer.shape != tile.shape:
        raise SardinoError(f"Earth Engine returned pixels of shape {answer.shape}, tile {tile.id} has {tile.shape}")
    return np.stack([answer[name] for name in answer.dtype.names])


@dataclass(frozen=True)
class EarthEngineSource(SeasonalSource):
    """Seasonal sigma0, WorldCover labels and reference layers, computed tile by tile by a user's own account."""

    layers: tuple[str, ...] = tuple(LAYERS)
    min_valid: float = 0.0
    project: str = ""  # Google Cloud project that is registered for Earth Engine
    requests: int = 4  # simultaneous requests of one tile; the service allows about 40 for a whole project
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

        LeftOut where a season has no pass or there is no label, Transient where the service is busy or the line broke,
        SardinoError without access: credentials, registration or project.
        """
        initialise(self.project, self.endpoint)
        a, b, c, d, e, f = tile.transform
        margin = self.margin_px
        rows, columns = (side + 2 * margin for side in tile.shape)
        wide = Tile(tile.region, tile.crs, (a, b, c - margin * a, d, e, f - margin * e), (rows, columns))
        with _explained(tile):
            series = self._series(wide)
            label = WORLDCOVER.encode(_pixels(label_image(self.labels_of), tile)[0])
            if (label == IGNORE).all():
                raise LeftOut(f"{LABELS[self.labels_of]} has no label in tile {tile.id}: is it on land?")
            layers = {name: self._layer(name, tile) for name in self.layers}
        return self.composed(series, label, layers, "Earth Engine")

    def metadata(self) -> dict[str, Any]:
        """Facts for the store, JSON values."""
        facts: dict[str, Any] = {"source": f"Earth Engine {PASSES}", "quantity": "sigma0", "unit": "dB"}
        facts |= {"composite": f"seasonal {self.composite} of linear power", "year": self.year}
        facts |= {"orbit_pass": self.orbit, "instrument_mode": "IW"}
        facts["resampling"] = "nearest pixel, as the service resamples unless told otherwise"
        facts |= {"erode_px": self.erode_px, "min_valid": self.min_valid, "labels": WORLDCOVER.name}
        facts |= {"label_asset": LABELS[self.labels_of], "label_year": self.labels_of}
        facts["layers"] = {n: {"asset": LAYERS[n].asset, "year": LAYERS[n].year(self.year)} for n in self.layers}
        return facts

    def _series(self, tile: Tile) -> xr.Dataset:
        """The passes over a tile as xee opens them."""
        corners = [list(corner) for corner in tile.footprint_in("EPSG:4326").exterior.coords]
        collection = passes(corners, self.year, self.orbit)
        orbits = collection.aggregate_array("relativeOrbitNumber_start").getInfo()
        if not orbits:
            found = f"no {self.orbit} IW pass with VV and VH over tile {tile.id} in {self.year}"
            raise LeftOut(f"Earth Engine has {found}: choose the other direction or another year")
        how: dict[str, Any] = {"engine": "ee", "executor_kwargs": {"max_workers": self.requests}}
        grid: dict[str, Any] = {"crs": tile.crs, "crs_transform": tile.transform, "shape_2d": tile.shape[::-1]}
        return series_of(xr.open_dataset(collection, **how, **grid).load(), orbits, tile)

    def _layer(self, name: str, tile: Tile) -> NDArray[Any]:
        image = LAYERS[name].image(LAYERS[name].year(self.year), tile.crs)
        if name in ("optical", "landcover_300m"):
            planes = _pixels(image, tile)
            return planes if name == "optical" else planes[0]
        values = _pixels(image.unmask(MISSING, False), tile)[0].astype(np.float32)
        return np.where(values == MISSING, np.float32(np.nan), values)


def series_of(dataset: xr.Dataset, orbits: list[Any], tile: Tile) -> xr.Dataset:
    """What xee returns, VV and VH over (time, y, x) with NaN where masked, as the series that composites are made of.

    Float32 linear power, zero and below taken as missing, with the passes' relative orbits. Another grid than the
    tile's is refused.
    """
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
