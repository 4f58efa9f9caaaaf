"""Reading scenes through the door for pixels: against rasterio and xarray, asked for the same values.

    python benchmarks/reading.py

One scene of twelve bands is written as decibels in float32 with NaN, as hundredths of decibels in int16 with scale and
nodata, and as a NetCDF file. All bands are read from a warm page cache on one core, by the library alone, scaled and
with NaN where they are missing, and through the door, which finds out what to do: in stripes of 256 rows as a map does,
whole as an import does, and in tiles of 448 px as `sardino tiles chop` does, which then writes them. Readers take
turns; medians.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import rasterio
import rioxarray  # noqa: F401  the accessor .rio
import xarray as xr
from rasterio.transform import Affine
from rasterio.windows import Window
from row import Row, write_benchmark

from sardino.data.rasters.chop import cut_variable
from sardino.data.rasters.open import open_pixels
from sardino.data.rasters.raster import read_square_raster
from sardino.data.rasters.scene import open_scene
from sardino.data.tiles.tile import Tile

BANDS, ROWS, TILE, BAR = 12, 256, 448, 0.9
CRS, LEFT, TOP, STEP = "EPSG:32631", 500_000, 5_500_000, 10
DOORS = {"map": "in stripes", "import": "whole", "chop": "in tiles"}


def write_scenes(folder: Path, px: int) -> dict[str, Path]:
    """The scene in each format, by what it is called."""
    rng = np.random.default_rng(0)
    db = (rng.normal(-14, 4, (BANDS, px, px)).round(2)).astype(np.float32)
    db[:, : px // 16] = np.nan
    profile = {"driver": "GTiff", "count": BANDS, "height": px, "width": px, "crs": CRS, "compress": "deflate"}
    profile |= {"transform": Affine(STEP, 0, LEFT, 0, -STEP, TOP), "tiled": True, "zlevel": 1}
    paths = {"float32 GeoTIFF": folder / "f.tif", "packed GeoTIFF": folder / "p.tif", "NetCDF": folder / "n.nc"}
    with rasterio.open(paths["float32 GeoTIFF"], "w", dtype="float32", nodata=np.nan, **profile) as file:
        file.write(db)
    with rasterio.open(paths["packed GeoTIFF"], "w", dtype="int16", nodata=-32768, **profile) as file:
        file.write(np.where(np.isnan(db), -32768, db * 100).astype(np.int16))
        file.scales = [0.01] * BANDS
    along = STEP * (np.arange(px) + 0.5)
    place = {"y": TOP - along, "x": LEFT + along}
    data = xr.Dataset({"db": (("band", "y", "x"), db)}, place).rio.write_crs(CRS)
    data.db.encoding |= {"zlib": True, "complevel": 1, "chunksizes": (1, min(256, px), min(256, px))}
    data.to_netcdf(paths["NetCDF"], engine="h5netcdf")
    return paths


def windows_of(door: str, px: int) -> list[tuple[slice, slice]]:
    """What a door asks for, one after the other: stripes for a map, the whole chip to import, tiles to chop."""
    down, across = {"map": (ROWS, px), "import": (px, px), "chop": (TILE, TILE)}[door]
    starts = [(top, left) for top in range(0, px, down) for left in range(0, px, across)]
    return [(slice(top, min(top + down, px)), slice(left, min(left + across, px))) for top, left in starts]


def read_by_library(door: str, path: Path, px: int) -> None:
    """What is meant, window by window, as one writes it who knows the file."""
    if path.suffix == ".nc":
        with xr.open_dataset(path, engine="h5netcdf", cache=False) as data:
            for rows, columns in windows_of(door, px):
                data["db"].isel(y=rows, x=columns).to_numpy()
        return
    with rasterio.open(path) as dataset:
        packed = dataset.dtypes[0] == "int16"
        for window in windows_of(door, px):
            values = dataset.read(window=Window.from_slices(*window), out_dtype="float32", masked=packed)
            if packed:
                values *= dataset.scales[0]
                values.filled(np.nan)


def read_by_door(door: str, path: Path, px: int) -> None:
    """What is meant, window by window."""
    if door == "map":
        with open_scene(path).reading(range(BANDS), 1) as read:
            for rows, columns in windows_of(door, px):
                read(rows.start, rows.stop, columns.start, columns.stop)
    elif door == "import":
        read_square_raster(path).values  # noqa: B018  made when it is asked for
    else:
        with open_pixels(path) as pixels:
            for rows, columns in windows_of(door, px):
                corner = (STEP, 0.0, LEFT + STEP * columns.start, 0.0, -STEP, TOP - STEP * rows.start)
                tile = Tile("", CRS, corner, (rows.stop - rows.start, columns.stop - columns.start))
                cut_variable(pixels, pixels.variables[0], tile)


def main() -> None:
    """Measure, print the rows and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--px", type=int, default=2048, help="edge of the scene")
    parser.add_argument("--rounds", type=int, default=9, help="of which the median is taken")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/reading.json"))
    options = parser.parse_args()
    rows = []
    readers: tuple[Callable[[str, Path, int], None], ...] = (read_by_library, read_by_door)
    with tempfile.TemporaryDirectory() as folder:
        for (name, path), door in product(write_scenes(Path(folder), options.px).items(), DOORS):
            seconds: dict[str, list[float]] = {reader.__name__: [] for reader in readers}
            for _ in range(options.rounds + 1):
                for reader in readers:
                    started = time.perf_counter()
                    reader(door, path, options.px)
                    seconds[reader.__name__].append(time.perf_counter() - started)
            plain, ours = (BANDS * options.px**2 / 1e6 / statistics.median(spent[1:]) for spent in seconds.values())
            library = "xarray" if path.suffix == ".nc" else "rasterio"
            rows.append(Row(f"{door}: {name} read {DOORS[door]}", ours, "Mpx/s", library, plain, ours / plain, BAR))
    print(write_benchmark(rows, options.out))


if __name__ == "__main__":
    sys.exit(main())
