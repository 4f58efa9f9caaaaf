"""Folders as geetiles, sartiles and M3LEO lay them out: the table of tiles, their splits, their data sets."""

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd

from sardino.data.places.splits import band_index, splits_of_bands
from sardino.data.places.utm import crs_at, transformer
from sardino.data.tiles.store import SPLITS
from sardino.data.tiles.tile import Tile
from sardino.errors import SardinoError, first_line
from sardino.files import files_in, read_text

# <aoi>_partitions_<kind>_<13 hex>, with _miniset behind it in the small edition of M3LEO.
STEM = re.compile(r"(?P<aoi>.+)_partitions_(?P<kind>.+)_(?P<hash>[0-9a-f]{13})(?P<subset>_[A-Za-z0-9-]+)?")
IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")  # of a tile: nothing in it leads to another folder
GSD_M = 10.0
MARKERS = (".nodata", ".skipped")  # files that geetiles and sartiles leave where a tile has no data


@dataclass(frozen=True)
class Layout:
    """Tiles of one table (.geojson), and the folder that holds <data set>/<identifier>.tif or .nc."""

    table: Path
    folder: Path
    identifiers: tuple[str, ...]  # names of the tiles, as given
    tiles: tuple[Tile, ...]  # their places on the grid asked for
    splits: tuple[str, ...]  # "train", "val" or "test", or "" where the files assign none
    bands: tuple[int, ...]  # geographic band of each tile; 0 where the splits came from the files

    def datasets(self) -> list[str]:
        """Names of the data sets that have a folder."""
        return sorted(path.name for path in self.folder.iterdir() if path.is_dir() and not path.name.startswith("."))

    def dataset(self, name: str) -> Path:
        """The folder of a data set; SardinoError lists those there are."""
        if not IDENTIFIER.fullmatch(name) or not (self.folder / name).is_dir():
            there = ", ".join(self.datasets()) or "none"
            raise SardinoError(f"{self.folder} has no data set '{name}': it holds {there}")
        return self.folder / name

    def choose(self, rows: Sequence[int]) -> "Layout":
        """The same layout with some of its tiles."""
        lists = ("identifiers", "tiles", "splits", "bands")
        chosen: dict[str, Any] = {name: tuple(getattr(self, name)[row] for row in rows) for name in lists}
        return replace(self, **chosen)

    def named(self, identifiers: Sequence[str]) -> "Layout":
        """The tiles of these names, in the table's order."""
        if unknown := [name for name in identifiers if name not in self.identifiers]:
            raise SardinoError(f"{self.table.name} has no tile {', '.join(unknown[:5])}: take names from its column")
        wanted = set(identifiers)
        return self.choose([row for row, name in enumerate(self.identifiers) if name in wanted])

    def first(self, count: int) -> "Layout":
        """At most `count` tiles of each split, in the table's order."""
        chosen = [[row for row, own in enumerate(self.splits) if own == split][:count] for split in set(self.splits)]
        return self.choose(sorted(row for rows in chosen for row in rows))

    def assigned(self, bands: int, direction_deg: float) -> "Layout":
        """The layout with splits by geographic bands, see `band_index`, whatever the files say."""
        centres = np.array([tile.footprint_in("EPSG:4326").centroid.coords[0] for tile in self.tiles])
        # Degrees to equal lengths in both directions, so that the angle is one on the ground.
        x = centres[:, 0] * math.cos(math.radians(centres[:, 1].mean()))
        band = band_index(x, centres[:, 1], bands, direction_deg)
        return replace(self, bands=tuple(map(int, band)), splits=tuple(map(str, splits_of_bands(band))))


