"""Interferograms: granules that hold the whole tile, stacked by date pair, phase never mixed."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from pyproj import Transformer

from sardino.data.rasters.interferometry import DATA, EXTRA, GEOMETRY, RADAR, Granule, cut_interferograms, granules_in
from sardino.data.tiles.tile import Tile, tile_grid
from sardino.errors import SardinoError

# rasterio itself multiplies transforms in the way that affine is giving up.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

UTM = "EPSG:32631"
LEFT, TOP = 500_000.0, 5_500_000.0
TILES = list(tile_grid("north", UTM, (LEFT, TOP), 64, 10.0, 2, 1))
STEP = 0.000833333
WEST, NORTH = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform(LEFT - 500, TOP + 500)


def name_of(late: str, early: str, direction: str = "D", track: int = 87, version: str = "v2_0_4") -> str:
    return f"S1-GUNW-{direction}-R-{track:03d}-tops-{late}_{early}-161541-20480N_18471N-PP-652b-{version}.nc"


def write_granule(path: Path, *, west: float = WEST, columns: int = 60, coherence: float = 0.5, phase=None) -> Path:
    """A small file of the shape of a GUNW granule, 2.6 km from north to south."""
    rows = 30
    lats, lons = NORTH - STEP * np.arange(rows), west + STEP * np.arange(columns)
    shape = (rows, columns)
    rng = np.random.default_rng(columns)
    components = np.where(np.arange(columns) < columns // 3, 1, 2) * np.ones(shape)
    planes = {
        "amplitude": rng.uniform(100, 900, shape),
        "coherence": np.full(shape, coherence),
        "connectedComponents": components,
        "unwrappedPhase": np.where(components == 1, 3.0, 3.0 + 4 * np.pi) if phase is None else np.full(shape, phase),
    }
    data = xr.Dataset(
        {name: (("latitude", "longitude"), values.astype(np.float32)) for name, values in planes.items()},
        {"latitude": lats, "longitude": lons},
    )
    data["latitude"].attrs, data["longitude"].attrs = {"units": "degrees_north"}, {"units": "degrees_east"}
    heights = np.array([-1500.0, 0.0, 1500.0])
    meta = {"latitudeMeta": lats[::7], "longitudeMeta": lons[::9]}
    angles = 30 + heights[:, None, None] / 1000 + np.zeros((3, len(lats[::7]), 1)) + (lons[::9] - WEST) * 100
    dims = ("heightsMeta", "latitudeMeta", "longitudeMeta")
    geometry = xr.Dataset({"incidenceAngle": (dims, angles)}, {"heightsMeta": heights, **meta})
    radar = xr.Dataset({"wavelength": ("matchup", [0.0554658, 0.0554658]), "slantRangeSpacing": ((), 2.33)})
    for number, (group, part) in enumerate({DATA: data, GEOMETRY: geometry, RADAR: radar}.items()):
        encoding = {name: {"_FillValue": 0.0} for name in planes} if group == DATA else {}
        part.to_netcdf(path, mode="a" if number else "w", group=group, engine="h5netcdf", encoding=encoding)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "granules"
    made.mkdir()
    write_granule(made / name_of("20200613", "20200601"))
    write_granule(made / name_of("20200625", "20200601", "A", 88), coherence=0.25)
    # Holds the first tile alone.
    write_granule(made / name_of("20200707", "20200601"), columns=22)
    return made


def opened(path: Path, group: str) -> xr.Dataset:
    with xr.open_dataset(path, engine="h5netcdf", group=group, decode_coords="all") as data:
        return data.load()


def test_granules_are_read_from_their_names(folder: Path) -> None:
    first = granules_in(folder)[0]
    assert (first.late, first.early, first.days) == (date(2020, 6, 13), date(2020, 6, 1), 12)
    assert (first.track, first.direction, first.pair) == (87, "D", "20200613_20200601")
    assert [g.days for g in granules_in(folder, max_days=24)] == [12, 24]
    assert [g.days for g in granules_in(folder, end=date(2020, 6, 20))] == [12]
    with pytest.raises(SardinoError, match=r"none of the 3 granules .* of 2020-06-01 to 2020-07-07, fits the dates"):
        granules_in(folder, start=date(2021, 1, 1))
    with pytest.raises(SardinoError, match="there is no GUNW granule"):
        granules_in(folder.parent)
    with pytest.raises(SardinoError, match="not named as a GUNW granule"):
        Granule.of(folder / "S1-GUNW-other.nc")
    with pytest.raises(SardinoError, match="a date that does not exist"):
        Granule.of(folder / name_of("20201301", "20200601"))


def test_date_pairs_are_stacked_for_the_granules_that_hold_the_tile(folder: Path, tmp_path: Path) -> None:
    far = Tile("far", UTM, (10.0, 0.0, 700_000.0, 0.0, -10.0, TOP), (64, 64))
    done = cut_interferograms(granules_in(folder), [*TILES, far], tmp_path / "out")
    assert done.written == [tile.id for tile in TILES]
    assert done.left_out == {far.id: "no interferogram holds the whole tile"}
    first, second = (tmp_path / "out" / f"{tile.id}.nc" for tile in TILES)
    data, extra = opened(first, DATA), opened(first, EXTRA)
    assert data["coherence"].dims == ("datepair", "y", "x")
    assert data["datepair"].values.tolist() == ["20200613_20200601", "20200625_20200601", "20200707_20200601"]
    assert extra["deltadays"].values.tolist() == [12, 24, 36]
    assert extra["direction"].values.tolist() == ["D", "A", "D"] and extra["track"].values.tolist() == [87, 88, 87]
    assert opened(second, EXTRA)["deltadays"].values.tolist() == [12, 24]
    np.testing.assert_allclose(data["coherence"].isel(datepair=0), 0.5, atol=1e-6)
    np.testing.assert_allclose(data["coherence"].isel(datepair=1), 0.25, atol=1e-6)
    assert data.rio.crs == UTM and data.rio.bounds() == pytest.approx(TILES[0].bounds)


def test_phase_keeps_its_cycles_and_components_their_numbers(folder: Path, tmp_path: Path) -> None:
    cut_interferograms(granules_in(folder), TILES, tmp_path / "out", resolution=10)
    seen = set()
    for tile in TILES:
        data = opened(tmp_path / "out" / f"{tile.id}.nc", DATA).isel(datepair=0)
        phase, components = data["unwrappedPhase"].values, data["connectedComponents"].values
        seen |= set(np.unique(components))
        np.testing.assert_allclose(phase, np.where(components == 1, 3.0, 3.0 + 4 * np.pi), rtol=1e-6)
    assert seen == {1, 2}


def test_geometry_is_that_of_the_tile_and_the_radar_s_facts_come_along(folder: Path, tmp_path: Path) -> None:
    cut_interferograms(granules_in(folder), TILES[:1], tmp_path / "out")
    path = tmp_path / "out" / f"{TILES[0].id}.nc"
    angle = opened(path, GEOMETRY)["incidenceAngle"]
    assert angle.dims == ("datepair", "heightsMeta")
    longitude = TILES[0].footprint_in("EPSG:4326").centroid.x
    np.testing.assert_allclose(
        angle.isel(datepair=0), 30 + np.array([-1.5, 0, 1.5]) + (longitude - WEST) * 100, atol=1e-6
    )
    assert opened(path, RADAR)["wavelength"].values.tolist() == pytest.approx([0.0554658] * 3)


def test_a_granule_without_a_valid_pixel_is_no_layer(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    write_granule(folder / name_of("20200613", "20200601"), coherence=0, phase=0)
    with xr.open_dataset(folder / name_of("20200613", "20200601"), group=DATA, engine="h5netcdf") as data:
        emptied = data.load() * np.nan
    emptied.to_netcdf(folder / name_of("20200613", "20200601"), group=DATA, engine="h5netcdf", mode="w")
    with pytest.raises(SardinoError, match=r"none of 1 tiles could be cut \(1 no valid pixel\)"):
        cut_interferograms(granules_in(folder), TILES[:1], tmp_path / "out")


def test_of_two_versions_of_a_pair_one_is_taken_and_damage_is_told(folder: Path, tmp_path: Path) -> None:
    write_granule(folder / name_of("20200613", "20200601", version="v3_0_0"), coherence=0.9)
    cut_interferograms(granules_in(folder), TILES[:1], tmp_path / "out")
    data = opened(tmp_path / "out" / f"{TILES[0].id}.nc", DATA)
    assert data.sizes["datepair"] == 3 and float(data["coherence"][0].mean()) == pytest.approx(0.5)
    short = folder / name_of("20200625", "20200601", "A", 88)
    begin = short.read_bytes()[:2000]
    short.unlink()  # a handle that is still open would go on reading the old file
    short.write_bytes(begin)
    with pytest.raises(SardinoError, match="cannot be read"):
        cut_interferograms(granules_in(folder), TILES[:1], tmp_path / "more")
