"""From a STAC catalogue over HTTP to a tile store: equal to the arrays it was made of, or left out by name."""

import json
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.warp import Resampling, reproject
from scipy.ndimage import binary_dilation
from stac_archive import MARGIN, OTHER_ORBIT, STALE, Archive, build_archive
from stac_server import StacServer
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sardino.data.sources.ingest import ingest, make_tile, pack_chip
from sardino.data.sources.source import LeftOut, Transient
from sardino.data.sources.stac.catalogue import Catalogue, HttpPolicy
from sardino.data.sources.stac.source import StacSource
from sardino.data.tiles.landcover import IGNORE, WORLDCOVER
from sardino.data.tiles.radiometry import CHANNELS, SEASONS
from sardino.data.tiles.store import TileStore
from sardino.data.tiles.tile import Tile
from sardino.errors import SardinoError

# odc-stac and rasterio call what shapely and affine are about to rename.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The 'shapely.ops.transform:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning"),
    # `load` ignores it and looks into each header itself; another thread of a test may restore the filter meanwhile.
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]
SHORT = HttpPolicy(attempts=6, backoff_s=0.01, timeout_s=1)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return build_archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture
def server(archive: Archive) -> Iterator[StacServer]:
    """A server of its own for each test: another port, hence nothing that GDAL remembers."""
    made = StacServer(archive.folder, archive.items)
    yield made
    made.close()


def source(server: StacServer, **changes: Any) -> StacSource:
    return StacSource(2020, catalogue=Catalogue(server.url, policy=SHORT), **changes)


def run(server: StacServer, archive: Archive, out: Path, chosen: StacSource | None = None, **options: Any) -> TileStore:
    tiles = archive.tiles
    splits, bands = ["train", "train", "val", "test"], [0, 1, 2, 3]
    return ingest(chosen or source(server), tiles, splits, bands, out, **{"wait_s": 0.01, "workers": 2} | options)