def open_layout(path: Path, *, splits: Path | None = None, tile_px: int = 432) -> Layout:
    """Read the table of tiles and their splits.

    The tools' tiles are rectangles in degrees. Here each becomes a square on the grid of its own UTM zone, with the
    same centre, so that a pixel measures what it says; the rasters are warped to it when they are read.

    Args:
        path: the .geojson table, or a folder that holds exactly one.
        splits: a .csv with the columns identifier and split; by default the one beside the table, if there is one,
            or the table's column `split`.
        tile_px: edge of the square in pixels of 10 m.

    SardinoError where a file is missing, damaged or of another layout, or identifiers repeat or lead elsewhere.
    """
    table = _find_table(Path(path))
    match = STEM.fullmatch(table.stem)
    if match is None:
        raise SardinoError(f"{table} is not named <aoi>_partitions_<kind>_<13 hex digits>.geojson: rename it as it was")
    data = table.with_suffix("")
    if not data.is_dir() and match["subset"]:
        data = table.parent / table.stem.removesuffix(match["subset"])
    if not data.is_dir():
        raise SardinoError(f"there is no folder {data} beside {table.name}: unpack the data sets there")
    try:
        frame = geopandas.read_file(table)
    except Exception as error:
        raise SardinoError(f"{table} cannot be read ({first_line(error)}): copy or download it again") from error
    if "identifier" not in frame.columns or not len(frame):
        raise SardinoError(f"{table} has no column 'identifier' or no tile: it is no table of geetiles")
    identifiers = [str(value) for value in frame["identifier"]]
    if strange := [name for name in identifiers if not IDENTIFIER.fullmatch(name)]:
        raise SardinoError(f"{table} names a tile {strange[0]!r}, which is no file name: the table is not trusted")
    if twice := [name for name, count in Counter(identifiers).items() if count > 1]:
        raise SardinoError(f"{table} names the tile {twice[0]} twice: remove one")
    outlines = frame.geometry if frame.crs is None else frame.geometry.to_crs("EPSG:4326")
    if outlines.is_empty.any() or outlines.isna().any():
        raise SardinoError(f"{table} has tiles without an outline: write it again with `geet`")
    tiles = [_utm_tile(match["aoi"], bounds, tile_px) for bounds in outlines.bounds.to_numpy().tolist()]
    given = _splits(table, match["subset"] or "_miniset", splits, frame)
    return Layout(table, data, tuple(identifiers), tuple(tiles), tuple(given), (0,) * len(tiles))


def _utm_tile(region: str, bounds: Sequence[float], tile_px: int) -> Tile:
    """The square on its zone's grid around the centre of bounds in degrees."""
    west, south, east, north = bounds
    if not (max(abs(west), abs(east)) <= 180 and max(abs(south), abs(north)) <= 84):
        raise SardinoError(f"region '{region}' has tiles beyond 180 degrees east or 84 north: is the table in degrees?")
    centre = (west + east) / 2, (south + north) / 2
    crs = crs_at(*centre)
    x, y = transformer("EPSG:4326", crs).transform(*centre)
    half = tile_px * GSD_M / 2
    left, top = round((x - half) / GSD_M) * GSD_M, round((y + half) / GSD_M) * GSD_M
    return Tile(region, crs, (GSD_M, 0.0, left, 0.0, -GSD_M, top), (tile_px, tile_px))


def _find_table(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise SardinoError(f"there is no {path}: give the .geojson table of the tiles, or the folder that holds it")
    found = [file for file in files_in(path, "*_partitions_*.geojson") if STEM.fullmatch(file.stem)]
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise SardinoError(f"{path} should hold one <aoi>_partitions_<kind>_<hash>.geojson, it holds {names}: name one")
    return found[0]


def _splits(table: Path, subset: str, path: Path | None, frame: geopandas.GeoDataFrame) -> list[str]:
    """The split of each tile, "" for none."""
    if path is None:
        own = table.stem
        found = files_in(table.parent, f"{escape(own.removesuffix(subset))}*splits*.csv")
        # A list of a subset belongs to the subset's own table.
        found = [file for file in found if file.stem.endswith(subset) == own.endswith(subset)]
        if len(found) > 1:
            names = ", ".join(file.name for file in found)
            raise SardinoError(f"{table.parent} holds several lists of splits ({names}): choose one")
        path = found[0] if found else None
    if path is None:
        if "split" not in frame.columns:
            return [""] * len(frame)
        return [_split(value, table) for value in frame["split"]]
    try:
        rows = csv.DictReader(io.StringIO(read_text(path)))
        listed = {row["identifier"]: _split(row["split"], path) for row in rows}
    except (OSError, KeyError, csv.Error) as error:
        raise SardinoError(f"{path} has no columns identifier and split ({error}): copy the file again") from error
    identifiers = [str(value) for value in frame["identifier"]]
    if not listed.keys() & set(identifiers):
        raise SardinoError(f"{path} names none of the tiles of {table.name}: it belongs to another partition")
    return [listed.get(identifier, "") for identifier in identifiers]


def _split(value: object, path: Path) -> str:
    if value in SPLITS:
        return str(value)
    if value == "" or pd.isna(value):
        return ""
    raise SardinoError(f"{path} has the split '{value}': only {', '.join(SPLITS)} are known")
