"""Reading scenes through the door for pixels: against rasterio and xarray, asked for the same values.

    python benchmarks/reading.py

One scene of twelve bands is written as decibels in float32 with NaN, as hundredths of decibels in int16 with scale and
nodata, and as a NetCDF file. Stripes of 256 rows of all bands are read from a warm page cache on one core, by the
library alone, scaled and with NaN where they are missing, and through the door, which finds out what to do.
Readers take turns; medians.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
import rioxarray  # noqa: F401  the accessor .rio
import xarray as xr
from rasterio.transform import Affine
from rasterio.windows import Window
from row import Row, write_benchmark

from sardino.data.rasters.scene import open_scene

BANDS, ROWS, BAR = 12, 256, 0.9


def write_scenes(folder: Path, px: int) -> dict[str, Path]:
    """The scene in each format, by what it is called."""
    rng = np.random.default_rng(0)
    db = (rng.normal(-14, 4, (BANDS, px, px)).round(2)).astype(np.float32)
    db[:, : px // 16] = np.nan
    profile = {"driver": "GTiff", "count": BANDS, "height": px, "width": px, "crs": "EPSG:32631", "compress": "deflate"}
    profile |= {"transform": Affine(10, 0, 500_000, 0, -10, 5_500_000), "tiled": True, "zlevel": 1}
    paths = {"float32 GeoTIFF": folder / "f.tif", "packed GeoTIFF": folder / "p.tif", "NetCDF": folder / "n.nc"}
    with rasterio.open(paths["float32 GeoTIFF"], "w", dtype="float32", nodata=np.nan, **profile) as file:
        file.write(db)
    with rasterio.open(paths["packed GeoTIFF"], "w", dtype="int16", nodata=-32768, **profile) as file:
        file.write(np.where(np.isnan(db), -32768, db * 100).astype(np.int16))
        file.scales = [0.01] * BANDS
    place = {"y": 5_499_995 - 10.0 * np.arange(px), "x": 500_005 + 10.0 * np.arange(px)}
    data = xr.Dataset({"db": (("band", "y", "x"), db)}, place).rio.write_crs("EPSG:32631")
    data.db.encoding |= {"zlib": True, "complevel": 1, "chunksizes": (1, min(256, px), min(256, px))}
    data.to_netcdf(paths["NetCDF"], engine="h5netcdf")
    return paths


def read_by_library(path: Path, px: int) -> None:
    """What is meant, stripe by stripe, as one writes it who knows the file."""
    if path.suffix == ".nc":
        with xr.open_dataset(path, engine="h5netcdf", cache=False) as data:
            for top in range(0, px, ROWS):
                data["db"].isel(y=slice(top, top + ROWS)).to_numpy()
        return
    with rasterio.open(path) as dataset:
        packed = dataset.dtypes[0] == "int16"
        for top in range(0, px, ROWS):
            window = Window(0, top, px, min(ROWS, px - top))
            values = dataset.read(window=window, out_dtype="float32", masked=packed)
            if packed:
                values *= dataset.scales[0]
                values.filled(np.nan)


def read_by_door(path: Path, px: int) -> None:
    """What is meant, stripe by stripe."""
    with open_scene(path).reading(range(BANDS), 1) as read:
        for top in range(0, px, ROWS):
            read(top, min(top + ROWS, px), 0, px)


def main() -> None:
    """Measure, print the rows and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--px", type=int, default=2048, help="edge of the scene")
    parser.add_argument("--rounds", type=int, default=9, help="of which the median is taken")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/reading.json"))
    options = parser.parse_args()
    rows = []
    readers: tuple[Callable[[Path, int], None], ...] = (read_by_library, read_by_door)
    with tempfile.TemporaryDirectory() as folder:
        for name, path in write_scenes(Path(folder), options.px).items():
            seconds: dict[str, list[float]] = {reader.__name__: [] for reader in readers}
            for _ in range(options.rounds + 1):
                for reader in readers:
                    started = time.perf_counter()
                    reader(path, options.px)
                    seconds[reader.__name__].append(time.perf_counter() - started)
            plain, ours = (BANDS * options.px**2 / 1e6 / statistics.median(spent[1:]) for spent in seconds.values())
            library = "xarray" if path.suffix == ".nc" else "rasterio"
            rows.append(Row(f"{name} read as it is meant", ours, "Mpx/s", library, plain, ours / plain, BAR))
    print(write_benchmark(rows, options.out))


if __name__ == "__main__":
    sys.exit(main())