def expected(archive: Archive, tile: Tile, erode_px: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Linear power (2, 4, H, W) and counts (4, H, W) of a tile, straight from the arrays."""
    power = np.empty((2, 4, *archive.grid.shape))
    counts = np.empty((4, *archive.grid.shape), int)
    for number, season in enumerate(SEASONS):
        planes = []
        for (when, _, _), values in archive.passes.items():
            if when == season:
                near = binary_dilation(values[0] <= 0, np.ones((3, 3)), erode_px)
                planes.append(np.where((values > 0) & ~near, values.astype(float), np.nan))
        power[:, number] = np.nanmean(planes, axis=0)
        counts[number] = np.isfinite(np.stack(planes)[:, 0]).sum(0)
    return power[(..., *window(archive, tile))], counts[(..., *window(archive, tile))]


def window(archive: Archive, tile: Tile) -> tuple[slice, slice]:
    left, _, _, top = tile.bounds
    row, column = round((archive.grid.bounds[3] - top) / 10), round((left - archive.grid.bounds[0]) / 10)
    return slice(row, row + tile.shape[0]), slice(column, column + tile.shape[1])


@pytest.fixture(scope="module")
def clean(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> TileStore:
    """The store of a run that meets no fault."""
    made = StacServer(archive.folder, archive.items)
    store = run(made, archive, tmp_path_factory.mktemp("clean") / "store")
    made.close()
    return store


def summer(server: StacServer) -> list[dict[str, Any]]:
    """The items of summer and the maps."""
    months = ("06", "07", "08")
    return [item for item in server.items if (item["properties"]["datetime"] or "2020-06")[5:7] in months]


def same_tiles(store: TileStore, other: TileStore) -> None:
    assert store.metadata["left_out"] == other.metadata["left_out"] and store.ids() == other.ids()
    for tile in store.ids():
        for ours, theirs in zip(store.read([tile]), other.read([tile]), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert store.fingerprint == other.fingerprint
    for name in ("notes", "passes_per_season"):
        assert store.metadata[name] == other.metadata[name]


# The whole path


def test_the_store_equals_the_composite_of_the_arrays_themselves(archive: Archive, clean: TileStore) -> None:
    assert clean.metadata["left_out"] == {}
    assert clean.ids() == [tile.id for tile in archive.tiles]
    for tile in archive.tiles:
        values, _ = clean.read([tile.id])
        power, passes = expected(archive, tile)
        vv, vh = 10 * np.log10(power)
        truth = np.stack([vv, vh, vv - vh], 1).reshape(len(CHANNELS), *tile.shape)
        np.testing.assert_allclose(values[0], truth, atol=0.0051)  # the store's rounding to 0.01 dB
        np.testing.assert_array_equal(clean.read_array("passes", [tile.id])[0], passes)


def test_counts_tell_the_passes_of_each_pixel(server: StacServer, archive: Archive) -> None:
    for tile in archive.tiles:
        chip = source(server).chip(tile)
        np.testing.assert_array_equal(chip.counts, expected(archive, tile)[1])
    assert {2, 3} == set(np.unique(chip.counts))  # the second orbit covers a part of the last tile's row


def test_labels_are_the_nearest_pixels_of_the_right_year(archive: Archive, clean: TileStore) -> None:
    with rasterio.open(archive.folder / "esa-worldcover" / "ESA_WorldCover_10m_2020_v100.tif") as file:
        codes, transform = file.read(1), file.transform
    for tile in archive.tiles:
        truth = np.zeros(tile.shape, np.uint8)
        place = {"dst_transform": rasterio.Affine(*tile.transform), "dst_crs": tile.crs}
        reproject(codes, truth, transform, src_crs="EPSG:4326", resampling=Resampling.nearest, **place)
        np.testing.assert_array_equal(clean.read([tile.id])[1][0], WORLDCOVER.encode(truth))
        agree = (truth == archive.codes[window(archive, tile)]).mean()
        assert agree > 0.9  # twice nearest neighbour: borders move by a pixel, classes do not


def test_a_stale_transform_in_the_catalogue_changes_nothing_and_is_noted(archive: Archive, clean: TileStore) -> None:
    notes = clean.metadata["notes"][archive.tiles[0].id]
    assert any(STALE in note and "another grid" in note for note in notes)
    assert clean.metadata["passes_per_season"][archive.tiles[0].id] == [2, 2, 2, 2]


def test_scenes_of_another_grid_are_resampled_in_linear_power(archive: Archive, tmp_path: Path) -> None:
    flat = Archive(tmp_path, archive.tiles, archive.grid, archive.codes)
    checker = np.where(np.add.outer(*map(np.arange, archive.grid.shape)) % 2, 0.01, 0.03).astype(np.float32)
    a, b, c, d, e, f = archive.grid.transform
    flat.grid = Tile("x", archive.grid.crs, (a, b, c + 5, d, e, f), archive.grid.shape)  # half a pixel east
    flat.scene("half", np.stack([checker, checker]), "2020-07-01T06:00:00")
    made = StacServer(tmp_path, flat.items)
    chip = source(made, needed=("summer",), label_collection="").chip(archive.tiles[0])
    made.close()
    summer = chip.backscatter_db[CHANNELS.index("summer_vv")]
    np.testing.assert_allclose(summer, 10 * np.log10(0.02), atol=1e-4)  # not the mean of decibels, -17.6


def test_only_what_was_asked_for_is_used(server: StacServer, archive: Archive) -> None:
    used = {item.id for item in source(server).scenes(archive.tiles[0])}
    assert not used & {"S1_descending", "S1_ew", "S1_hh", "S1_before", "S1_after", "S1_gcp"} and "S1_zeros" in used
    there = {item["id"] for item in server.items if item["collection"] == "sentinel-1-rtc"}
    assert len(used) < len(there)
    one = source(server, exclude=("S1_zeros",)).scenes(archive.tiles[0])
    assert {item.id for item in one} == used - {"S1_zeros"}


def test_a_tile_at_the_edge_of_a_pass_knows_of_it(server: StacServer, archive: Archive) -> None:
    """Without the margin, what lies just outside the tile would not be eroded inside."""
    row, column = archive.tiles[1], MARGIN
    assert any(key[1] == OTHER_ORBIT for key in archive.passes) and column >= source(server).margin_px
    np.testing.assert_array_equal(source(server).chip(row).counts, expected(archive, row)[1])


def test_reference_layers_come_in_their_units(server: StacServer, archive: Archive) -> None:
    tile = archive.tiles[1]
    chip = source(server, layers=("optical", "landcover_300m", "biomass_t_ha")).chip(tile)
    image = chip.layers["optical"]
    assert image.shape == (3, *tile.shape) and image.dtype == np.uint8
    with rasterio.open(archive.folder / "sentinel-2-l2a" / "S2_clear.tif") as file:
        clear = file.read()[(slice(None), *window(archive, tile))]
    np.testing.assert_array_equal(image, np.where((clear == 0).all(0), 250, clear))  # gaps from the cloudier one
    assert set(np.unique(chip.layers["landcover_300m"])) <= {WORLDCOVER.codes.index(80), WORLDCOVER.codes.index(40)}
    np.testing.assert_allclose(chip.layers["biomass_t_ha"], 100.0, rtol=1e-5)  # 47 t of carbon


def test_layers_that_a_catalogue_lacks_are_nodata(server: StacServer, archive: Archive) -> None:
    server.items = [i for i in server.items if i["collection"] in ("sentinel-1-rtc", "esa-worldcover")]
    chip = source(server, layers=("optical", "landcover_300m", "biomass_t_ha")).chip(archive.tiles[0])
    assert (chip.layers["optical"] == 0).all() and (chip.layers["landcover_300m"] == IGNORE).all()
    assert np.isnan(chip.layers["biomass_t_ha"]).all()


# Faults of the line and the server


def test_with_a_third_of_all_requests_failing_every_tile_is_complete_and_the_same(
    server: StacServer, archive: Archive, clean: TileStore, tmp_path: Path
) -> None:
    with server.failing(share=0.3, seed=1) as faults:
        store = run(server, archive, tmp_path / "store", attempts=6)
    assert len(faults.met) >= 5 and sum(faults.met.values()) > 30
    same_tiles(store, clean)


@pytest.mark.parametrize("kind", ["429", "500", "503", "slow", "drop", "truncated"])
def test_each_fault_alone_is_overcome(server: StacServer, archive: Archive, kind: str) -> None:
    server.items = summer(server)
    chosen = source(server, needed=("summer",))
    places = ("/search", "_59_a.vv.tif", "_59_b.vv.tif", "_161.vh.tif", "esa-worldcover")
    with server.failing(first={place: [kind, "", kind] for place in places}) as faults:
        made = make_tile(chosen, archive.tiles[3], attempts=4, wait_s=0.01)
    assert made.content, made.reason
    assert faults.met[kind] >= 2 * len(places) - 2  # a map that was read at once is not asked for a third time
    truth = source(server, needed=("summer",)).chip(archive.tiles[3])  # nothing fails any more
    assert made.content == pack_chip(truth)[0]


def test_retry_after_is_honoured(server: StacServer, archive: Archive) -> None:
    import time

    with server.failing(first={"/search": ["429"]}, retry_after=1):
        started = time.monotonic()
        source(server).scenes(archive.tiles[0])
    assert time.monotonic() - started >= 1


@pytest.mark.parametrize("kind", ["500", "drop", "truncated", "429"])
def test_a_lasting_fault_of_one_scene_leaves_the_tile_out_by_name(
    server: StacServer, archive: Archive, clean: TileStore, tmp_path: Path, kind: str
) -> None:
    quick = source(server)
    quick = replace(quick, catalogue=replace(quick.catalogue, policy=HttpPolicy(2, 0.01, 1)))
    with server.failing(always={"S1_2020-07-10_161.vh": kind}):
        # A truncated file still serves the tiles before its end.
        with pytest.raises(SardinoError, match=r"[1-4] of 4 tiles.*S1_2020-07-10_161 \(vh\) cannot be read"):
            run(server, archive, tmp_path / "store", quick, attempts=1, strict=True)
        # The remedy that the scene's name allows.
        store = run(server, archive, tmp_path / "other", replace(quick, exclude=("S1_2020-07-10_161",)))
    assert len(store) == 4 and store.metadata["passes_per_season"][archive.tiles[3].id][2] == 2


def test_a_file_that_is_gone_is_not_asked_for_again_and_again(server: StacServer, archive: Archive) -> None:
    for item in server.items:
        if item["id"] == "S1_2020-07-10_161":
            item["assets"]["vv"]["href"] += ".gone"
    with pytest.raises(LeftOut, match=r"S1_2020-07-10_161 \(vv\) cannot be had \(HTTP 404\)"):
        source(server).chip(archive.tiles[0])
    assert sum("gone" in path for path, _ in server.seen) <= 4


def test_a_file_that_is_refused_by_the_same_link_is_not_asked_for_again_and_again(
    server: StacServer, archive: Archive
) -> None:
    with (
        server.failing(always={"S1_2020-07-10_161.vv": "403"}),
        pytest.raises(LeftOut, match=r"S1_2020-07-10_161 \(vv\) cannot be had \(HTTP 403\): check signing"),
    ):
        source(server).chip(archive.tiles[0])
    assert sum("161.vv" in path for path, _ in server.seen) < 10  # each of GDAL's ways to ask, once


class Signing(StacServer):
    """Signs links with a key that serves so many requests; a search after them signs with the next one."""

    uses, key, used, refused = 10**6, 0, 0, 0

    async def _search(self, request: Request) -> Response:
        found = json.loads(bytes((await super()._search(request)).body))
        if self.used >= self.uses:
            self.key, self.used = self.key + 1, 0
        for asset in (asset for item in found["features"] for asset in item["assets"].values()):
            asset["href"] += f"?key={self.key}"
        return JSONResponse(found)

    def _file(self, request: Request) -> Response:
        if request.query_params["key"] != str(self.key) or self.used >= self.uses:
            self.refused += 1
            return Response(status_code=403)
        self.used += 1
        return super()._file(request)


def test_links_that_expire_while_a_tile_is_read_are_signed_again(server: StacServer, archive: Archive) -> None:
    whole, signing = source(server).chip(archive.tiles[0]), Signing(archive.folder, archive.items)
    signing.uses = 23
    made = source(signing).chip(archive.tiles[0])
    assert signing.key >= 2 and signing.refused
    np.testing.assert_array_equal(made.backscatter_db, whole.backscatter_db)
    np.testing.assert_array_equal(made.label, whole.label)
    signing.uses = 0  # no link ever works
    with pytest.raises(Transient, match=r"cannot be had \(HTTP 403\): check signing"):
        source(signing).chip(archive.tiles[0])
    signing.close()


def test_a_server_that_is_down_is_said_to_be(archive: Archive) -> None:
    gone = Catalogue("http://127.0.0.1:9", policy=HttpPolicy(1, 0.0, 1))
    with pytest.raises(Transient, match="does not answer"):
        StacSource(2020, catalogue=gone).chip(archive.tiles[0])


# What a catalogue may hold that is no tile


def left_out(server: StacServer, tile: Tile, message: str, **changes: Any) -> None:
    with pytest.raises(LeftOut, match=message) as error:
        source(server, **changes).chip(tile)
    assert "\n" not in str(error.value)


def test_scenes_with_ground_control_points_only_are_refused_by_name(server: StacServer, archive: Archive) -> None:
    message = r"S1_gcp \(v.\) has ground control points only.*sentinel-1-rtc"
    left_out(server, archive.tiles[0], message, collection="sentinel-1-grd", needed=("fall",))


def test_decibels_are_not_taken_for_power(server: StacServer, archive: Archive) -> None:
    left_out(server, archive.tiles[0], "looks like decibels", collection="decibels", needed=("fall",))


def test_assets_are_found_by_their_names_in_any_case(server: StacServer, archive: Archive) -> None:
    whole = source(server, layers=("optical",)).chip(archive.tiles[0])
    for item in server.items:
        item["assets"] = {name.upper(): asset for name, asset in item["assets"].items()}
    made = source(server, layers=("optical",), assets=("Vv", "vh")).chip(archive.tiles[0])
    np.testing.assert_array_equal(made.backscatter_db, whole.backscatter_db)
    np.testing.assert_array_equal(made.layers["optical"], whole.layers["optical"])


def test_a_missing_season_is_named_or_done_without(server: StacServer, archive: Archive) -> None:
    server.items = [i for i in server.items if "2020-03" not in i["id"] and "2020-04" not in i["id"]]
    server.items = [i for i in server.items if "2020-05" not in i["id"]]
    left_out(server, archive.tiles[0], "no ascending scene in spring of 2020")
    chip = source(server, needed=("winter", "summer", "fall")).chip(archive.tiles[0])
    assert np.isnan(chip.backscatter_db[3:6]).all() and np.isfinite(chip.backscatter_db[6:]).all()


def test_a_zero_filled_season_is_missing(server: StacServer, archive: Archive) -> None:
    seen = ("S1_2020-06", "S1_2020-07", "S1_2020-08")
    server.items = [item for item in server.items if not item["id"].startswith(seen)]
    assert any(item["id"] == "S1_zeros" for item in server.items)
    left_out(server, archive.tiles[0], "no valid pass in summer")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"orbit": "descending"}, "no descending scene in winter, spring, fall"),
        ({"collection": "nothing"}, "no scene at all"),
        ({"label_collection": "other-landcover"}, "codes .* which WorldCover does not have"),
        ({"label_collection": "nothing"}, "nothing has nothing here, needed is 2020 1.0.0"),
    ],
)
def test_what_is_not_there_is_named(
    server: StacServer, archive: Archive, changes: dict[str, Any], message: str
) -> None:
    left_out(server, archive.tiles[0], message, **changes)


def test_the_label_of_another_year_is_refused(server: StacServer, archive: Archive) -> None:
    server.items = [item for item in server.items if "2020_v100" not in item["id"]]
    left_out(server, archive.tiles[0], "has 2021 2.0.0 here, needed is 2020 1.0.0: choose the label year")
    later = source(server, label_year=2021).chip(archive.tiles[0])
    assert WORLDCOVER.codes.index(10) not in later.label and (later.label != IGNORE).all()


def test_the_label_of_another_version_is_refused(server: StacServer, archive: Archive) -> None:
    for item in server.items:
        if "2020_v100" in item["id"]:
            item["properties"]["esa_worldcover:product_version"] = "2.0.0"
    left_out(server, archive.tiles[0], "has 2020 2.0.0, 2021 2.0.0 here")


def test_a_place_without_data_is_left_out(server: StacServer, archive: Archive) -> None:
    a, b, c, d, e, f = archive.tiles[0].transform
    left_out(server, Tile("far", "EPSG:32631", (a, b, c, d, e, f + 90_000), (64, 64)), "no scene at all")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"year": 2014}, "whole years from 2015"),
        ({"year": 2019}, "WorldCover exists for 2020 and 2021, not for 2019"),
        ({"orbit": "up"}, "ascending or descending"),
        ({"composite": "max"}, "mean or median"),
        ({"quantity": "beta0"}, "gamma0 or sigma0"),
        ({"layers": ("height",)}, "no recipe for the layer height"),
        ({"needed": ("autumn",)}, "'autumn' is no season"),
        ({"catalogue": "ftp://x"}, "no URL of a STAC API"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SardinoError, match=message):
        if "catalogue" in changes:
            changes = {"catalogue": Catalogue(changes["catalogue"])}
        StacSource(**{"year": 2020} | changes)


def test_a_source_travels_to_workers(server: StacServer) -> None:
    chosen = source(server, layers=("optical",))
    assert pickle.loads(pickle.dumps(chosen)) == chosen


def test_the_planetary_computer_is_signed_and_others_are_not() -> None:
    assert Catalogue().signed and not Catalogue(sign=False).signed
    assert not Catalogue("http://127.0.0.1:1").signed and Catalogue("http://127.0.0.1:1", sign=True).signed


def test_metadata_tells_everything_that_changes_a_pixel(server: StacServer) -> None:
    import json

    first = source(server).metadata()
    assert json.loads(json.dumps(first)) == first and first["url"] == server.url
    for changes in ({"orbit": "descending"}, {"composite": "median"}, {"erode_px": 3}, {"exclude": ("x",)}):
        assert source(server, **changes).metadata() != first
    assert source(server, threads=9).metadata() == first
