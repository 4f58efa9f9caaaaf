"""What is asked of Earth Engine: collections, labels and reference layers as expressions, by asset and year."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sardino.data.tiles.landcover import IGNORE, WORLDCOVER
from sardino.errors import SardinoError

PASSES = "COPERNICUS/S1_GRD_FLOAT"
"""Sigma0 in linear power: thermal noise removed, orthorectified, not terrain-flattened; no border is masked."""
ORBITS = {"ascending": "ASCENDING", "descending": "DESCENDING"}
LABELS = {2020: "ESA/WorldCover/v100", 2021: "ESA/WorldCover/v200"}
"""The two editions differ in algorithm; a label year is never replaced by the other."""
FIRST_YEAR = 2015
"""The first whole year of Sentinel-1, its winter from December 2014."""

BUILT, BUILT_EPOCHS = "JRC/GHSL/P2023A/GHS_BUILT_S", range(1975, 2031, 5)
VEGETATION, VEGETATION_YEARS = "MODIS/061/MOD44B", (2000, 2024)
CARBON, CARBON_SHARE = "NASA/ORNL/biomass_carbon_density/v1", 0.47
"""Above-ground carbon of 2010, Mg C/ha, and carbon's share of dry biomass (IPCC 2006 default)."""
OPTICAL, CLOUDY = "COPERNICUS/S2_SR_HARMONIZED", (0, 1, 3, 8, 9, 10, 11)
"""Sentinel-2 surface reflectance, and the classes of its scene classification that are not clear ground."""
COARSE, COARSE_YEARS = "COPERNICUS/Landcover/100m/Proba-V-C3/Global", (2015, 2019)
_COARSE_CLASSES = {
    10: (111, 112, 113, 114, 115, 116, 121, 122, 123, 124, 125, 126),
    20: (20,),
    30: (30,),
    40: (40,),
    50: (50,),
    60: (60,),
    70: (70,),
    80: (80, 200),
    90: (90,),
    100: (100,),
}


@dataclass(frozen=True)
class LayerImage:
    """A reference layer as Earth Engine computes it.

    Args:
        image: makes the ee.Image, already in the layer's unit.
        asset: id in the catalogue.
        year: of the data, which may differ from the year asked for.
    """

    image: Callable[[], Any]
    asset: str
    year: int


def passes(outline: list[list[float]], year: int, orbit: str) -> Any:
    """The ee.ImageCollection of all passes of a year of seasons over a place.

    Interferometric Wide mode at 10 m in both polarisations and one orbit direction. Nothing is computed per image, so
    that images keep the ids and times that the series is built from.

    Args:
        outline: corners in degrees, [longitude, latitude], closed.
        year: from 1 December of the year before to 30 November, both included.
        orbit: "ascending" or "descending".
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
        .filter(ee.Filter.eq("orbitProperties_pass", ORBITS[orbit]))
        .select(["VV", "VH"])
        .sort("system:time_start")
    )


def label_image(year: int) -> Any:
    """WorldCover's official codes as an ee.Image, 0 where there is none."""
    import ee

    return ee.ImageCollection(LABELS[year]).first().select(["Map"], ["label"]).unmask(0, False).toUint8()


def layer_image(layer: str, year: int, crs: str) -> LayerImage:
    """A reference layer of the year, or of the nearest year that there is.

    Args:
        layer: a name in LAYER_NAMES.
        year: asked for.
        crs: of the tile, for what is aggregated in metres.
    """
    if layer not in LAYER_NAMES:
        raise SardinoError(f"Earth Engine gives no layer '{layer}': choose {', '.join(LAYER_NAMES)}")
    return _LAYERS[layer](year, crs)


def _built(year: int, crs: str) -> LayerImage:
    epoch = min(BUILT_EPOCHS, key=lambda known: abs(known - year))

    def image() -> Any:
        import ee

        # Square metres in a cell of 100 m, to percent.
        return ee.Image(f"{BUILT}/{epoch}").select(["built_surface"], ["built_percent"]).divide(100).toFloat()

    return LayerImage(image, BUILT, epoch)


def _vegetation(year: int, crs: str) -> LayerImage:
    known = min(max(year, VEGETATION_YEARS[0]), VEGETATION_YEARS[1])

    def image() -> Any:
        import ee

        cover = ee.ImageCollection(VEGETATION).filterDate(f"{known}-01-01", f"{known + 1}-01-01").first()
        cover = cover.select(["Percent_Tree_Cover"], ["vegetation_percent"]).toFloat()
        return cover.where(cover.eq(200), 0).updateMask(cover.lte(100).Or(cover.eq(200)))  # 200 is water

    return LayerImage(image, VEGETATION, known)


def _biomass(year: int, crs: str) -> LayerImage:
    def image() -> Any:
        import ee

        carbon = ee.ImageCollection(CARBON).first().select(["agb"], ["biomass_t_ha"])
        return carbon.toFloat().divide(CARBON_SHARE)

    return LayerImage(image, CARBON, 2010)


def _optical(year: int, crs: str) -> LayerImage:
    known = max(year, 2019)

    def image() -> Any:
        import ee

        def clear(scene: Any) -> Any:
            classes = scene.select("SCL")
            return scene.updateMask(classes.remap(list(CLOUDY), [0] * len(CLOUDY), 1)).select(["B4", "B3", "B2"])

        scenes = ee.ImageCollection(OPTICAL).filterDate(f"{known}-01-01", f"{known + 1}-01-01")
        median = scenes.filter(ee.Filter.lt("CLOUDY_PIXEL_PERCENTAGE", 60)).map(clear).median()
        # Reflectance 0 to 0.3 over 1 to 255; 0 stays for missing.
        return median.multiply(254 / 3000).add(1).clamp(1, 255).round().unmask(0, False).toUint8()

    return LayerImage(image, OPTICAL, known)


def _coarse(year: int, crs: str) -> LayerImage:
    known = min(max(year, COARSE_YEARS[0]), COARSE_YEARS[1])

    def image() -> Any:
        import ee

        pairs = [(theirs, WORLDCOVER.codes.index(ours)) for ours, many in _COARSE_CLASSES.items() for theirs in many]
        classes = ee.Image(f"{COARSE}/{known}").select("discrete_classification")
        # From 100 m to 300 m by the commonest class.
        classes = classes.reduceResolution(ee.Reducer.mode(), False, 16).reproject(crs, None, 300)
        index = classes.remap([theirs for theirs, _ in pairs], [ours for _, ours in pairs], IGNORE)
        return index.rename(["landcover_300m"]).unmask(IGNORE, False).toUint8()

    return LayerImage(image, COARSE, known)


_LAYERS: dict[str, Callable[[int, str], LayerImage]] = {
    "optical": _optical,
    "landcover_300m": _coarse,
    "vegetation_percent": _vegetation,
    "biomass_t_ha": _biomass,
    "built_percent": _built,
}
LAYER_NAMES = tuple(_LAYERS)
