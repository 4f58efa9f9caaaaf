"""Polygons from a file, whatever its format and coordinate system, checked and in EPSG:4326."""

from pathlib import Path

import geopandas
import numpy as np
import shapely
from shapely.validation import explain_validity

from sardino.errors import SardinoError

FILES = (".geojson", ".json", ".gpkg", ".shp", ".parquet", ".wkt")


def read_polygons(path: Path, what: str = "polygons") -> geopandas.GeoDataFrame:
    """The polygons of a GeoJSON, GeoPackage, Shapefile, GeoParquet or WKT file with their attributes.

    Args:
        path: the file; its CRS is brought to EPSG:4326, with points added to the straight edges of a map.
        what: what the polygons are, for the error.

    Raises:
        SardinoError: the file is missing or damaged, states no CRS, or holds anything but valid polygons on the earth.
    """
    path = Path(path)
    if not path.is_file():
        raise SardinoError(f"there is no file {path} with {what}: give one of {', '.join(FILES)}")
    try:
        if path.suffix.lower() == ".wkt":
            shape = shapely.from_wkt(path.read_text("utf-8").strip())
            table = geopandas.GeoDataFrame(geometry=[shape], crs="EPSG:4326")
        elif path.suffix.lower() == ".parquet":
            table = geopandas.read_parquet(path)
        else:
            table = geopandas.read_file(path)
        shapes = table.geometry
    except Exception as error:
        raise SardinoError(f"{path} cannot be read as {what} ({error})") from error
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
    crs = table.crs
    if not crs.is_geographic:
        # A straight edge of a projected map is curved in degrees: points between its ends keep it in place.
        flat = shapely.segmentize(flat, np.ptp(shapely.total_bounds(flat).reshape(2, 2), axis=0).max() / 200)
    degrees = geopandas.GeoSeries(flat, crs=crs).to_crs("EPSG:4326")
    west, south, east, north = degrees.total_bounds
    if not np.isfinite(degrees.total_bounds).all() or south < -90 or north > 90 or west < -360 or east > 360:
        raise SardinoError(
            f"{path} lies off the earth, its bounds are {west},{south},{east},{north}: is its CRS right?"
        )
    if west < -180 or east > 180:
        raise SardinoError(f"{path} leaves the longitudes -180 to 180: cut its polygons at the antimeridian")
    return table.set_geometry(shapely.make_valid(degrees.to_numpy()), crs="EPSG:4326")
