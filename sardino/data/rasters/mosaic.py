"""Mosaics: the tiles of a store back in one georeferenced raster, tile by tile."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import rasterio
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from rasterio.features import rasterize
from rasterio.transform import Affine

from sardino.data.rasters.geotiff import GeoTiff, write_geotiff
from sardino.data.rasters.warp import KINDS, Kind, Transform, resample, window_on
from sardino.data.tiles.landcover import IGNORE
from sardino.data.tiles.store import TileStore
from sardino.data.tiles.table import tiles_in
from sardino.data.tiles.tile import Tile
from sardino.errors import SardinoError

# The grid of a mosaic: one CRS and pixel size for tiles that may lie in several UTM zones.

_EDGE_POINTS = 21


def mosaic_grid(
    tiles: Sequence[Tile], crs: str = "", resolution: float | None = None, step: int = 1
) -> tuple[str, Transform, tuple[int, int]]:
    """CRS, transform and shape of the grid that holds all tiles.

    Without a CRS and a resolution it is the tiles' own, pixel on pixel with the first of them, `step`
    pixels taken as one; otherwise its origin is a multiple of the resolution.
    """
    if not tiles:
        raise SardinoError("a mosaic needs at least one tile")
    own = sorted({tile.crs for tile in tiles})
    if "" in own:
        raise SardinoError("tiles without a CRS cannot be placed in a mosaic: leave them out")
    if not crs and len(own) > 1:
        raise SardinoError(f"the tiles lie in {', '.join(own)}: name the CRS of the mosaic, for example --crs {own[0]}")
    try:
        target = CRS.from_user_input(crs or own[0])
    except Exception as error:
        raise SardinoError(f"'{crs}' is no CRS: write for example EPSG:3035") from error
    corners = np.array([_bounds_in(tile, target) for tile in tiles])
    left, bottom = (float(value) for value in corners[:, :2].min(0))
    right, top = (float(value) for value in corners[:, 2:].max(0))
    first = next((tile for tile in tiles if CRS(tile.crs) == target), None)
    if resolution is None:
        if first is None:
            raise SardinoError(f"no tile lies in {crs}: name the resolution of the mosaic in its units")
        step_x, step_y = first.transform[0] * step, -first.transform[4] * step
        origin = first.transform[2], first.transform[5]
    else:
        if not resolution > 0:
            raise SardinoError(f"a resolution is larger than 0, not {resolution:g}")
        step_x = step_y = float(resolution)
        origin = 0.0, 0.0
    tiny = 1e-6  # a corner on a pixel edge stays there in spite of rounding
    west = math.floor((left - origin[0]) / step_x + tiny)
    north = math.ceil((top - origin[1]) / step_y - tiny)
    columns = math.ceil((right - origin[0]) / step_x - tiny) - west
    rows = north - math.floor((bottom - origin[1]) / step_y + tiny)
    transform = (step_x, 0.0, origin[0] + west * step_x, 0.0, -step_y, origin[1] + north * step_y)
    return crs or own[0], transform, (rows, columns)


def window_of(tile: Tile, crs: str, transform: Transform) -> tuple[int, int, tuple[int, int], Transform]:
    """Row, column, shape and transform of the part of the mosaic that a tile touches."""
    left, bottom, right, top = _bounds_in(tile, CRS(crs))
    a, b, c, d, e, f = transform
    column, row = math.floor((left - c) / a), math.floor((top - f) / e)
    shape = math.ceil((bottom - f) / e) - row, math.ceil((right - c) / a) - column
    return row, column, shape, (a, b, c + a * column, d, e, f + e * row)


def _bounds_in(tile: Tile, crs: CRS) -> tuple[float, float, float, float]:
    if CRS(tile.crs) == crs:
        return tile.bounds
    return Transformer.from_crs(tile.crs, crs, always_xy=True).transform_bounds(*tile.bounds, densify_pts=_EDGE_POINTS)


Progress = Callable[[Iterable[Any]], Iterable[Any]]


def mosaic(
    store: TileStore,
    path: Path,
    bands: Sequence[str],
    *,
    ids: Sequence[str] | None = None,
    crs: str = "",
    resolution: float | None = None,
    overwrite: bool = False,
    progress: Progress = iter,
) -> None:
    """Write tiles of a store as one Cloud-Optimized GeoTIFF, one tile in memory at a time.

    Tiles that share one grid are copied pixel by pixel; others are warped: classes to the nearest
    pixel, backscatter in linear power.

    Args:
        store: holds the tiles.
        path: .tif file to make.
        bands: channels of the store (float32 dB, NaN where missing), or "label" (uint8 codes of the
            product with its colours, 0 where unlabelled), or one reference layer.
        ids: tiles wanted, all by default.
        crs: of the mosaic; needed where the tiles lie in several.
        resolution: of the mosaic in units of its CRS; that of the tiles by default.
        overwrite: replace a file that is already there.
        progress: wraps the loop over tiles, for example `tqdm`.

    Raises:
        SardinoError: unknown or mixed bands, tiles of several CRS and none named, or an unwritable path.
    """
    tiles = [store.tile(tile) for tile in (store.ids() if ids is None else ids)]
    to_crs, transform, shape = mosaic_grid(tiles, crs, resolution)
    content = _content(store, list(bands))
    what = GeoTiff(
        to_crs, transform, shape, content.bands, content.dtype, content.nodata, content.colors, _facts(store),
        stepped=isinstance(content, _Channels),
    )  # fmt: skip
    with write_geotiff(path, what, overwrite) as canvas:
        for tile in progress(tiles):
            place = window_on(tile.transform, tile.shape, transform) if CRS(tile.crs) == CRS(to_crs) else None
            if place:
                canvas.lay(content.read(tile), *place)
            else:
                row, column, size, corner = window_of(tile, to_crs, transform)
                canvas.lay(content.warp(tile, to_crs, corner, size), row, column)


@dataclass(frozen=True)
class _Content:
    """What the bands of a mosaic are, and how one tile of them is read."""

    kind: Kind
    read: Callable[[Tile], NDArray[Any]]
    bands: Sequence[str]
    dtype: str
    nodata: float
    colors: dict[int, str] = field(default_factory=dict)

    def warp(self, tile: Tile, crs: str, transform: Any, shape: tuple[int, int]) -> NDArray[Any]:
        return resample(self.read(tile), tile.crs, tile.transform, crs, transform, shape, self.kind, nodata=self.nodata)


@dataclass(frozen=True)
class _Channels(_Content):
    """Channels; a difference of decibels is taken anew after warping, from the two powers."""

    store: TileStore | None = None

    def warp(self, tile: Tile, crs: str, transform: Any, shape: tuple[int, int]) -> NDArray[Any]:
        assert self.store is not None
        names = self.store.channels
        parts = {name: _parts(name, names) for name in self.bands}
        needed = list(dict.fromkeys(part for both in parts.values() for part in both))
        source = self.store.read([tile.id])[0][0][[names.index(name) for name in needed]]
        warped = resample(source, tile.crs, tile.transform, crs, transform, shape, self.kind)
        plane = dict(zip(needed, warped, strict=True))
        return np.stack([plane[a] - plane[b[0]] if b else plane[a] for a, *b in parts.values()])


def _parts(channel: str, channels: Sequence[str]) -> tuple[str, ...]:
    """The channels that a channel is made of: "winter_vv-vh" is the difference of winter_vv and winter_vh."""
    season, _, pair = channel.rpartition("_")
    parts = tuple(f"{season}_{pol}" if season else pol for pol in pair.split("-"))
    return parts if len(parts) == 2 and set(parts) <= set(channels) else (channel,)


def _content(store: TileStore, bands: list[str]) -> _Content:
    legend, size = store.legend, len(bands)
    unlabelled = 0 if 0 not in legend.codes else IGNORE
    colors = dict(zip(legend.codes, legend.colors, strict=True))
    if size and size == len(set(bands)) and set(bands) <= set(store.channels):
        places = [store.channels.index(name) for name in bands]
        kind: Kind = "db" if store.unit == "dB" else "values"
        return _Channels(kind, lambda t: store.read([t.id])[0][0][places], bands, "float32", math.nan, store=store)
    if bands == ["label"]:
        return _Content(
            "classes", lambda t: legend.decode(store.read([t.id])[1], unlabelled), bands, "uint8", unlabelled, colors
        )
    if size != 1 or bands[0] not in store.layers:
        raise SardinoError(
            f"'{', '.join(bands)}' cannot be one mosaic: take channels ({', '.join(store.channels)}), or label, "
            f"or one layer ({', '.join(store.layers) or 'none'})"
        )
    name = bands[0]
    if name == "optical":
        return _Content("classes", lambda t: store.read_layer(name, [t.id])[0], ["red", "green", "blue"], "uint8", 0)
    if name == "landcover_300m":
        return _Content(
            "classes",
            lambda t: legend.decode(store.read_layer(name, [t.id]), unlabelled),
            bands,
            "uint8",
            unlabelled,
            colors,
        )
    return _Content("values", lambda t: store.read_layer(name, [t.id]), bands, "float32", math.nan)


def _facts(store: TileStore) -> dict[str, str]:
    return {
        "product": store.product,
        "unit": store.unit,
        "synthetic": str(store.synthetic).lower(),
        "fingerprint": store.fingerprint,
        "classes": "; ".join(f"{c.code} {c.name}" for c in store.legend.classes),
    }


# A mosaic of raster files, one a tile, such as `sardino tiles chop` or geetiles write them.


def mosaic_files(
    folder: Path,
    path: Path,
    *,
    kind: Kind | None = None,
    nodata: float | None = None,
    crs: str = "",
    resolution: float | None = None,
    overwrite: bool = False,
    progress: Progress = iter,
) -> None:
    """Write the GeoTIFF files of a folder as one Cloud-Optimized GeoTIFF, one file in memory at a time.

    Args:
        folder: of .tif files with the same bands, type and nodata.
        path: .tif file to make.
        kind: what their pixels mean, for warping; classes where they are integers, decibels where their unit
            is "dB", other values elsewhere.
        nodata: where the files declare none; 0 for integers and NaN for others by default.
        crs, resolution, overwrite, progress: as of `mosaic`.

    Raises:
        SardinoError: no file, one that is damaged, without CRS or rotated, or files that differ.
    """
    if kind is not None and kind not in KINDS:
        raise SardinoError(f"--kind is one of {', '.join(KINDS)}, not '{kind}'")
    files = sorted(folder.glob("[!.]*.tif"))
    if not files:
        raise SardinoError(f"there is no .tif file in {folder}")
    tiles = []
    first: dict[str, Any] = {}
    for file in files:
        tile, facts = _examined(file)
        first = first or facts
        if (facts["count"], facts["dtype"], facts["nodata"]) != (first["count"], first["dtype"], first["nodata"]):
            raise SardinoError(f"{file} and {files[0]} differ in bands, type or nodata: keep one kind in {folder}")
        tiles.append(tile)
    meaning: Kind = kind or ("classes" if first["integer"] else "db" if first["unit"].lower() == "db" else "values")
    floating = not first["integer"] or meaning != "classes"
    declared = first["nodata"] if nodata is None else nodata
    missing = math.nan if floating else declared or 0
    to_crs, transform, shape = mosaic_grid(tiles, crs, resolution)
    dtype = first["dtype"] if not floating else "float64" if first["dtype"] == "float64" else "float32"
    what = GeoTiff(to_crs, transform, shape, first["bands"], dtype, missing, first["colors"], first["tags"])
    with write_geotiff(path, what, overwrite) as canvas:
        for file, tile in progress(list(zip(files, tiles, strict=True))):
            values = _values(file, dtype, floating, declared)
            place = window_on(tile.transform, tile.shape, transform) if CRS(tile.crs) == CRS(to_crs) else None
            if place:
                canvas.lay(values, *place)
            else:
                row, column, size, corner = window_of(tile, to_crs, transform)
                warped = resample(values, tile.crs, tile.transform, to_crs, corner, size, meaning, missing)
                canvas.lay(warped, row, column)


def _examined(file: Path) -> tuple[Tile, dict[str, Any]]:
    """Place of a file and what it says about its pixels."""
    try:
        with rasterio.open(file) as dataset:
            if dataset.crs is None:
                raise SardinoError(f"{file} states no CRS: it cannot be placed in a mosaic")
            t = dataset.transform
            tile = Tile("", dataset.crs.to_string(), (t.a, t.b, t.c, t.d, t.e, t.f), dataset.shape)
            integer = np.dtype(dataset.dtypes[0]).kind in "iu"
            palette = "palette" in dataset.colorinterp[0].name
            colors = (
                {v: f"#{r:02X}{g:02X}{b:02X}" for v, (r, g, b, a) in dataset.colormap(1).items()} if palette else {}
            )
            nodata = dataset.nodata
            return tile, {
                "count": dataset.count,
                "dtype": dataset.dtypes[0],
                # NaN is not equal to itself; None says the same of floating point.
                "nodata": None if nodata is None or math.isnan(nodata) else nodata,
                "integer": integer,
                "unit": dataset.tags().get("unit", dataset.units[0] or ""),
                "bands": [name or f"band {n}" for n, name in enumerate(dataset.descriptions, start=1)],
                "colors": colors,
                "tags": {key: value for key, value in dataset.tags().items() if key in ("product", "unit", "classes")},
            }
    except rasterio.errors.RasterioError as error:
        raise SardinoError(f"{file} cannot be read ({error}): find such files with `sardino tiles verify`") from error


def _values(file: Path, dtype: str, floating: bool, nodata: float | None) -> NDArray[Any]:
    try:
        with rasterio.open(file) as dataset:
            values = dataset.read()
    except rasterio.errors.RasterioError as error:
        raise SardinoError(f"{file} cannot be read ({error}): find such files with `sardino tiles verify`") from error
    if not floating:
        return values
    out = values.astype(dtype)
    if nodata is not None:
        out[values == nodata] = np.nan
    return out


# A mosaic of one value a tile: a share, the split or the band of each tile as a raster to look at.

_PALETTE = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#BBBBBB")
"""Colour-blind safe (Paul Tol's bright scheme), for columns of names such as the split."""


def mosaic_values(
    table: geopandas.GeoDataFrame,
    column: str,
    path: Path,
    *,
    crs: str = "",
    resolution: float | None = None,
    overwrite: bool = False,
    progress: Progress = iter,
) -> dict[int, str]:
    """Write one value a tile, for example a class share or the split, as a Cloud-Optimized GeoTIFF.

    Args:
        table: tile table with `column`; numbers become float32 with NaN, names become uint8 codes from 1 on
            with colours, 0 outside.
        resolution: in units of the CRS; the eighth part of a tile by default.

    Returns:
        The name of each code; empty for numbers.
    """
    if column not in table.columns or column == "geometry":
        raise SardinoError(f"the tile table has no column '{column}': it has {', '.join(map(str, table.columns))}")
    tiles, values = tiles_in(table), table[column]
    names: dict[int, str] = {}
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if not numeric:
        known = sorted({str(value) for value in values if not pd.isna(value)})
        if len(known) > 254:
            raise SardinoError(f"column '{column}' holds {len(known)} names, more than the 254 that a raster can code")
        names = dict(enumerate(known, start=1))
        code = {name: number for number, name in names.items()}
        values = pd.Series([code.get(str(value), 0) for value in values])
    smallest = min((max(t.shape) for t in tiles), default=1)
    to_crs, transform, shape = mosaic_grid(tiles, crs, resolution, 1 if resolution else max(smallest // 8, 1))
    described = GeoTiff(
        to_crs,
        transform,
        shape,
        [column],
        "float32" if numeric else "uint8",
        math.nan if numeric else 0,
        {number: _PALETTE[(number - 1) % len(_PALETTE)] for number in names},
        {f"class_{number}": name for number, name in names.items()},
    )
    with write_geotiff(path, described, overwrite) as canvas:
        for tile, value in progress(list(zip(tiles, values, strict=True))):
            row, column_at, size, corner = window_of(tile, to_crs, transform)
            outline = tile.footprint_in(to_crs)
            inside = rasterize([(outline, 1)], out_shape=size, transform=Affine(*corner), dtype="uint8")
            canvas.lay(np.where(inside, float(value), described.nodata)[None], row, column_at)
    return names
