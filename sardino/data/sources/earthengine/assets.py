"""What is asked of Earth Engine: collections, labels and reference layers as expressions, by asset and year."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sardino.data.sources.source import CARBON_FRACTION
from sardino.data.tiles.landcover import IGNORE, WORLDCOVER

PASSES = "COPERNICUS/S1_GRD_FLOAT"
"""Sigma0 in linear power: thermal noise removed, orthorectified, not terrain-flattened; no border is masked."""
LABELS = {2020: "ESA/WorldCover/v100", 2021: "ESA/WorldCover/v200"}
"""WorldCover's editions."""
CLOUDY = (0, 1, 3, 8, 9, 10, 11)
"""Classes of Sentinel-2's scene classification that are not clear ground."""
_COARSE_CLASSES = {code: (code,) for code in (20, 30, 40, 50, 60, 70, 90, 100)} | {
    10: (111, 112, 113, 114, 115, 116, 121, 122, 123, 124, 125, 126),
    80: (80, 200),
}
"""Classes of the Copernicus Global Land Cover in each of WorldCover's."""


def passes(outline: list[list[float]], year: int, orbit: str) -> Any:
    """The ee.ImageCollection of all passes of a year of seasons over a place.

    Interferometric Wide mode at 10 m in both polarisations and one orbit direction, from 1 December of the year before
    to 30 November, both included. Nothing is computed per image, so that images keep the ids and times that the
    series is built from. The outline is a closed ring of [longitude, latitude].
    """
    import ee

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
    import ee

    return ee.ImageCollection(LABELS[year]).first().select(["Map"], ["label"]).unmask(0, False).toUint8()


def _built(year: int, crs: str) -> Any:
    import ee

    # Square metres in a cell of 100 m, to percent.
    cells = ee.Image(f"{LAYERS['built_percent'].asset}/{year}").select(["built_surface"], ["built_percent"])
    return cells.divide(100).toFloat()


def _vegetation(year: int, crs: str) -> Any:
    import ee

    years = ee.ImageCollection(LAYERS["vegetation_percent"].asset).filterDate(f"{year}-01-01", f"{year + 1}-01-01")
    cover = years.first().select(["Percent_Tree_Cover"], ["vegetation_percent"]).toFloat()
    return cover.where(cover.eq(200), 0).updateMask(cover.lte(100).Or(cover.eq(200)))  # 200 is water


def _biomass(year: int, crs: str) -> Any:
    import ee

    carbon = ee.ImageCollection(LAYERS["biomass_t_ha"].asset).first().select(["agb"], ["biomass_t_ha"])
    return carbon.toFloat().divide(CARBON_FRACTION)


def _optical(year: int, crs: str) -> Any:
    import ee

    def clear(scene: Any) -> Any:
        classes = scene.select("SCL")
        return scene.updateMask(classes.remap(list(CLOUDY), [0] * len(CLOUDY), 1)).select(["B4", "B3", "B2"])

    scenes = ee.ImageCollection(LAYERS["optical"].asset).filterDate(f"{year}-01-01", f"{year + 1}-01-01")
    median = scenes.filter(ee.Filter.lt("CLOUDY_PIXEL_PERCENTAGE", 60)).map(clear).median()
    # Reflectance 0 to 0.3 over 1 to 255; 0 stays for missing.
    return median.multiply(254 / 3000).add(1).clamp(1, 255).round().unmask(0, False).toUint8()


def _coarse(year: int, crs: str) -> Any:
    import ee

    pairs = [(theirs, WORLDCOVER.codes.index(ours)) for ours, many in _COARSE_CLASSES.items() for theirs in many]
    classes = ee.Image(f"{LAYERS['landcover_300m'].asset}/{year}").select("discrete_classification")
    # From 100 m to 300 m by the commonest class.
    classes = classes.reduceResolution(ee.Reducer.mode(), False, 16).reproject(crs, None, 300)
    index = classes.remap([theirs for theirs, _ in pairs], [ours for _, ours in pairs], IGNORE)
    return index.rename(["landcover_300m"]).unmask(IGNORE, False).toUint8()


@dataclass(frozen=True)
class LayerAsset:
    """Where Earth Engine keeps a reference layer: id in the catalogue, years of the data, and the expression.

    `image` makes the ee.Image of one of these years in the layer's unit; the CRS is for what is aggregated in metres.
    """

    asset: str
    years: Sequence[int]
    image: Callable[[int, str], Any]

    def year(self, wanted: int) -> int:
        """The nearest year that there is."""
        return min(self.years, key=lambda known: abs(known - wanted))


LAYERS = {
    "optical": LayerAsset("COPERNICUS/S2_SR_HARMONIZED", range(2019, 2101), _optical),
    "landcover_300m": LayerAsset("COPERNICUS/Landcover/100m/Proba-V-C3/Global", range(2015, 2020), _coarse),
    "vegetation_percent": LayerAsset("MODIS/061/MOD44B", range(2000, 2025), _vegetation),
    "biomass_t_ha": LayerAsset("NASA/ORNL/biomass_carbon_density/v1", (2010,), _biomass),
    "built_percent": LayerAsset("JRC/GHSL/P2023A/GHS_BUILT_S", range(1975, 2031, 5), _built),
}
"""Reference layers by name, see sardino.data.tiles.tile."""
