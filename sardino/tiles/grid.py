"""The tile grid: where on the earth each tile lies."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import shapely
from pyproj import Transformer
from shapely import Polygon, box

from sardino.errors import SardinoError


@dataclass(frozen=True)
class Tile:
    """A tile's place: its CRS, its affine transform and its size in pixels.

    Args:
        region: area of interest, for example "europe".
        crs: for example "EPSG:32631"; "" where the source states none.
        transform: the six affine coefficients (a, b, c, d, e, f) of pixel to map coordinates.
        shape: (rows, columns).
    """

    region: str
    crs: str
    transform: tuple[float, float, float, float, float, float]
    shape: tuple[int, int]

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
    def footprint(self) -> Polygon:
        """The tile's outline in its own CRS."""
        return box(*self.bounds)

    @property
    def id(self) -> str:
        """13 hex digits of a hash of CRS and outline to the millimetre: the same place, the same id."""
        text = self.crs + ",".join(f"{v:.3f}" for v in self.bounds) + f",{self.shape[0]}x{self.shape[1]}"
        if not self.crs:
            text = self.region + text
        return hashlib.sha256(text.encode()).hexdigest()[:13]

    def footprint_in(self, crs: str) -> Polygon:
        """The outline in another CRS, edges kept straight between corners."""
        convert = Transformer.from_crs(self.crs, crs, always_xy=True).transform
        return shapely.transform(self.footprint, convert, interleaved=False)


def tile_grid(
    region: str, crs: str, origin: tuple[float, float], size_px: int, gsd_m: float, columns: int, rows: int
) -> Iterator[Tile]:
    """Square tiles side by side, row by row from the upper left `origin` (x, y), without gap or overlap."""
    step = size_px * gsd_m
    for row in range(rows):
        for column in range(columns):
            x, y = origin[0] + column * step, origin[1] - row * step
            yield Tile(region, crs, (gsd_m, 0.0, x, 0.0, -gsd_m, y), (size_px, size_px))
