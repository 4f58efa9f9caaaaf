"""Earth Engine without Earth Engine: expressions as they would be sent, and answers of the service's shapes.

The client's own list of the service's functions, which its package carries for its tests, stands in for the service;
xee, the client and the expressions are the real ones. Nothing here says that the live service would agree.
"""

import pickle
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ee
import numpy as np
import pytest
import xarray as xr
from ee import _state, apitestcase
from google.auth.exceptions import RefreshError
from numpy.typing import NDArray

from sardino.data.sources.earthengine import (
    HIGH_VOLUME,
    LAYERS,
    EarthEngineSource,
    initialise,
    label_image,
    passes,
    series_of,
)
from sardino.data.sources.ingest import ingest
from sardino.data.sources.source import LeftOut, Transient
from sardino.data.tiles.landcover import IGNORE, WORLDCOVER
from sardino.data.tiles.radiometry import CHANNELS, to_db
from sardino.data.tiles.tile import Tile
from sardino.errors import SardinoError

# xee multiplies affine transforms with the operator that their package is about to retire.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
TILE = Tile("europe", "EPSG:32631", (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_500_000.0), (16, 16))
DAYS = ("2019-12-01", "2020-02-29", "2020-03-01", "2020-05-31", "2020-06-15", "2020-08-31", "2020-09-01", "2020-11-30")
MASKED = float(np.iinfo(np.int32).max)
Expression = dict[str, Any]


def calls(expression: Any, name: str) -> list[dict[str, Any]]:
    """Arguments of every call of a function in an expression, outermost first."""
    found = []
    if isinstance(expression, dict):
        call = expression.get("functionInvocationValue")
        if call and call["functionName"] == name:
            found.append(call["arguments"])
        for part in expression.values():
            found += calls(part, name)
    elif isinstance(expression, list):
        for part in expression:
            found += calls(part, name)
    return found


def encoded(thing: Any) -> Expression:
    return ee.serializer.encode(thing, is_compound=False)


def constants(expression: Any) -> set[Any]:
    """All plain values of an expression."""
    if isinstance(expression, dict):
        parts = list(expression.values())
    elif isinstance(expression, list):
        parts = expression
    else:
        return {expression}
    return set().union(*(constants(part) for part in parts))


@dataclass
class Service:
    """Answers of the recorded shapes.

    Args:
        days: acquisition dates of the collection.
        power: level of each pass, linear; VH is a quarter of it.
        edge: pixels of each pass's left side that are zero, as border noise removal leaves them.
        masked: one pixel of each answer is masked.
    """

    days: tuple[str, ...] = DAYS
    power: tuple[float, ...] = (0.10, 0.14, 0.2, 0.2, 0.3, 0.1, 0.05, 0.15)
    edge: int = 0
    masked: bool = False
    pixel_requests: list[dict[str, Any]] = field(default_factory=list)
    code: int = 40
    fault: Exception | None = None

    def compute_value(self, thing: Any) -> Any:
        expression = encoded(thing)
        if calls(expression, "AggregateFeatureCollection.array"):
            return [37] * len(self.days)
        times = [int(np.datetime64(f"{day}T17:24:02", "ms").astype(int)) for day in self.days]
        band = {
            "data_type": {"type": "PixelType", "precision": "float"},
            "crs": "EPSG:32631",
            "dimensions": [26000, 17000],
        }
        first = {"type": "Image", "bands": [{"id": name, **band} for name in ("VV", "VH")], "properties": {}}
        ids = [f"COPERNICUS/S1_GRD_FLOAT/S1A_{number}" for number in range(len(self.days))]
        return [len(self.days), {}, first, [ids, times]]

    def compute_pixels(self, params: dict[str, Any]) -> NDArray[Any]:
        if self.fault is not None:
            raise self.fault
        expression, grid = encoded(params["expression"]), params["grid"]
        self.pixel_requests.append(params)
        size = grid["dimensions"]["height"], grid["dimensions"]["width"]
        if slices := calls(expression, "Collection.toList"):
            start = slices[0].get("offset", {"constantValue": 0})["constantValue"]
            band = next(name for name in ("VV", "VH") if f"'constantValue': ['{name}']" in str(expression))
            number = slices[0]["count"]["constantValue"]
            answer = np.empty(size, [(f"{start + i}_{band}", "<f8") for i in range(number)])
            x = grid["affineTransform"]["translateX"] + 10 * (np.arange(size[1]) + 0.5)
            for i in range(number):
                level = self.power[start + i] * (0.25 if band == "VH" else 1)
                plane = np.full(size, level)
                plane[:, x < TILE.transform[2] - 160 + 10 * self.edge] = 0
                answer[f"{start + i}_{band}"] = plane
            if self.masked:
                answer[f"{start}_{band}"][-20, -20] = MASKED
            return answer
        found = constants(expression)
        if "Map" in found:
            answer = np.full(size, self.code, [("label", "u1")])
            answer["label"][0, 0] = 0
            return answer
        if "B4" in found:
            answer = np.zeros(size, [("B4", "u1"), ("B3", "u1"), ("B2", "u1")])
            answer["B4"] = 200
            return answer
        if "discrete_classification" in found:
            return np.full(size, 3, [("landcover_300m", "u1")])
        answer = np.full(size, 25.0, [("layer", "<f4")])
        answer["layer"][0, 0] = -9999
        return answer


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    recorded = Service()
    ee.Reset()
    monkeypatch.setattr(ee.data, "_install_cloud_api_resource", lambda: None)
    monkeypatch.setattr(ee.data, "getAlgorithms", apitestcase.GetAlgorithms)
    monkeypatch.setattr(ee.deprecation, "_FetchDataCatalogStac", dict)
    monkeypatch.setattr(ee.data, "computeValue", recorded.compute_value)
    monkeypatch.setattr(ee.data, "computePixels", recorded.compute_pixels)
    ee.Initialize(None, "", project="test")
    yield recorded
    _state.reset_state()
    ee.Reset()


