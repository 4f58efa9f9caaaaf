"""A small archive of the synthetic world's scenes: COGs and STAC items, under the Planetary Computer's names."""

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.io import MemoryFile
from rasterio.shutil import copy
from rasterio.transform import Affine
from rasterio.warp import Resampling, reproject, transform_bounds

from sardino.data.sources.world.synthetic import World
from sardino.data.tiles.landcover import WORLDCOVER
from sardino.data.tiles.radiometry import CHANNELS, SEASONS, to_power
from sardino.data.tiles.tile import Tile, tile_grid

MARGIN = 24
"""Pixels of each scene beyond the tiles."""
OVERLAP = 16
"""Rows that the two frames of a pass share."""
DAYS = {
    "winter": ("2019-12-01", "2020-02-29"),
    "spring": ("2020-03-01", "2020-05-31"),
    "summer": ("2020-06-01", "2020-08-31"),
    "fall": ("2020-09-01", "2020-11-30"),
}
OTHER_DAYS = {"winter": "2020-01-10", "spring": "2020-04-10", "summer": "2020-07-10", "fall": "2020-10-10"}
ORBIT, OTHER_ORBIT = 59, 161
STALE = "S1_2020-11-30_59_a"
"""The scene whose grid the catalogue states wrongly, as after a reprocessing in place."""
Image = NDArray[Any]


@dataclass
class Archive:
    """Files below a folder, their items, and what is true of them.

    Attributes:
        tiles: the tiles that the scenes cover.
        grid: the tile of all scenes: tiles and margin.
        passes: linear power (2, H, W) of each pass on `grid` by (season, orbit, day), zero where it saw nothing.
        codes: WorldCover codes (H, W) on `grid`.
    """

    folder: Path
    tiles: list[Tile]
    grid: Tile
    codes: Image
    passes: dict[tuple[str, int, str], Image] = field(default_factory=dict)
    _items: list[dict[str, Any]] = field(default_factory=list)

    def items(self, base: str) -> list[dict[str, Any]]:
        """The items with their links below `base`."""

        def linked(item: dict[str, Any]) -> dict[str, Any]:
            assets = {k: a | {"href": f"{base}/files/{a['href']}"} for k, a in item["assets"].items()}
            return item | {"assets": assets}

        return [linked(item) for item in self._items]

    def scene(
        self,
        name: str,
        power: Image,
        day: str,
        rows: slice = slice(None),
        orbit: int = ORBIT,
        *,
        collection: str = "sentinel-1-rtc",
        nodata: float | None = -32768,
        polarisations: tuple[str, str] = ("vv", "vh"),
        gcps: bool = False,
        **properties: Any,
    ) -> dict[str, Any]:
        """Write one scene, rows of the grid, and add its item."""
        a, b, c, d, e, f = self.grid.transform
        transform = Affine(a, b, c, d, e, f + e * (rows.start or 0))
        facts = {
            "datetime": f"{day}Z",
            "sar:instrument_mode": "IW",
            "sar:polarizations": [p.upper() for p in polarisations],
            "sat:orbit_state": "ascending",
            "sat:relative_orbit": orbit,
        }
        files = {}
        for band, values in zip(polarisations, power[:, rows], strict=True):
            files[band] = f"{collection}/{name}.{band}.tif"
            write_cog(self.folder / files[band], values, transform, self.grid.crs, nodata, gcps)
        grid = values.shape, transform, self.grid.crs
        item = stac_item(name, collection, files, *grid, facts | properties, nodata)
        self._items.append(item)
        return item

    def map(self, collection: str, name: str, asset: str, values: Image, day: str, crs: str = "", **facts: Any) -> None:
        """Write a map on the grid, or warped to `crs` by nearest neighbour, and add its item."""
        values = values if values.ndim == 3 else values[None]
        transform, place = Affine(*self.grid.transform), self.grid.crs
        if crs:
            values, transform = _warped(values, transform, place, crs)
            place = crs
        file = f"{collection}/{name}.tif"
        write_cog(self.folder / file, values, transform, place, 0)
        dates = {"datetime": None, "start_datetime": f"{day}T00:00:00Z", "end_datetime": f"{day[:4]}-12-31T23:59:59Z"}
        self._items.append(
            stac_item(
                name, collection, {asset: file}, values.shape[1:], transform, place, dates | facts, 0, len(values)
            )
        )


