"""A raster that is written is what rio-cogeo would make of it: pixels, overviews, order in the file; or nothing."""

import resource
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window
from rio_cogeo.cogeo import cog_translate, cog_validate
from rio_cogeo.profiles import cog_profiles

from sardino.data.rasters import geotiff
from sardino.data.rasters.geotiff import GeoTiff, write_geotiff
from sardino.errors import SardinoError

NAN = float("nan")


def classes(rng: np.random.Generator) -> np.ndarray[Any, Any]:
    return np.kron(rng.integers(0, 9, (1, 111, 74)), np.ones((1, 11, 11))).astype(np.uint8)


def backscatter(bands: int, side: int) -> Any:
    def made(rng: np.random.Generator) -> np.ndarray[Any, Any]:
        values = rng.normal(-12, 3, (bands, side, side)).astype(np.float16).astype(np.float32)
        values[:, : side // 3, : side // 2] = NAN
        return values

    return made


KINDS = [
    ("uint8", 255, classes, {"colors": {0: "#000000", 3: "#00a000"}, "tags": {"legend": "worldcover"}}),
    ("float32", NAN, backscatter(2, 1100), {"stepped": True}),
    ("float32", NAN, backscatter(2, 600), {}),
    ("float16", NAN, backscatter(20, 300), {}),
    ("float32", NAN, backscatter(1, 40), {}),
]


def overviews(path: Path) -> list[np.ndarray[Any, Any]]:
    with rasterio.open(path) as dataset:
        levels = len(dataset.overviews(1))
    found = []
    for level in range(levels):
        with rasterio.open(path, overview_level=level) as dataset:
            found.append(dataset.read())
    return found


@pytest.mark.parametrize(("dtype", "nodata", "made", "more"), KINDS)
def test_pixels_and_overviews_are_those_of_rio_cogeo(
    dtype: str, nodata: float, made: Any, more: dict[str, Any], tmp_path: Path
) -> None:
    values = made(np.random.default_rng(0))
    names = [f"band {number}" for number in range(len(values))]
    what = GeoTiff("EPSG:32632", (10.0, 0.0, 5e5, 0.0, -10.0, 5e6), values.shape[1:], names, dtype, nodata, **more)
    ours, theirs = tmp_path / "ours.tif", tmp_path / "theirs.tif"
    with write_geotiff(ours, what) as canvas:
        canvas.fill(values, Window(0, 0, values.shape[2], values.shape[1]))
    valid, errors, warnings = cog_validate(ours)
    assert valid and not errors and not warnings
    with rasterio.open(ours) as dataset:
        assert np.array_equal(dataset.read(), values, equal_nan=dtype != "uint8")
        assert dataset.descriptions == tuple(names) and dataset.tags().items() >= what.tags.items()
        assert dataset.tags(ns="IMAGE_STRUCTURE")["COMPRESSION"] == "DEFLATE"
        assert dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS") == ("16" if dtype == "float16" else None)
        if what.colors:
            assert dataset.colormap(1)[3] == (0, 160, 0, 255)
    facts: dict[str, Any] = {"nodata": nodata, "overview_resampling": "nearest" if what.colors else "average"}
    layout = cog_profiles.get("deflate") | {"blockxsize": what.block, "blockysize": what.block}
    if dtype == "float16":
        layout |= {"nbits": 16}
    cog_translate(ours, theirs, layout, **facts, in_memory=False, quiet=True)
    mine, peers = overviews(ours), overviews(theirs)
    assert len(mine) == len(peers)
    for one, other in zip(mine, peers, strict=True):
        assert np.array_equal(one, other, equal_nan=dtype != "uint8")


def test_a_disk_that_fills_during_the_copy_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, real = resource.getrlimit(resource.RLIMIT_FSIZE), geotiff.rasterio.shutil.copy

    def copy(*paths: Path, **options: Any) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))  # the system itself refuses larger files
        real(*paths, **options)

    monkeypatch.setattr(geotiff.rasterio.shutil, "copy", copy)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    values = np.random.default_rng(0).normal(size=(1, 600, 600)).astype(np.float32)
    what = GeoTiff("EPSG:32632", (10.0, 0.0, 5e5, 0.0, -10.0, 5e6), (600, 600), ["vv"], "float32", NAN)
    try:
        with (
            pytest.raises(SardinoError, match=r"a\.tif cannot be written .*is the disk full\?"),
            write_geotiff(tmp_path / "a.tif", what) as canvas,
        ):
            canvas.fill(values, Window(0, 0, 600, 600))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(tmp_path.iterdir())
