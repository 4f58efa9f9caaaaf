"""Mosaics: tiles of a store, files of tiles, or one value a tile, in one georeferenced raster, tile by tile."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, Unpack

import geopandas
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.features import rasterize
from rasterio.transform import Affine

from sardino.data.rasters.geotiff import Canvas, GeoTiff, write_geotiff
from sardino.data.rasters.open import open_pixels
from sardino.data.rasters.packing import fits
from sardino.data.rasters.pixels import RASTER
from sardino.data.rasters.warp import KINDS, Grid, Kind, Transform, bounds_in, resample
from sardino.data.tiles.landcover import IGNORE
from sardino.data.tiles.radiometry import difference_of
from sardino.data.tiles.store import TileStore
from sardino.data.tiles.table import tiles_in
from sardino.data.tiles.tile import Progress, Tile
from sardino.errors import SardinoError
from sardino.files import files_in

# Colour-blind safe (Paul Tol's bright scheme), for columns of names such as the split.
_PALETTE = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#BBBBBB")


class Laying(TypedDict, total=False):
    """How and where a mosaic is laid: all of it by default as the tiles lie."""

    crs: str  # of the mosaic; needed where the tiles lie in several
    resolution: float | None  # in units of its CRS; that of the tiles by default
    overwrite: bool  # replace a file that is already there
    progress: Progress


def mosaic(
    store: TileStore, path: Path, bands: Sequence[str], *, ids: Sequence[str] | None = None, **laying: Unpack[Laying]
) -> None:
    """Write tiles of a store as one Cloud-Optimized GeoTIFF, one tile in memory at a time.

    Tiles that share one grid are copied pixel by pixel; others are warped: classes to the nearest
    pixel, backscatter in linear power.

    `bands`: channels of the store (float32 dB, NaN where missing), or "label" (uint8 codes of the product with its
    colours, 0 where unlabelled), or one reference layer. `ids`: tiles wanted, all by default. Raises SardinoError:
    unknown or mixed bands, tiles of several CRS and none named, or an unwritable path.
    """
    wanted = store.ids() if ids is None else ids
    _write(path, [store.tile(tile) for tile in wanted], _planes_of(store, wanted, list(bands)), **laying)


def mosaic_files(
    folder: Path, path: Path, *, kind: Kind | None = None, nodata: float | None = None, **laying: Unpack[Laying]
) -> None:
    """Write the GeoTIFF files of a folder, one a tile, as `mosaic` writes a store.

    Args:
        folder: of .tif files with the same bands, type and nodata, such as `sardino tiles chop` or geetiles write.
        kind: what their pixels mean, for warping; told from the files by default.
        nodata: where the files declare none; 0 for integers and NaN for others by default.

    Raises SardinoError: no file, one that is damaged, without CRS or rotated, or files that differ.
    """
    if kind is not None and kind not in KINDS:
        raise SardinoError(f"--kind is one of {', '.join(KINDS)}, not '{kind}'")
    files = files_in(folder, "*.tif")
    if not files:
        raise SardinoError(f"there is no .tif file in {folder}")
    tiles, facts = zip(*(_examined(file, kind) for file in files), strict=True)
    first = facts[0]
    for file, other in zip(files, facts, strict=True):
        if any(other[key] != first[key] for key in ("count", "dtype", "nodata")):
            raise SardinoError(f"{file} and {files[0]} differ in bands, type or nodata: keep one kind in {folder}")
    meaning: Kind = first["kind"]
    codes = meaning == "classes" and first["dtype"].kind in "iu"
    given = () if nodata is None else (nodata,)
    declared = [value for value in (*given, *first["nodata"]) if fits(value, first["dtype"])]
    missing = (declared or [0])[0] if codes else math.nan
    dtype = str(first["dtype"]) if codes or first["dtype"] == "float64" else "float32"

    def read(number: int) -> NDArray[Any]:
        with open_pixels(files[number]) as pixels:
            if not codes:
                return pixels.values(nodata=given).astype(dtype, copy=False)
            stored, valid = pixels.stored(nodata=given)
            return np.where(valid, stored, stored.dtype.type(missing))

    told = {key: first[key] for key in ("bands", "colors", "tags")}
    _write(path, tiles, _Planes(read, meaning, partial(GeoTiff, dtype=dtype, nodata=missing, **told)), **laying)


def mosaic_values(table: geopandas.GeoDataFrame, column: str, path: Path, **laying: Unpack[Laying]) -> dict[int, str]:
    """Write one value a tile, for example a class share or the split, as `mosaic` does pixels.

    `table`: tile table with `column`; numbers become float32 with NaN, names become uint8 codes from 1 on with colours,
    0 outside. `laying`: the resolution is the eighth part of a tile by default. Returns the name of each code; empty
    for numbers.
    """
    if column not in table.columns or column == "geometry":
        raise SardinoError(f"the tile table has no column '{column}': it has {', '.join(map(str, table.columns))}")
    tiles, values = tiles_in(table), table[column]
    names: dict[int, str] = {}
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if not numeric:
        coded = pd.Categorical(values.map(str, na_action="ignore"))
        names, values = dict(enumerate(coded.categories, start=1)), coded.codes + 1
        if len(names) > 254:
            raise SardinoError(f"column '{column}' holds {len(names)} names, more than the 254 that a raster can code")
    smallest = min((max(t.shape) for t in tiles), default=1)
    step = 1 if laying.get("resolution") else max(smallest // 8, 1)
    colors = {number: _PALETTE[(number - 1) % len(_PALETTE)] for number in names}
    tags = {f"class_{number}": name for number, name in names.items()}
    dtype, nodata = ("float32", math.nan) if numeric else ("uint8", 0)
    each = np.asarray(values, float).reshape(-1, 1, 1, 1)
    raster = partial(GeoTiff, bands=[column], dtype=dtype, nodata=nodata, colors=colors, tags=tags)
    _write(path, tiles, _Planes(each.__getitem__, None, raster), step, **laying)
    return names


def mosaic_grid(
    tiles: Sequence[Tile], crs: str = "", resolution: float | None = None, step: int = 1
) -> tuple[str, Transform, tuple[int, int]]:
    """CRS, transform and shape of the grid that holds all tiles, which may lie in several UTM zones.

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
    corners = np.array([bounds_in(tile, target) for tile in tiles])
    left, bottom = (float(value) for value in corners[:, :2].min(0))
    right, top = (float(value) for value in corners[:, 2:].max(0))
    if resolution is None:
        first = next((tile for tile in tiles if CRS(tile.crs) == target), None)
        if first is None:
            raise SardinoError(f"no tile lies in {crs}: name the resolution of the mosaic in its units")
        a, _, x, _, e, y = first.transform
        step_x, step_y = a * step, -e * step
    elif not resolution > 0:
        raise SardinoError(f"a resolution is larger than 0, not {resolution:g}")
    else:
        step_x, step_y, x, y = float(resolution), float(resolution), 0.0, 0.0
    tiny = 1e-6  # a corner on a pixel edge stays there in spite of rounding
    west, north = math.floor((left - x) / step_x + tiny), math.ceil((top - y) / step_y - tiny)
    columns = math.ceil((right - x) / step_x - tiny) - west
    rows = north - math.floor((bottom - y) / step_y + tiny)
    return crs or own[0], (step_x, 0.0, x + west * step_x, 0.0, -step_y, y + north * step_y), (rows, columns)


