"""Areas of interest: one place, whatever file, box or name says it; and no area that is none."""

from pathlib import Path

import geopandas
import pytest
import shapely
from shapely import LineString, Polygon, box

from sardino.data.places.area import PAPER_AREAS, Aoi, named_area, place_names
from sardino.errors import SardinoError

PLACE = box(10.0, 45.0, 10.5, 45.25)


def write(path: Path, crs: str = "EPSG:4326", shapes: list | None = None) -> Path:
    table = geopandas.GeoDataFrame({"n": range(len(shapes or [1]))}, geometry=shapes or [PLACE], crs="EPSG:4326")
    if crs != "EPSG:4326":
        table = table.segmentize(0.01).to_crs(crs).to_frame("geometry")
    if path.suffix == ".parquet":
        table.to_parquet(path)
    elif path.suffix == ".wkt":
        path.write_text(PLACE.wkt)
    else:
        table.to_file(path)
    return path


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".shp", ".parquet", ".wkt"])
def test_each_format_says_the_same_place(tmp_path: Path, suffix: str) -> None:
    area = Aoi.load(write(tmp_path / f"place{suffix}"))
    assert area.name == "place" and area.polygon.symmetric_difference(PLACE).area < 1e-9


@pytest.mark.parametrize("suffix", [".geojson", ".wkt"])
def test_a_byte_order_mark_changes_nothing(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"place{suffix}")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert Aoi.load(path).polygon.symmetric_difference(PLACE).area < 1e-9


def test_another_crs_is_brought_to_degrees(tmp_path: Path) -> None:
    area = Aoi.load(write(tmp_path / "utm.gpkg", "EPSG:32632"))
    assert area.polygon.symmetric_difference(PLACE).area / PLACE.area < 0.001


def test_features_are_united(tmp_path: Path) -> None:
    path = write(tmp_path / "two.geojson", shapes=[box(0, 0, 1, 1), box(0.5, 0, 2, 1)])
    assert Aoi.load(path).polygon.area == pytest.approx(2.0)


def test_a_box_may_cross_the_antimeridian() -> None:
    assert Aoi.load("10,45,10.5,45.25").polygon.equals(PLACE)
    west, east = sorted(Aoi.load("179,-17,-179,-16").polygon.geoms, key=lambda p: p.bounds[0])
    assert west.bounds == (-180, -17, -179, -16) and east.bounds == (179, -17, 180, -16)


def test_an_outline_is_written_and_read(tmp_path: Path) -> None:
    for name in ("lux.wkt", "lux.geojson"):
        path = Aoi.load("luxembourg").write(tmp_path / name)
        assert Aoi.load(path).polygon.equals(Aoi.load("luxembourg").polygon)
    with pytest.raises(SardinoError, match=r"\.geojson or \.wkt"):
        Aoi.load("malta").write(tmp_path / "m.shp")


@pytest.mark.parametrize(
    ("name", "km2", "bounds"),
    [
        ("luxembourg", 2586, (5.6, 49.4, 6.6, 50.2)),
        ("LUX", 2586, (5.6, 49.4, 6.6, 50.2)),
        ("Malta", 316, (14.1, 35.7, 14.7, 36.1)),
        ("usa", 9.4e6, (-180, -15, 180, 72)),
        ("conus", 7.9e6, (-125, 24, -66, 50)),
        ("china", 9.4e6, (73, 18, 136, 54)),
        ("europe", 7.9e6, (-25, 34, 45, 72)),
        ("continent:Europe", 22.5e6, (-180, 27, 180, 82)),
        ("france in europe", 0.56e6, (-6, 41, 10, 52)),
        ("south-eastern asia", 4.5e6, (92, -12, 142, 29)),
    ],
)
def test_names_are_the_places_that_they_say(name: str, km2: float, bounds: tuple[float, ...]) -> None:
    area = Aoi.load(name)
    truth = geopandas.GeoSeries([area.polygon], crs="EPSG:4326").to_crs("EPSG:6933").area.iloc[0] / 1e6
    # Simplified outlines: small islands lose a share that large countries do not.
    assert truth == pytest.approx(km2, rel=0.7 if km2 < 1000 else 0.12)
    assert shapely.within(area.polygon, box(*bounds).buffer(0.5))


def test_every_known_name_is_an_area() -> None:
    # The areas of M3LEO as its folders are called.
    assert all(Aoi.load(n).polygon.area > 100 for n in ("china", "conus", "middleeast", "pakin", "southamerica"))
    for kind, name in place_names():
        area = named_area(f"{kind}:{name}")
        assert area.is_valid and area.area > 0, name
    assert {name for kind, name in place_names() if kind == "paper"} == set(PAPER_AREAS)
    assert ("country", "Germany") in place_names("german")


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("luxemburg", "did you mean Luxembourg"),
        ("france in oceania in africa", "nothing of"),
        ("qqqqq", "aois` lists the names"),
        ("planet:earth", "no places of kind 'planet'"),
        ("nowhere.geojson", "there is no file nowhere.geojson"),
        ("5,50,4.9,50", "south < north"),
        ("5,50,5,51", "bounding box is west,south,east,north"),
        ("0,0,400,10", "in degrees"),
    ],
)
def test_what_is_no_area_is_refused(source: str, sentence: str) -> None:
    with pytest.raises(SardinoError, match=sentence):
        Aoi.load(source)


def test_files_that_hold_no_area_are_refused(tmp_path: Path) -> None:
    bow = Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])
    with pytest.raises(SardinoError, match=r"no valid polygon \(Self-intersection"):
        Aoi.load(write(tmp_path / "bow.geojson", shapes=[bow]))
    with pytest.raises(SardinoError, match="LineString where"):
        Aoi.load(write(tmp_path / "line.geojson", shapes=[LineString([(0, 0), (1, 1)])]))
    with pytest.raises(SardinoError, match="cut its polygons at the antimeridian"):
        Aoi.load(write(tmp_path / "far.geojson", shapes=[box(170, 0, 190, 10)]))
    with pytest.raises(SardinoError, match="off the earth"):
        Aoi.load(write(tmp_path / "metres.geojson", shapes=[box(5e5, 5e6, 6e5, 6e6)]))
    (tmp_path / "empty.wkt").write_text("POLYGON EMPTY")
    with pytest.raises(SardinoError, match="holds no polygon"):
        Aoi.load(tmp_path / "empty.wkt")
    (tmp_path / "broken.geojson").write_text("{")
    with pytest.raises(SardinoError, match="cannot be read as an area of interest"):
        Aoi.load(tmp_path / "broken.geojson")
    write(tmp_path / "noprj.shp")
    (tmp_path / "noprj.prj").unlink()
    with pytest.raises(SardinoError, match="states no coordinate system"):
        Aoi.load(tmp_path / "noprj.shp")
