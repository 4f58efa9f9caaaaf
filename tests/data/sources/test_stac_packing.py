"""How a catalogue's files are packed: scales count, and what lies beside the pixels is not overlooked."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from rasterio.enums import ColorInterp
from rasterio.transform import Affine

from sardino.data.sources.source import LeftOut
from sardino.data.sources.stac.catalogue import Catalogue, HttpPolicy
from sardino.data.sources.stac.read import load
from sardino.data.sources.stac.source import geobox
from sardino.data.tiles.tile import Tile

pytestmark = [
    pytest.mark.filterwarnings("ignore:The 'shapely.ops.transform:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning"),
]
TILE = Tile("coast", "EPSG:32633", (10.0, 0.0, 400_000.0, 0.0, -10.0, 6_000_000.0), (24, 24))


def write_scene(path: Path, planes: np.ndarray, **profile: object) -> Path:
    grid = {"height": 24, "width": 24, "crs": TILE.crs, "transform": Affine(*TILE.transform)}
    with rasterio.open(path, "w", driver="GTiff", count=len(planes), dtype=planes.dtype, **grid, **profile) as file:
        file.write(planes)
    return path


def read(path: Path) -> np.ndarray:
    """The scene on the tile, (H, W) linear power."""
    footprint = TILE.footprint_in("EPSG:4326")
    ring = {"type": "Polygon", "coordinates": [list(map(list, footprint.exterior.coords))]}
    scene = pystac.Item("scene", ring, list(footprint.bounds), datetime(2020, 7, 1, tzinfo=UTC), {}, collection="sar")
    scene.add_asset("vv", pystac.Asset(str(path), media_type=pystac.MediaType.COG, roles=["data"]))
    catalogue = Catalogue("http://127.0.0.1:9", policy=HttpPolicy(attempts=1, backoff_s=0.01, timeout_s=1))
    how: dict = {"resampling": "bilinear", "dtype": "float32", "nodata": np.nan}
    return load([scene], ["vv"], geobox(TILE), catalogue=catalogue, **how)["vv"].values[0]


def power(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(10, 9_000, (1, 24, 24)).astype(np.uint16)


def test_counts_with_a_scale_become_what_they_mean(tmp_path: Path) -> None:
    counts = power(0)
    counts[0, :5] = 65535
    path = write_scene(tmp_path / "s.tif", counts, nodata=65535)
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = [2e-4], [0.001]
    found = read(path)
    assert np.isnan(found[:5]).all()
    np.testing.assert_allclose(found[5:], counts[0, 5:] * 2e-4 + 0.001, rtol=1e-5)


def test_a_mask_beside_the_pixels_leaves_the_tile_out(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "s.tif", power(1))
    with rasterio.open(path, "r+") as file:
        file.write_mask(np.tri(24, dtype=bool))
    with pytest.raises(LeftOut, match=r"scene \(vv\) has a mask or an alpha band beside its pixels"):
        read(path)


def test_an_alpha_band_leaves_the_tile_out(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "s.tif", np.concatenate([power(2), np.full((1, 24, 24), 255, np.uint16)]))
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [ColorInterp.gray, ColorInterp.alpha]
    with pytest.raises(LeftOut, match="a mask or an alpha band"):
        read(path)


def test_complex_numbers_leave_the_tile_out(tmp_path: Path) -> None:
    with pytest.raises(LeftOut, match="holds complex numbers: detect it first"):
        read(write_scene(tmp_path / "s.tif", power(3).astype(np.complex64)))