# One tile: what is read of it, and where it is laid.


@dataclass(frozen=True)
class _Planes:
    """What is read of each tile, by its number, for the bands of a mosaic, which come first."""

    read: Callable[[int], NDArray[Any]]
    kind: Kind | None  # None of one value, which fills the tile's outline
    raster: Callable[..., GeoTiff]  # of a grid
    # Of which one or two planes each band is made anew where tiles are warped: a difference of decibels is taken after
    # warping, from the two powers.
    made_of: Sequence[Sequence[int]] = ()


def _planes_of(store: TileStore, ids: Sequence[str], bands: list[str]) -> _Planes:
    legend, (name, *more) = store.legend, bands or [""]
    tags = {"product": store.product, "unit": store.unit, "synthetic": str(store.synthetic).lower()}
    tags |= {"fingerprint": store.fingerprint, "classes": "; ".join(f"{c.code} {c.name}" for c in legend.classes)}
    if bands and len(bands) == len(set(bands)) and set(bands) <= set(store.channels):
        parts = [difference_of(band, store.channels) or (band,) for band in bands]
        names = list(dict.fromkeys([*bands, *(name for both in parts for name in both)]))
        places, made_of = [store.channels.index(n) for n in names], [[names.index(n) for n in both] for both in parts]

        def channels(number: int) -> NDArray[Any]:
            return store.read([ids[number]])[0][0][places]

        raster = partial(GeoTiff, bands=bands, dtype="float32", nodata=math.nan, tags=tags, stepped=True)
        return _Planes(channels, "db" if store.unit == "dB" else "values", raster, made_of)
    if more or name not in ("label", *store.layers):
        there = f"channels ({', '.join(store.channels)}), or label, or one layer ({', '.join(store.layers) or 'none'})"
        raise SardinoError(f"'{', '.join(bands)}' cannot be one mosaic: take {there}")

    def layer(number: int) -> NDArray[Any]:
        values = store.read([ids[number]])[1] if name == "label" else store.read_layer(name, [ids[number]])
        if name in ("label", "landcover_300m"):
            return legend.decode(values, unlabelled)
        return values[0] if name == "optical" else values

    unlabelled = 0 if 0 not in legend.codes else IGNORE
    if name == "optical":
        raster = partial(GeoTiff, bands=["red", "green", "blue"], dtype="uint8", nodata=0, tags=tags)
    elif name in ("label", "landcover_300m"):
        colors = dict(zip(legend.codes, legend.colors, strict=True))
        raster = partial(GeoTiff, bands=bands, dtype="uint8", nodata=unlabelled, colors=colors, tags=tags)
    else:
        return _Planes(layer, "values", partial(GeoTiff, bands=bands, dtype="float32", nodata=math.nan, tags=tags))
    return _Planes(layer, "classes", raster)


