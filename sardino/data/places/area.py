"""The area of interest: from a file, from a bounding box, or by name, as one valid polygon in EPSG:4326."""

import difflib
import json
import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import shapely
from shapely.geometry import mapping
from shapely.validation import explain_validity

from sardino.errors import SardinoError, first_line
from sardino.files import read_text, write_text

# Areas named as in the paper and in M3LEO: places, cut at (west, south, east, north). The outlines are ours, not the
# authors'; that M3LEO's "pakin" is Pakistan and India is read from its name. Europe is cut at 45 degrees east, beyond
# which only Russia lies, and at 25 west, in the Azores; "continent:europe" is all of it.
PAPER_AREAS: dict[str, tuple[tuple[str, ...], tuple[float, float, float, float]]] = {
    "europe": (("continent:europe",), (-25.0, 34.0, 45.0, 72.0)),
    "conus": (("country:united states of america",), (-125.0, 24.0, -66.0, 50.0)),
    "china": (("country:china",), (73.0, 18.0, 135.5, 54.0)),
    "middle east": (("un_subregion:western asia", "country:iran", "country:egypt"), (24.0, 12.0, 64.0, 43.0)),
    "pakistan and india": (("country:pakistan", "country:india"), (60.0, 6.0, 98.0, 38.0)),
}
# What a name may mean, in order of preference; "continent:asia" asks for one meaning.
KINDS = ("paper", "country", "code", "continent", "un_region", "un_subregion", "world_bank_region")
_SHORT = {
    "usa": "country:united states of america",
    "us": "country:united states of america",
    "uk": "country:united kingdom",
    "serbia": "country:republic of serbia",
    "tanzania": "country:united republic of tanzania",
    "bahamas": "country:the bahamas",
    "cote d'ivoire": "country:ivory coast",
    "czech republic": "country:czechia",
    "drc": "country:democratic republic of the congo",
    "pakin": "paper:pakistan and india",
    "southamerica": "continent:south america",
    "middleeast": "paper:middle east",
}
FILES = (".geojson", ".json", ".gpkg", ".shp", ".parquet", ".wkt")
_NUMBER = r"[-+]?\d+(?:\.\d*)?"
_BOX = re.compile(rf"\s*({_NUMBER})\s*,\s*({_NUMBER})\s*,\s*({_NUMBER})\s*,\s*({_NUMBER})\s*")


@dataclass(frozen=True)
class Aoi:
    """An area of interest; its name becomes the region of its tiles."""

    name: str
    polygon: Any  # a valid, non-empty Polygon or MultiPolygon in degrees of EPSG:4326

    @classmethod
    def load(cls, source: str | Path, name: str = "") -> "Aoi":
        """The area that a user means.

        Args:
            source: a file (GeoJSON, GeoPackage, Shapefile, GeoParquet or WKT; several features are united and any
                stated CRS is brought to EPSG:4326), "west,south,east,north" in degrees (west > east crosses the
                antimeridian), or a place such as "luxembourg", "europe", "conus" or "continent:asia".
            name: of the area; by default the place's or the file's.

        Raises:
            SardinoError: no such file or place, or the area is empty, crosses itself or lies off the earth.
        """
        text, path = str(source), Path(source)
        if box := _BOX.fullmatch(text):
            polygon, default = _bounding_box(*map(float, box.groups())), "box"
        elif path.suffix.lower() in FILES or path.is_file():
            polygon, default = read_polygons(path, "an area of interest").union_all(), path.stem
        else:
            polygon, default = named_area(text), plain(text.partition(":")[2] or text).replace(" ", "-")
        if not polygon.area:
            raise SardinoError(f"the area '{text}' is empty: it needs a polygon with an extent")
        parts = [part for part in shapely.get_parts(polygon) if part.geom_type in ("Polygon", "MultiPolygon")]
        return cls(name or default, shapely.union_all(parts))

    def write(self, path: Path) -> Path:
        """Write the outline as .geojson or .wkt, in degrees; returns the path."""
        if path.suffix not in (".geojson", ".wkt"):
            raise SardinoError(f"an outline is written as .geojson or .wkt, not as {path}")
        text = self.polygon.wkt
        if path.suffix == ".geojson":
            feature = {"type": "Feature", "properties": {"name": self.name}, "geometry": mapping(self.polygon)}
            text = json.dumps({"type": "FeatureCollection", "features": [feature]})
        return write_text(text + "\n", path)


def _bounding_box(west: float, south: float, east: float, north: float) -> Any:
    """The polygon of a box in degrees, in two parts where west > east crosses the antimeridian."""
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south < north <= 90) or west == east:
        given = f"{west:g},{south:g},{east:g},{north:g}"
        raise SardinoError(f"a bounding box is west,south,east,north in degrees with south < north, not {given}")
    if west < east:
        return shapely.box(west, south, east, north)
    return shapely.union_all([shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)])


def plain(name: str) -> str:
    """A name without case, accents, hyphens and doubled spaces: "South-Eastern Asia" is "south eastern asia"."""
    ascii_only = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return " ".join(ascii_only.lower().replace("-", " ").replace("_", " ").split())


