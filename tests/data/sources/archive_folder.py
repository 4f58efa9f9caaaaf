"""A small folder laid out as M3LEO publishes it, with backscatter and labels that are functions of the place."""

import csv
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import rasterio
import xarray as xr
from numpy.typing import NDArray
from rasterio.transform import Affine
from shapely import box

from sardino.data.sources.archives.source import S1_BANDS

AOI, HASH = "conus", "293d95e3ee589"
STEM = f"{AOI}_partitions_aschips_{HASH}"
SPLITS = ("train", "train", "train", "val", "test")
DEGREES = (0.0050, 0.0040)
"""A tile of about 410 x 445 m at 42.7 north."""
ORIGIN = (-71.16, 42.60)
SIZE = 44
WEST_OFFSET = {"winter": -1.5, "spring": 0.0, "summer": -0.5, "fall": 0.5}


def identifier(number: int) -> str:
    return f"{number:013x}"


def bounds(number: int) -> tuple[float, float, float, float]:
    west = ORIGIN[0] + number * DEGREES[0]
    return west, ORIGIN[1], west + DEGREES[0], ORIGIN[1] + DEGREES[1]


def truth_db(longitude: NDArray[Any], latitude: NDArray[Any], band: str) -> NDArray[np.float64]:
    """Smooth decibels of a band such as winter_vvasc, all within -25 and -5."""
    wave = 2 * np.sin(2000 * (longitude - ORIGIN[0])) * np.cos(1500 * (latitude - ORIGIN[1]))
    level = (-11 if "_vv" in band else -18) + (0.7 if band.endswith("des") else 0)
    return level + wave + WEST_OFFSET[band.partition("_")[0]]


def truth_code(longitude: NDArray[Any], latitude: NDArray[Any]) -> NDArray[np.uint8]:
    """Forest in the west of each tile, cropland in the east."""
    return np.where((longitude - ORIGIN[0]) % DEGREES[0] < DEGREES[0] / 2, 10, 40).astype(np.uint8)


def centres(number: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    west, south, east, north = bounds(number)
    longitude = west + (np.arange(SIZE) + 0.5) * (east - west) / SIZE
    latitude = north - (np.arange(SIZE) + 0.5) * (north - south) / SIZE
    grid = np.meshgrid(longitude, latitude)
    return grid[0], grid[1]


def write_raster(path: Path, values: NDArray[Any], number: int, names: tuple[str, ...] = (), **profile: Any) -> Path:
    """A GeoTIFF in degrees over the tile's outline, as Earth Engine delivers it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = values if values.ndim == 3 else values[None]
    west, south, east, north = bounds(number)
    facts = {
        "driver": "GTiff",
        "crs": "EPSG:4326",
        "count": len(values),
        "height": SIZE,
        "width": SIZE,
        "dtype": values.dtype,
        "transform": Affine((east - west) / SIZE, 0, west, 0, (south - north) / SIZE, north),
    }
    with rasterio.open(path, "w", **(facts | profile)) as file:
        file.write(values)
        for band, name in enumerate(names, 1):
            file.set_band_description(band, name)
    return path


def seasons(number: int, encoding: str = "byte-db") -> NDArray[Any]:
    """(16, H, W) as the tools stored them."""
    longitude, latitude = centres(number)
    db = np.stack([truth_db(longitude, latitude, band) for band in S1_BANDS])
    if encoding == "whole-db":
        return np.trunc(db).astype(np.int64).astype(np.uint16)
    if encoding == "db":
        return db.astype(np.float32)
    return (np.trunc(255 * (db + 30) / 30).astype(np.int64) % 256).astype(np.uint8)


def write_tile(root: Path, number: int, encoding: str = "byte-db", named: bool = True) -> None:
    """One tile with all its data sets."""
    folder, name = root / STEM, identifier(number)
    longitude, latitude = centres(number)
    codes = truth_code(longitude, latitude)
    codes[:3, :3] = 0
    ramp = np.linspace(0, 10_000, SIZE).astype(np.uint16) * np.ones((SIZE, 1), np.uint16)
    tree = np.full((5, SIZE, SIZE), 40, np.uint8)
    tree[4] = 60
    tree[4, :, :10], tree[4, :, -10:] = 200, 253
    colours = tuple(f"{month:02d}_{colour}" for month in (6, 7) for colour in ("red", "green", "blue"))
    optical = np.stack([np.full((SIZE, SIZE), 20 * (band + 1), np.uint8) for band in range(6)])
    years = tuple(f"Percent_Tree_Cover_{year}" for year in range(2016, 2021))
    write_raster(folder / "s1grd-2020" / f"{name}.tif", seasons(number, encoding), number, S1_BANDS if named else ())
    write_raster(folder / "esaworldcover-2020" / f"{name}.tif", codes, number)
    write_raster(folder / "ghsbuilts-2020" / f"{name}.tif", ramp, number)
    write_raster(folder / "modis44b006veg" / f"{name}.tif", tree, number, years)
    write_raster(folder / "s2rgbm-2020" / f"{name}.tif", optical, number, colours)
    (folder / "biomass-2020").mkdir(exist_ok=True)
    agb = xr.DataArray(
        np.full((SIZE, SIZE), 120.0, np.float32)[::-1],
        dims=("lat", "lon"),
        coords={
            "lat": ("lat", latitude[::-1, 0], {"units": "degrees_north", "standard_name": "latitude"}),
            "lon": ("lon", longitude[0], {"units": "degrees_east", "standard_name": "longitude"}),
        },
    )
    xr.Dataset({"agb": agb, "agb_se": agb / 10}).to_netcdf(folder / "biomass-2020" / f"{name}.nc", engine="scipy")


def write_table(root: Path, tiles: int, suffix: str = "", csv_file: bool = True, **columns: list[Any]) -> Path:
    """The table of tiles and, beside it, their splits."""
    root.mkdir(parents=True, exist_ok=True)
    names = [identifier(number) for number in range(tiles)]
    outlines = [box(*bounds(number)) for number in range(tiles)]
    frame = geopandas.GeoDataFrame({"identifier": names, **columns}, geometry=outlines, crs="EPSG:4326")
    table = root / f"{STEM}{suffix}.geojson"
    table.write_text(frame.to_json())
    if csv_file:
        with (root / f"{STEM}_splits_60bands_angle09_60-20-20{suffix}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["identifier", "split"])
            rows.writerows((name, SPLITS[number % len(SPLITS)]) for number, name in enumerate(names))
    return table


def write_folder(root: Path, tiles: int = 5, encoding: str = "byte-db", suffix: str = "", named: bool = True) -> Path:
    """Table, splits and tiles; returns the table."""
    table = write_table(root, tiles, suffix)
    for number in range(tiles):
        write_tile(root, number, encoding, named)
    return table