def _examined(file: Path, kind: Kind | None) -> tuple[Tile, dict[str, Any]]:
    """Place of a file and what it says about its pixels."""
    with open_pixels(file) as pixels:
        first, grid = pixels.bands[0], pixels.placed().grid
        return Tile("", grid.crs, grid.transform, grid.shape), {
            "count": len(pixels.bands),
            "dtype": first.dtype,
            "kind": kind or pixels.kind(RASTER),
            # NaN is not equal to itself, and missing in any case.
            "nodata": [value for value in first.packing.missing if not math.isnan(value)],
            "bands": [band.name or f"band {n}" for n, band in enumerate(pixels.bands, start=1)],
            "colors": {value: f"#{r:02X}{g:02X}{b:02X}" for value, (r, g, b, _) in first.colors.items()},
            "tags": {key: value for key, value in pixels.about.items() if key in ("product", "unit", "classes")},
        }


def _write(
    path: Path,
    tiles: Sequence[Tile],
    planes: _Planes,
    step: int = 1,
    *,
    crs: str = "",
    resolution: float | None = None,
    overwrite: bool = False,
    progress: Progress = iter,
) -> None:
    """Read tile after tile and lay each where it belongs: copied where its pixels are the mosaic's, else warped."""
    what = planes.raster(*mosaic_grid(tiles, crs, resolution, step))
    with write_geotiff(path, what, overwrite) as canvas:
        for number, tile in enumerate(progress(tiles)):
            _lay(canvas, tile, planes.read(number), planes)


def _lay(canvas: Canvas, tile: Tile, values: NDArray[Any], planes: _Planes) -> None:
    what, target = canvas.what, CRS(canvas.what.crs)
    own = Grid(tile.crs, tile.transform, tile.shape)
    if planes.kind and (place := own.place_in(Grid(what.crs, what.transform, what.shape))):
        canvas.lay(values[: len(what.bands)], *place)
        return
    # The part of the mosaic that the tile touches.
    left, bottom, right, top = bounds_in(tile, target)
    a, b, c, d, e, f = what.transform
    column, row = math.floor((left - c) / a), math.floor((top - f) / e)
    shape = math.ceil((bottom - f) / e) - row, math.ceil((right - c) / a) - column
    corner = (a, b, c + a * column, d, e, f + e * row)
    if not planes.kind:
        outline = [(tile.footprint_in(what.crs), 1)]
        inside = rasterize(outline, out_shape=shape, transform=Affine(*corner), dtype="uint8")
        canvas.lay(np.where(inside, values, what.nodata), row, column)
        return
    made_of = planes.made_of or [[number] for number in range(len(values))]
    needed = sorted({number for parts in made_of for number in parts})
    warped = resample(values[needed], own, Grid(what.crs, corner, shape), planes.kind, what.nodata)
    of = dict(zip(needed, warped, strict=True))
    canvas.lay(np.stack([of[one] - of[other[0]] if other else of[one] for one, *other in made_of]), row, column)
