"""The list of tiles as a file: one row a tile, in GeoParquet or GeoJSON, checked against the tiles' ids."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import shapely

from sardino.data.tiles.tile import Tile
from sardino.errors import SardinoError, first_line
from sardino.files import read_text, whole

# Columns that every table has, before its geometry; a tile is rebuilt from them alone.
PLACES = ("id", "region", "crs", "transform", "rows", "columns")
SUFFIXES = (".parquet", ".geojson")


def tile_table(tiles: Sequence[Tile], **columns: Sequence[Any]) -> geopandas.GeoDataFrame:
    """Tiles as a table, in which no tile appears twice.

    Its columns are id, region, crs, transform (list of 6), rows, columns, those given, with one value a tile, and the
    outlines as geometry in EPSG:4326 (none where a tile states no CRS).
    """
    if reserved := ", ".join(sorted({*PLACES, "geometry"} & set(columns))):
        raise SardinoError(f"a tile table sets the column {reserved} itself: choose another name")
    for name, values in columns.items():
        if len(values) != len(tiles):
            raise SardinoError(f"column '{name}' has {len(values)} values for {len(tiles)} tiles")
    places = [(tile.id, tile.region, tile.crs, [float(v) for v in tile.transform], *tile.shape) for tile in tiles]
    data = pd.DataFrame(places, columns=PLACES).astype({"rows": np.int64, "columns": np.int64})
    check_unique(data["id"], "the list of tiles")
    data = data.assign(**{name: list(values) for name, values in columns.items()})
    return geopandas.GeoDataFrame(data, geometry=_outlines(tiles))


def tiles_in(table: pd.DataFrame) -> list[Tile]:
    """The tiles of a table, in its order."""
    return [
        Tile(str(region), str(crs), tuple(float(v) for v in transform), (int(rows), int(columns)))  # type: ignore[arg-type]
        for region, crs, transform, rows, columns in zip(*(table[name] for name in PLACES[1:]), strict=True)
    ]


def write_table(table: geopandas.GeoDataFrame, path: Path) -> None:
    """Write a tile table, whole or not at all: GeoParquet (.parquet) or GeoJSON (.geojson) by the suffix."""
    _check_suffix(path)
    _check_columns(table, path)
    with whole(path) as partial:
        if path.suffix == ".parquet":
            table.to_parquet(partial, index=False)
        else:
            partial.write_text(_geojson(table), "utf-8")


def read_table(path: Path) -> geopandas.GeoDataFrame:
    """Read a tile table; every tile must hash to its id, so that a damaged or edited place is found."""
    _check_suffix(path)
    if not path.is_file():
        raise SardinoError(f"there is no tile table {path}: make one with `sardino tiles grid`")
    try:
        table = geopandas.read_parquet(path) if path.suffix == ".parquet" else _from_geojson(read_text(path))
    except Exception as error:
        raise SardinoError(f"{path} cannot be read as a tile table ({first_line(error)}): make it again") from error
    _check_columns(table, path)
    try:
        ids = [tile.id for tile in tiles_in(table)]
    except (TypeError, ValueError, OverflowError, SardinoError) as error:
        raise SardinoError(f"{path} holds a damaged tile ({first_line(error)}): make it again") from error
    check_unique(ids, str(path))
    for row, (stated, computed) in enumerate(zip(table["id"], ids, strict=True)):
        if stated != computed:
            raise SardinoError(f"{path} was changed: row {row} says tile {stated}, but its place is tile {computed}")
    return table


def check_unique(ids: Sequence[str], where: str) -> None:
    """Refuse ids that repeat."""
    if len(set(ids)) < len(ids):
        twice = Counter(ids).most_common(1)[0][0]
        raise SardinoError(f"{where} has tile {twice} twice: two tiles cover the same place, drop one")


def _outlines(tiles: Sequence[Tile]) -> geopandas.GeoSeries:
    """Outlines in EPSG:4326, at once per CRS: a transformer is slow to make."""
    outlines = np.full(len(tiles), None, object)
    for crs in dict.fromkeys(tile.crs for tile in tiles if tile.crs):
        rows = [row for row, tile in enumerate(tiles) if tile.crs == crs]
        boxes = shapely.box(*np.array([tiles[row].bounds for row in rows]).T)
        outlines[rows] = geopandas.GeoSeries(boxes, crs=crs).to_crs("EPSG:4326").to_numpy()
    return geopandas.GeoSeries(outlines, crs="EPSG:4326")


def _check_suffix(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise SardinoError(f"a tile table is a {' or '.join(SUFFIXES)} file, not {path}")


def _check_columns(table: pd.DataFrame, path: Path) -> None:
    if missing := ", ".join(name for name in (*PLACES, "geometry") if name not in table):
        remedy = "make one with `sardino tiles grid`, or tiles from polygons with `sardino tiles select`"
        raise SardinoError(f"{path} is no tile table, it lacks {missing}: {remedy}")


def _geojson(table: geopandas.GeoDataFrame) -> str:
    """GeoJSON text with full precision; pyogrio would round the outlines and refuse lists."""
    names = [name for name in table.columns if name != "geometry"]
    features = [
        {
            "type": "Feature",
            "properties": {name: _plain(value) for name, value in zip(names, row[:-1], strict=True)},
            "geometry": None if row[-1] is None else shapely.geometry.mapping(row[-1]),
        }
        for row in zip(*(table[name] for name in names), table.geometry, strict=True)
    ]
    collection = {"type": "FeatureCollection", "name": "sardino-tiles", "columns": names}
    lines = ",\n".join(json.dumps(feature) for feature in features)
    return json.dumps(collection)[:-1] + f', "features": [\n{lines}\n]}}\n'


def _plain(value: Any) -> Any:
    """A JSON value of a NumPy or pandas one; JSON has no NaN."""
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if value is pd.NA or (isinstance(value, float) and math.isnan(value)) else value


def _from_geojson(text: str) -> geopandas.GeoDataFrame:
    collection = json.loads(text)
    features = collection["features"]
    names = collection.get("columns") or list(dict.fromkeys(name for f in features for name in f["properties"]))
    data = pd.DataFrame({name: [feature["properties"].get(name) for feature in features] for name in names})
    shapes = [f["geometry"] and shapely.geometry.shape(f["geometry"]) for f in features]
    return geopandas.GeoDataFrame(data, geometry=geopandas.GeoSeries(shapes, crs="EPSG:4326"))