def build_archive(folder: Path, tile_px: int = 64, columns: int = 2, rows: int = 2, seed: int = 3) -> Archive:
    """Scenes of 2020 over columns x rows tiles, with everything in the catalogue that a reader must see through.

    Orbit 59 covers all in two frames a pass; orbit 161 begins within the tiles, its border filled with zeros.
    """
    world, draw = World(seed=seed), np.random.default_rng(seed)
    first = world.tiles("europe", tile_px, 1, 1)[0]
    tiles = list(tile_grid("europe", first.crs, first.bounds[0::3], tile_px, 10.0, columns, rows))
    a, b, c, d, e, f = first.transform
    grid = Tile(
        "europe",
        first.crs,
        (a, b, c - a * MARGIN, d, e, f - e * MARGIN),
        (rows * tile_px + 2 * MARGIN, columns * tile_px + 2 * MARGIN),
    )
    chip = world.chip(grid)
    archive = Archive(folder, tiles, grid, WORLDCOVER.decode(chip.label))
    half, edge = grid.shape[0] // 2, MARGIN + tile_px + tile_px // 3

    def power(season: str) -> Image:
        channels = [CHANNELS.index(f"{season}_{band}") for band in ("vv", "vh")]
        mean = np.nan_to_num(to_power(chip.backscatter_db[channels]), nan=1e-3)
        return (mean * draw.gamma(4.4, 1 / 4.4, mean.shape)).astype(np.float32)

    for season in SEASONS:
        for day in DAYS[season]:
            seen = archive.passes[season, ORBIT, day] = power(season)
            south = seen * np.float32(1.01)  # a second processing of the overlap, so that it matters which is taken
            seen[:, half + OVERLAP // 2 :] = south[:, half + OVERLAP // 2 :]
            archive.scene(f"S1_{day}_59_a", seen, f"{day}T05:59:50", slice(0, half + OVERLAP // 2))
            archive.scene(f"S1_{day}_59_b", south, f"{day}T06:00:15", slice(half - OVERLAP // 2, None))
        day = OTHER_DAYS[season]
        seen = archive.passes[season, OTHER_ORBIT, day] = power(season)
        seen[:, :, :edge] = 0
        archive.scene(f"S1_{day}_161", seen, f"{day}T06:08:00", orbit=OTHER_ORBIT)

    other = power("summer")
    archive.scene("S1_zeros", np.zeros_like(other), "2020-06-13T06:00:00")
    archive.scene("S1_descending", other, "2020-06-19T18:00:00", **{"sat:orbit_state": "descending"})
    archive.scene("S1_ew", other, "2020-06-25T06:00:00", **{"sar:instrument_mode": "EW"})
    archive.scene("S1_hh", other, "2020-06-26T06:00:00", polarisations=("hh", "hv"))
    archive.scene("S1_before", other, "2019-11-30T23:59:59")
    archive.scene("S1_after", other, "2020-12-01T00:00:00")
    stale = next(item for item in archive._items if item["id"] == STALE)
    stale["properties"]["proj:transform"] = [10.0, 0.0, c - 5000.0, 0.0, -10.0, f + 5000.0]
    stale["properties"]["proj:shape"] = [grid.shape[0] + 7, grid.shape[1] - 3]
    archive.scene("S1_gcp", power("fall"), "2020-10-01T06:00:00", collection="sentinel-1-grd", nodata=0, gcps=True)
    decibels = 10 * np.log10(power("fall"))
    archive.scene("S1_db", decibels, "2020-10-01T06:00:00", collection="decibels")

    worldcover = {"crs": "EPSG:4326"}
    archive.map(
        "esa-worldcover",
        "ESA_WorldCover_10m_2020_v100",
        "map",
        archive.codes,
        "2020-01-01",
        **worldcover,
        **{"esa_worldcover:product_version": "1.0.0"},
    )
    later = np.where(archive.codes == 10, 30, archive.codes)
    archive.map(
        "esa-worldcover",
        "ESA_WorldCover_10m_2021_v200",
        "map",
        later,
        "2021-01-01",
        **worldcover,
        **{"esa_worldcover:product_version": "2.0.0"},
    )
    rgb = np.clip(chip.layers["optical"], 1, 255)
    cloudless, cloudy = rgb.copy(), np.full_like(rgb, 250)
    cloudless[:, :, : grid.shape[1] // 2] = 0  # the clear image covers the east only
    archive.map("sentinel-2-l2a", "S2_clear", "visual", cloudless, "2020-07-01", **{"eo:cloud_cover": 1.0})
    archive.map("sentinel-2-l2a", "S2_cloudy", "visual", cloudy, "2020-07-06", **{"eo:cloud_cover": 60.0})
    lccs = np.where(archive.codes == 80, 210, 10).astype(np.uint8)
    archive.map("esa-cci-lc", "C3S-LC-2020", "lccs_class", lccs, "2020-01-01", crs="EPSG:4326")
    carbon = np.full(grid.shape, 470, np.uint16)  # tenths of a tonne of carbon a hectare
    archive.map("hgb", "hgb_2010", "aboveground", carbon, "2010-01-01", crs="EPSG:4326")
    archive.map("other-landcover", "other", "map", archive.codes // 10 + 1, "2020-01-01")
    return archive


def stac_item(
    name: str,
    collection: str,
    files: dict[str, str],
    shape: tuple[int, ...],
    transform: Affine,
    crs: str,
    properties: dict[str, Any],
    nodata: float | None,
    bands: int = 1,
) -> dict[str, Any]:
    height, width = shape
    west, south, east, north = transform_bounds(
        crs, "EPSG:4326", *rasterio.transform.array_bounds(height, width, transform)
    )
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    described = [{} if nodata is None else {"nodata": nodata} for _ in range(bands)]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": ["https://stac-extensions.github.io/projection/v1.1.0/schema.json"],
        "id": name,
        "collection": collection,
        "bbox": [west, south, east, north],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "proj:epsg": int(crs.partition(":")[2]),
            "proj:shape": [height, width],
            "proj:transform": list(transform)[:6],
            **properties,
        },
        "links": [],
        "assets": {
            band: {"href": file, "type": "image/tiff", "roles": ["data"], "raster:bands": described}
            for band, file in files.items()
        },
    }


def write_cog(path: Path, values: Image, transform: Affine, crs: str, nodata: float | None, gcps: bool = False) -> None:
    """A deflated COG of (H, W) or (bands, H, W); with ground control points instead of a transform where asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = values if values.ndim == 3 else values[None]
    count, height, width = values.shape
    profile = {"count": count, "height": height, "width": width, "dtype": values.dtype, "nodata": nodata}
    place: dict[str, Any] = {"crs": crs, "transform": transform}
    if gcps:
        a, _, c, _, e, f = transform[:6]
        corners = [(r, s, c + a * s, f + e * r, 0.0) for r in (0, height) for s in (0, width)]
        place = {"gcps": [GroundControlPoint(*corner) for corner in corners], "crs": crs}
    with warnings.catch_warnings(), MemoryFile() as memory:
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with memory.open(driver="GTiff", **profile, **place) as file:
            file.write(values)
        if gcps:  # a valid COG has a transform
            path.write_bytes(memory.getbuffer())
            return
        with memory.open() as file:
            copy(file, path, driver="COG", compress="deflate", blocksize=128, overviews="none")


def _warped(values: Image, transform: Affine, crs: str, other: str) -> tuple[Image, Affine]:
    """Values on a grid of about the same pixel size in another CRS, by nearest neighbour."""
    height, width = values.shape[1:]
    bounds = transform_bounds(crs, other, *rasterio.transform.array_bounds(height, width, transform))
    shape = (height * 5 // 4, width * 5 // 4)
    west, south, east, north = bounds
    target = Affine((east - west) / shape[1], 0, west, 0, (south - north) / shape[0], north)
    warped = np.zeros((len(values), *shape), values.dtype)
    for source, result in zip(values, warped, strict=True):
        reproject(
            source, result, transform, src_crs=crs, dst_transform=target, dst_crs=other, resampling=Resampling.nearest
        )
    return warped, target
