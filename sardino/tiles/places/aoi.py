"""The area of interest: from a file, from a bounding box, or by name, as one valid polygon in EPSG:4326."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry import mapping
from shapely.validation import explain_validity

from sardino.errors import SardinoError
from sardino.tiles.places.place_names import named_area, plain
from sardino.tiles.places.polygons import FILES, read_polygons

_NUMBER = r"[-+]?\d+(?:\.\d*)?"
_BOX = re.compile(rf"\s*({_NUMBER})\s*,\s*({_NUMBER})\s*,\s*({_NUMBER})\s*,\s*({_NUMBER})\s*")


@dataclass(frozen=True)
class Aoi:
    """An area of interest.

    Args:
        name: becomes the region of its tiles.
        polygon: a valid, non-empty Polygon or MultiPolygon, degrees of EPSG:4326.
    """

    name: str
    polygon: Any

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
        text = str(source)
        box = _BOX.fullmatch(text)
        path = Path(text)
        if box:
            west, south, east, north = (float(v) for v in box.groups())
            polygon, default = bounding_box(west, south, east, north), "box"
        elif path.suffix.lower() in FILES or path.is_file():
            polygon, default = (
                shapely.union_all(read_polygons(path, "an area of interest").geometry.to_numpy()),
                path.stem,
            )
        else:
            polygon, default = named_area(text), plain(text.partition(":")[2] or text).replace(" ", "-")
        return cls(name or default, _checked(polygon, f"the area '{text}'"))

    def write(self, path: Path) -> Path:
        """Write the outline as .geojson or .wkt, in degrees; returns the path."""
        path = Path(path)
        if path.suffix not in (".geojson", ".wkt"):
            raise SardinoError(f"an outline is written as .geojson or .wkt, not as {path}")
        if not path.parent.is_dir():
            raise SardinoError(f"there is no folder {path.parent} to write {path.name} into: make it first")
        text = self.polygon.wkt
        if path.suffix == ".geojson":
            feature = {"type": "Feature", "properties": {"name": self.name}, "geometry": mapping(self.polygon)}
            text = json.dumps({"type": "FeatureCollection", "features": [feature]})
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(text + "\n", "utf-8")
        os.replace(partial, path)
        return path


def bounding_box(west: float, south: float, east: float, north: float) -> Any:
    """The polygon of a box in degrees, in two parts where west > east crosses the antimeridian."""
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south < north <= 90) or west == east:
        raise SardinoError(
            f"a bounding box is west,south,east,north in degrees with south < north, not {west:g},{south:g},"
            f"{east:g},{north:g}"
        )
    if west < east:
        return shapely.box(west, south, east, north)
    return shapely.union_all([shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)])


def _checked(polygon: Any, what: str) -> Any:
    if polygon is None or polygon.is_empty or not polygon.area:
        raise SardinoError(f"{what} is empty: it needs a polygon with an extent")
    if not polygon.is_valid:
        raise SardinoError(f"{what} crosses itself ({explain_validity(polygon)}): repair it")
    parts = [p for p in shapely.get_parts(polygon) if p.geom_type in ("Polygon", "MultiPolygon")]
    return shapely.union_all(parts)
