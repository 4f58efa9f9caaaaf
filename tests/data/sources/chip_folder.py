"""A folder of chips to import: the spec of a test, and files that fit it."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from sardino.data.sources.folder.source import import_folder
from sardino.data.sources.folder.specification import FolderSpec
from sardino.data.tiles.store import TileStore
from sardino.errors import SardinoError

SIZE, TILE = 40, 16
GRID = Affine(10, 0, 500_000, 0, -10, 5_500_000)
RASTER = {
    "source": "raster",
    "files": "lulc/{chip}.tif",
    "legend": "Own",
    "classes": [{"code": 4, "name": "Crops", "color": "#FFDB5C"}, {"code": 9, "name": "Range", "color": "#C6AD8D"}],
}
OPTICAL = {"optical": {"files": "s2/{chip}.tif", "bands": [1, 2, 3]}}


def write_tif(path: Path, values: np.ndarray, transform: Affine = GRID, crs: str | None = "EPSG:32631") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = values if values.ndim == 3 else values[None]
    profile = {"count": len(values), "height": values.shape[1], "width": values.shape[2], "dtype": values.dtype}
    with rasterio.open(path, "w", driver="GTiff", crs=crs, transform=transform, **profile) as file:
        file.write(values)
    return path


def decibels(seed: int, bands: int = 2, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).normal(-15, 3, (bands, size, size)).astype(np.float32)


def spec(**changes: object) -> FolderSpec:
    whole: dict = {
        "name": "test",
        "title": "Test",
        "product": "test",
        "channels": ["vv", "vh"],
        "split": "train",
        "backscatter": {"files": "s1/{chip}.tif", "bands": ["vv", "vh"], "unit": "db", "nodata": [-9999]},
    }
    backscatter = whole["backscatter"] | changes.pop("backscatter", {})
    return FolderSpec.model_validate(whole | {"backscatter": backscatter} | changes)


def run(folder: Path, chosen: FolderSpec, **changes: object) -> TileStore:
    arguments: dict = {"tile_px": TILE, "bands": 5, "direction_deg": 0.0}
    return import_folder(folder, chosen, folder.parent / "store", **(arguments | changes))


def refused(folder: Path, chosen: FolderSpec, message: str, **changes: object) -> None:
    with pytest.raises(SardinoError, match=message) as error:
        run(folder, chosen, **changes)
    assert "\n" not in str(error.value)
    assert not (folder.parent / "store").exists()