def source(**choices: Any) -> EarthEngineSource:
    return EarthEngineSource(**({"project": "test", "year": 2020, "layers": ()} | choices))


def test_the_collection_asked_for_is_one_mode_one_direction_one_year(service: Service) -> None:
    corners = [list(corner) for corner in TILE.footprint_in("EPSG:4326").exterior.coords]
    expression = encoded(passes(corners, 2020, "descending"))
    assert [call["id"]["constantValue"] for call in calls(expression, "ImageCollection.load")] == [
        "COPERNICUS/S1_GRD_FLOAT"
    ]
    (dates,) = calls(expression, "DateRange")
    assert dates["start"]["constantValue"] == "2019-12-01"
    assert dates["end"]["constantValue"] == "2020-12-01"  # exclusive: 30 November is in
    equal = {
        (call["leftField"]["constantValue"], call["rightValue"]["constantValue"])
        for call in calls(expression, "Filter.equals")
    }
    assert equal == {
        ("instrumentMode", "IW"),
        ("orbitProperties_pass", "DESCENDING"),
        ("resolution_meters", 10),
    }
    both = {
        (call["leftField"]["constantValue"], call["rightValue"]["constantValue"])
        for call in calls(expression, "Filter.listContains")
    }
    assert both == {("transmitterReceiverPolarisation", "VV"), ("transmitterReceiverPolarisation", "VH")}
    (polygon,) = calls(expression, "GeometryConstructors.Polygon")
    assert polygon["coordinates"]["constantValue"] == [corners]
    (selected,) = calls(expression, "Image.select")
    assert selected["bandSelectors"]["constantValue"] == ["VV", "VH"]


def test_pixels_are_asked_for_on_exactly_the_tiles_grid(service: Service) -> None:
    source(erode_px=0).chip(TILE)
    for params in service.pixel_requests:
        grid = params["grid"]
        assert grid["crsCode"] == "EPSG:32631" and grid["dimensions"] == {"width": 16, "height": 16}
        assert list(grid["affineTransform"].values()) == [10, 0, 500_000, 0, -10, 5_500_000]


def test_seasons_are_means_of_linear_power_with_their_last_days(service: Service) -> None:
    chip = source().chip(TILE)
    assert chip.backscatter_db.shape == (12, 16, 16)
    means = np.array(service.power).reshape(4, 2).mean(1)
    for number, season in enumerate(("winter", "spring", "summer", "fall")):
        vv = chip.backscatter_db[CHANNELS.index(f"{season}_vv")]
        assert np.allclose(vv[8, 8], to_db(means[number]), atol=1e-4)
        vh = chip.backscatter_db[CHANNELS.index(f"{season}_vh")]
        assert np.allclose(vh[8, 8], to_db(means[number] / 4), atol=1e-4)
    assert chip.counts is not None and (chip.counts[:, 8, 8] == 2).all()


