"""A tile: its place on the earth, the chip of pixels that lies there, and maps over it."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely
import xarray as xr
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.transform import Affine

from sardino.data.tiles.radiometry import SEASONS
from sardino.errors import SardinoError

# Wraps a loop over tiles, files or the like, for example `tqdm`; `iter` shows nothing.
Progress = Callable[[Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True)
class Tile:
    """A tile's place: north up, not rotated."""

    region: str  # area of interest, for example "europe"
    crs: str  # for example "EPSG:32631"; "" where the source states none
    transform: tuple[float, float, float, float, float, float]  # affine (a, b, c, d, e, f) of pixel to map coordinates
    shape: tuple[int, int]  # (rows, columns)

    def __post_init__(self) -> None:
        a, b, _, d, e, _ = self.transform
        if b or d or a <= 0 or e >= 0:
            raise SardinoError(f"tile transform {self.transform} is rotated or not north-up: warp the raster first")
        if min(self.shape) < 1:
            raise SardinoError(f"tile shape {self.shape} is empty")

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, bottom, right, top) in map units."""
        a, _, c, _, e, f = self.transform
        return c, f + e * self.shape[0], c + a * self.shape[1], f

    @property
    def centre(self) -> tuple[float, float]:
        left, bottom, right, top = self.bounds
        return (left + right) / 2, (bottom + top) / 2

    @property
    def footprint(self) -> shapely.Polygon:
        """The tile's outline in its own CRS."""
        return shapely.box(*self.bounds)

    @property
    def id(self) -> str:
        """13 hex digits of a hash of CRS and outline to the millimetre: the same place, the same id."""
        place = ",".join(f"{v:.3f}" for v in self.bounds)
        text = f"{self.crs or self.region}{place},{self.shape[0]}x{self.shape[1]}"
        return hashlib.sha256(text.encode()).hexdigest()[:13]

    def footprint_in(self, crs: str) -> shapely.Polygon:
        """The outline in another CRS, edges kept straight between corners."""
        convert = Transformer.from_crs(self.crs, crs, always_xy=True).transform
        return shapely.transform(self.footprint, convert, interleaved=False)


def tile_grid(
    region: str, crs: str, origin: tuple[float, float], size_px: int, gsd_m: float, columns: int, rows: int
) -> Iterator[Tile]:
    """Square tiles side by side, row by row from the upper left `origin` (x, y), without gap or overlap."""
    step = size_px * gsd_m
    for row, column in np.ndindex(rows, columns):
        x, y = origin[0] + column * step, origin[1] - row * step
        yield Tile(region, crs, (gsd_m, 0.0, x, 0.0, -gsd_m, y), (size_px, size_px))


# Reference layers of Figure 5 and their titles; a source has those it has.
LAYERS = {
    "optical": "Optical RGB (uint8)",
    "landcover_300m": "Land cover, 300 m (class index)",
    "vegetation_percent": "Vegetation (%)",
    "biomass_t_ha": "Above-ground biomass (t/ha)",
    "built_percent": "Built surface (%)",
    "ndvi": "NDVI",
    "elevation_m": "Elevation (m)",
}


@dataclass(frozen=True)
class Chip:
    """The pixels of one tile, whichever source they came from."""

    backscatter_db: NDArray[np.float32]  # (C, H, W), NaN where missing
    label: NDArray[np.uint8]  # (H, W) class index, 255 where unlabelled
    # Reference layers by name (see LAYERS): "optical" is (3, H, W) uint8, "landcover_300m" (H, W) uint8 class index,
    # others (H, W) float32, NaN where missing.
    layers: dict[str, NDArray[Any]] = field(default_factory=dict)
    counts: NDArray[np.integer] | None = None  # (4, H, W) passes in each season's composite; None where unknown

    def __post_init__(self) -> None:
        height_width = self.backscatter_db.shape[-2:]
        if self.backscatter_db.ndim != 3 or self.label.shape != height_width:
            given = f"{self.backscatter_db.shape} and {self.label.shape}"
            raise SardinoError(f"a chip needs backscatter (C, H, W) and a label (H, W) of one size, not {given}")
        for name, layer in self.layers.items():
            if name not in LAYERS or layer.shape[-2:] != height_width:
                raise SardinoError(f"layer '{name}' of shape {layer.shape} does not fit a chip of {height_width}")
        if self.counts is not None and self.counts.shape != (len(SEASONS), *height_width):
            raise SardinoError(f"counts of shape {self.counts.shape} are no count per season and pixel of the chip")


def georeferenced(maps: NDArray[np.floating], tile: Tile, name: str = "attention", band: str = "head") -> xr.DataArray:
    """Maps coarser than their tile, such as attention over patches, in their place; `.rio.to_raster` writes them.

    Args:
        maps: (heads, h, w), each covering the tile in h x w equal cells of whole pixels.
        band: name of the first dimension; its labels count from 1, as the figures do.

    Returns:
        (head, y, x), north up, with the coordinates of the cells' centres; without a CRS where the tile has none.
    """
    if maps.ndim != 3 or tile.shape[0] % maps.shape[1] or tile.shape[1] % maps.shape[2]:
        raise SardinoError(f"maps of {maps.shape} do not divide a tile of {tile.shape} pixels into equal cells")
    a, _, c, _, e, f = tile.transform
    cell = Affine(a * tile.shape[1] / maps.shape[2], 0, c, 0, e * tile.shape[0] / maps.shape[1], f)
    x = cell.c + cell.a * (np.arange(maps.shape[2]) + 0.5)
    y = cell.f + cell.e * (np.arange(maps.shape[1]) + 0.5)
    coordinates = {band: np.arange(1, len(maps) + 1), "y": y, "x": x}
    array = xr.DataArray(maps, coordinates, (band, "y", "x"), name=name)
    import rioxarray  # noqa: F401  # gives every xarray object its `rio`

    array = array.rio.write_transform(cell)
    return array.rio.write_crs(tile.crs) if tile.crs else array