def place_names(search: str = "") -> list[tuple[str, str]]:
    """(kind, name) of all known places whose name contains the search text, in the order of KINDS."""
    found = [("paper", name) for name in PAPER_AREAS]
    found += [(kind, name) for kind in KINDS[1:] for name in sorted(set(_countries()[kind]))]
    return [(kind, name) for kind, name in found if plain(search) in plain(name)]


def named_area(name: str) -> Any:
    """The outline of a named place, in EPSG:4326; "france in europe" is what two places share.

    SardinoError suggests close names where no place has this one.
    """
    place, inside, whole = name.partition(" in ")
    if inside:
        shared = shapely.intersection(named_area(place), named_area(whole))
        if shared.is_empty:
            raise SardinoError(f"nothing of '{place}' lies in '{whole}'")
        return shared
    kind, _, rest = _SHORT.get(plain(name), name).rpartition(":")
    wanted = plain(rest)
    kinds = [plain(kind).replace(" ", "_")] if kind else list(KINDS)
    if not set(kinds) <= set(KINDS):
        raise SardinoError(f"there are no places of kind '{kind}': use {', '.join(KINDS)}")
    if "paper" in kinds and wanted in PAPER_AREAS:
        parts, bounds = PAPER_AREAS[wanted]
        return shapely.intersection(shapely.union_all([named_area(part) for part in parts]), shapely.box(*bounds))
    table = _countries()
    for column in [kind for kind in kinds if kind != "paper"]:
        rows = table[[plain(value) == wanted for value in table[column]]]
        if len(rows):
            return shapely.make_valid(rows.union_all())
    known = {plain(known): known for _, known in place_names()} | {short: short for short in _SHORT}
    close = difflib.get_close_matches(wanted, known, 3, 0.6) or [n for n in known if wanted and wanted in n][:3]
    hint = f"did you mean {', '.join(known[n] for n in close)}?" if close else "`sardino tiles aois` lists the names"
    raise SardinoError(f"there is no place '{name}', nor a file of that name: {hint}")


def read_polygons(path: Path, what: str = "polygons") -> geopandas.GeoDataFrame:
    """The polygons of a GeoJSON, GeoPackage, Shapefile, GeoParquet or WKT file with their attributes.

    Its CRS is brought to EPSG:4326, with points added to the straight edges of a map; `what` they are is for errors.

    Raises:
        SardinoError: the file is missing or damaged, states no CRS, or holds anything but valid polygons on the earth.
    """
    if not path.is_file():
        raise SardinoError(f"there is no file {path} with {what}: give one of {', '.join(FILES)}")
    try:
        if path.suffix.lower() == ".wkt":
            shape = shapely.from_wkt(read_text(path).strip())
            table = geopandas.GeoDataFrame(geometry=[shape], crs="EPSG:4326")
        elif path.suffix.lower() == ".parquet":
            table = geopandas.read_parquet(path)
        else:
            table = geopandas.read_file(path)
        shapes = table.geometry
    except Exception as error:
        raise SardinoError(f"{path} cannot be read as {what} ({first_line(error)})") from error
    if shapes.crs is None:
        raise SardinoError(f"{path} states no coordinate system: add its .prj, or save it as GeoJSON in degrees")
    table = table[~(shapes.is_empty | shapes.isna())].reset_index(drop=True)
    if not len(table):
        raise SardinoError(f"{path} holds no polygon: {what} need at least one")
    flat = shapely.force_2d(table.geometry.to_numpy())
    for number, shape in enumerate(flat):
        if shape.geom_type not in ("Polygon", "MultiPolygon"):
            raise SardinoError(f"feature {number} of {path} is a {shape.geom_type} where {what} need polygons")
        if not shape.is_valid:
            raise SardinoError(f"feature {number} of {path} is no valid polygon ({explain_validity(shape)}): repair it")
    if not table.crs.is_geographic:
        # A straight edge of a projected map is curved in degrees: points between its ends keep it in place.
        flat = shapely.segmentize(flat, np.ptp(shapely.total_bounds(flat).reshape(2, 2), axis=0).max() / 200)
    degrees = geopandas.GeoSeries(flat, crs=table.crs).to_crs("EPSG:4326")
    west, south, east, north = degrees.total_bounds
    if not np.isfinite(degrees.total_bounds).all() or south < -90 or north > 90 or west < -360 or east > 360:
        raise SardinoError(f"{path} lies off the earth, at {west},{south},{east},{north}: is its CRS right?")
    if west < -180 or east > 180:
        raise SardinoError(f"{path} leaves the longitudes -180 to 180: cut its polygons at the antimeridian")
    return table.set_geometry(shapely.make_valid(degrees.to_numpy()), crs="EPSG:4326")


@cache
def _countries() -> geopandas.GeoDataFrame:
    path = Path(__file__).with_name("countries.parquet")
    if not path.is_file():
        raise SardinoError("sardino was installed without its country outlines: install it again")
    return geopandas.read_parquet(path)