def test_medians_are_an_option(service: Service) -> None:
    service.days = tuple(f"2020-{month:02d}-{day:02d}" for month in (1, 4, 7, 10) for day in (1, 8, 15))
    service.power = (0.1, 0.2, 0.9) * 4
    chip = source(composite="median").chip(TILE)
    assert np.allclose(chip.backscatter_db[0, 8, 8], to_db(np.array(0.2)), atol=1e-4)


def test_masked_pixels_are_missing_and_zeros_are_a_border(service: Service) -> None:
    service.edge = 20  # in the margin of 15 px and four pixels of the tile; ten more are eroded
    chip = source().chip(TILE)
    valid = np.isfinite(chip.backscatter_db[0])
    assert not valid[:, :14].any() and valid[:, 15:].all()
    service.edge, service.masked = 0, True  # pixel (26, 26) of 46 with the margin, of the first pass
    chip = source().chip(TILE)
    assert np.isfinite(chip.backscatter_db).all()
    assert chip.counts is not None and chip.counts[0, 11, 11] == 1 and chip.counts[0].sum() == 2 * 256 - 1


def test_labels_and_layers_are_decoded(service: Service) -> None:
    chip = source(layers=tuple(LAYERS)).chip(TILE)
    assert chip.label[0, 0] == IGNORE and (chip.label[1:] == WORLDCOVER.codes.index(40)).all()
    assert set(chip.layers) == set(tuple(LAYERS))
    assert chip.layers["optical"].shape == (3, 16, 16) and (chip.layers["optical"][0] == 200).all()
    assert chip.layers["landcover_300m"].dtype == np.uint8
    for name in ("vegetation_percent", "biomass_t_ha", "built_percent"):
        assert np.isnan(chip.layers[name][0, 0]) and (chip.layers[name][1:] == 25).all()


@pytest.mark.parametrize(
    ("layer", "year", "asset", "found"),
    [
        ("built_percent", 2021, "JRC/GHSL/P2023A/GHS_BUILT_S/2020", 2020),
        ("vegetation_percent", 2020, "MODIS/061/MOD44B", 2020),
        ("biomass_t_ha", 2020, "NASA/ORNL/biomass_carbon_density/v1", 2010),
        ("optical", 2020, "COPERNICUS/S2_SR_HARMONIZED", 2020),
        ("landcover_300m", 2021, "COPERNICUS/Landcover/100m/Proba-V-C3/Global/2019", 2019),
    ],
)
def test_layers_are_asked_for_by_asset_and_say_their_year(
    service: Service, layer: str, year: int, asset: str, found: int
) -> None:
    known = LAYERS[layer]
    assert known.year(year) == found and asset.startswith(known.asset)
    assert asset in constants(encoded(known.image(found, "EPSG:32631")))


def test_labels_are_of_the_year(service: Service) -> None:
    assert "ESA/WorldCover/v100" in constants(encoded(label_image(2020)))
    assert "ESA/WorldCover/v200" in constants(encoded(label_image(2021)))


def test_years_without_labels_or_passes_are_refused() -> None:
    with pytest.raises(SardinoError, match="WorldCover exists for 2020 and 2021"):
        source(year=2019)
    assert source(year=2019, label_year=2020).metadata()["label_year"] == 2020
    with pytest.raises(SardinoError, match="whole years from 2015"):
        source(year=2014)


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        ({"project": ""}, "needs a Google Cloud project"),
        ({"orbit": "both"}, "an orbit direction is ascending or descending"),
        ({"composite": "max"}, "a composite is mean or median"),
        ({"layers": ("snow",)}, "no layer 'snow'"),
        ({"erode_px": -1}, "0 or more"),
        ({"requests": 0}, "at least one request"),
    ],
)
def test_bad_choices_are_refused(choices: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SardinoError, match=sentence):
        source(**choices)


def test_no_pass_a_missing_season_and_no_label_leave_the_tile_out(service: Service) -> None:
    with pytest.raises(LeftOut, match="no valid pass in winter"):
        service.days = tuple(day for day in DAYS if day not in DAYS[:2])
        source().chip(TILE)
    service.days = ()
    with pytest.raises(LeftOut, match="no ascending IW pass"):
        source().chip(TILE)
    service.days, service.code = DAYS, 0
    with pytest.raises(LeftOut, match="no label"):
        source().chip(TILE)


def test_a_border_over_the_whole_tile_leaves_it_out(service: Service) -> None:
    service.edge = 100
    with pytest.raises(LeftOut, match="no valid pass"):
        source().chip(TILE)


def test_errors_of_the_service_are_sorted(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xee.ext.EarthEngineStore.GETITEM_KWARGS", {"max_retries": 0, "initial_delay": 1})
    for said, kind in {
        "Too many concurrent aggregations.": Transient,
        "Computation timed out.": Transient,
        "Quota exceeded for quota metric": Transient,
        "Caller does not have required permission": SardinoError,
        "Image.load: Image asset 'x' not found.": LeftOut,
    }.items():
        service.fault = ee.EEException(said)
        with pytest.raises(SardinoError, match="Earth Engine") as raised:
            source().chip(TILE)
        assert type(raised.value) is kind, said
    service.fault = RefreshError("Token has been expired or revoked.")
    with pytest.raises(SardinoError, match="run `earthengine authenticate` again"):
        source().chip(TILE)
    service.fault = ConnectionResetError("peer")
    with pytest.raises(Transient, match="broke off"):
        source().chip(TILE)


def test_an_answer_of_another_shape_is_refused(service: Service) -> None:
    axis_y, axis_x = 5_500_000 - 10 * (np.arange(16) + 0.5), 500_000 + 10 * (np.arange(16) + 0.5)
    times = np.array(DAYS, "datetime64[ns]")
    plane = ("time", "y", "x"), np.full((8, 16, 16), 0.1)
    whole = xr.Dataset({"VV": plane, "VH": plane}, {"time": times, "y": axis_y, "x": axis_x})
    series = series_of(whole, [37] * 8, TILE)
    assert series.attrs["quantity"] == "sigma0" and series["vv"].dtype == np.float32
    assert series.rio.crs.to_epsg() == 32631
    with pytest.raises(SardinoError, match="another grid along x"):
        series_of(whole.assign_coords(x=axis_x + 5), [37] * 8, TILE)
    with pytest.raises(SardinoError, match="xee has changed"):
        series_of(whole.rename(y="lat"), [37] * 8, TILE)
    with pytest.raises(Transient, match="7 orbits"):
        series_of(whole, [37] * 7, TILE)


def test_no_credentials_end_in_one_sentence_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: Any) -> None:
        raise ee.EEException(
            "Please authorize access to your Earth Engine account by running\n\nearthengine authenticate"
        )

    monkeypatch.setattr(ee.data, "is_initialized", lambda: False)
    monkeypatch.setattr(ee, "Initialize", refuse)
    with pytest.raises(SardinoError, match="run `earthengine authenticate` once") as raised:
        initialise("mine")
    assert not isinstance(raised.value, Transient) and "\n" not in str(raised.value)

    def offline(**options: Any) -> None:
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(ee, "Initialize", offline)
    with pytest.raises(Transient, match="cannot be reached"):
        initialise("mine")


def test_the_session_is_opened_once_with_project_and_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(ee.data, "is_initialized", lambda: bool(asked))
    monkeypatch.setattr(ee, "Initialize", lambda **options: asked.append(options))
    initialise("mine")
    initialise("mine")
    assert asked == [{"project": "mine", "url": HIGH_VOLUME}]


def test_tiles_become_a_store_through_faults_that_pass(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every fifth request of pixels finds the service busy."""
    monkeypatch.setattr("xee.ext.EarthEngineStore.GETITEM_KWARGS", {"max_retries": 0, "initial_delay": 1})
    answer, asked = service.compute_pixels, iter(range(10_000))

    def busy(params: dict[str, Any]) -> NDArray[Any]:
        if next(asked) % 5 == 1:
            raise ee.EEException("Too Many Requests: quota exceeded")
        return answer(params)

    monkeypatch.setattr(ee.data, "computePixels", busy)
    a, b, left, d, e, top = TILE.transform
    tiles = [Tile("europe", TILE.crs, (a, b, left + 160 * i, d, e, top), TILE.shape) for i in range(3)]
    chosen = source(layers=("built_percent",), requests=1)
    store = ingest(chosen, tiles, ["train", "val", "test"], [0, 1, 2], tmp_path / "store", attempts=9, wait_s=0)
    assert len(store) == 3 and store.metadata["left_out"] == {}
    assert store.metadata["layers"] == {"built_percent": {"asset": "JRC/GHSL/P2023A/GHS_BUILT_S", "year": 2020}}
    monkeypatch.setattr(ee.data, "computePixels", answer)
    backscatter, _ = store.read([tile.id for tile in tiles])
    for stored, tile in zip(backscatter, tiles, strict=True):
        assert np.allclose(stored, chosen.chip(tile).backscatter_db, atol=0.006)


def test_a_source_travels() -> None:
    assert pickle.loads(pickle.dumps(source())) == source()
