"""One file a tile: where tiles cut from a scene are written, GeoTIFF or NetCDF, each whole or not at all."""

import csv
import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rioxarray  # noqa: F401  the accessor .rio
import xarray as xr
from pyproj import CRS
from rasterio.transform import Affine

from sardino.errors import SardinoError
from sardino.tiles.contents.integrity import Finding, examine_file
from sardino.tiles.grid import Tile

LEFT_OUT = "left-out.csv"
"""Beside the tiles' files: ids of the tiles without one, and why."""
ORIGIN = "sardino_origin"
"""Attribute or tag that says what a file was cut from."""

Progress = Callable[[Iterable[Any]], Iterable[Any]]


class TileLeftOut(SardinoError):
    """A tile cannot be cut, for the reason given."""


@dataclass(frozen=True)
class Cut:
    """What became of the tiles of a table.

    Args:
        written: ids of tiles whose file was made now.
        kept: ids of tiles whose file was there and whole.
        left_out: reason by id.
    """

    written: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def cut_tiles(
    tiles: Sequence[Tile], out: Path, suffix: str, origin: str, make: Callable[[Tile, Path], None], progress: Progress
) -> Cut:
    """Make the file of each tile, `<id><suffix>` in a folder, and go on where a run before this one was stopped.

    A file that is there is read; whole ones are kept, damaged ones made again. Tiles that `make` leaves
    out by raising TileLeftOut are listed in LEFT_OUT with the reason.

    Args:
        origin: what the files are cut from; a folder that holds files of another origin is refused.
        make: writes the file of a tile.
    """
    if not tiles:
        raise SardinoError("there is no tile to cut: the table is empty")
    if any(not tile.crs for tile in tiles):
        raise SardinoError("tiles without a CRS cannot be cut from a scene: leave them out of the table")
    out.mkdir(parents=True, exist_ok=True)
    done = Cut()
    for tile in progress(tiles):
        path = out / f"{tile.id}{suffix}"
        state = examine_file(path) if path.exists() else None
        if isinstance(state, Finding) and state.fault == "unexamined":
            raise SardinoError(f"{path} cannot be opened ({state.reason}): free it, or choose another folder")
        if state is not None and not isinstance(state, Finding):
            if (found := origin_of(path)) != origin:
                raise SardinoError(
                    f"{path} was cut from {found or 'something else'}, wanted is {origin}: choose another folder"
                )
            done.kept.append(tile.id)
            continue
        try:
            make(tile, path)
        except TileLeftOut as reason:
            path.unlink(missing_ok=True)
            done.left_out[tile.id] = str(reason)
        else:
            done.written.append(tile.id)
    _write_left_out(out / LEFT_OUT, done.left_out)
    return done


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A sibling to write to; it becomes `path` where no error was raised, and vanishes otherwise."""
    # One name a tile: what a killed run left is overwritten by the next.
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    partial.unlink(missing_ok=True)
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def origin_of(path: Path) -> str:
    """What a tile's file was cut from; "" where it does not say."""
    if path.suffix == ".nc":
        with xr.open_dataset(path, engine="h5netcdf", decode_cf=False) as data:
            return str(data.attrs.get(ORIGIN, ""))
    with rasterio.open(path) as dataset:
        return str(dataset.tags().get(ORIGIN, ""))


def cut_grid(tile: Tile, step: float | None) -> Tile:
    """The tile itself, or the same footprint in as many square pixels of about `step` map units as fit."""
    if step is None:
        return tile
    left, bottom, right, top = tile.bounds
    rows, columns = max(round((top - bottom) / step), 1), max(round((right - left) / step), 1)
    return Tile(
        tile.region,
        tile.crs,
        ((right - left) / columns, 0.0, left, 0.0, (bottom - top) / rows, top),
        (rows, columns),
    )


def on_grid(data: xr.Dataset, grid: Tile) -> xr.Dataset:
    """A dataset whose last dimensions are y and x, with their coordinates and the CRS by CF."""
    a, _, c, _, e, f = grid.transform
    rows, columns = grid.shape
    placed = data.assign_coords(y=("y", f + e * (np.arange(rows) + 0.5)), x=("x", c + a * (np.arange(columns) + 0.5)))
    placed = placed.rio.write_crs(grid.crs).rio.write_transform(Affine(*grid.transform))
    return placed.rio.write_coordinate_system()


def write_netcdf(path: Path, groups: dict[str, xr.Dataset]) -> None:
    """Write groups of one NetCDF file; "/" is the root."""
    with whole_file(path) as partial:
        for number, (group, data) in enumerate(groups.items()):
            for variable in data.data_vars.values():
                if variable.ndim >= 2 and variable.dtype.kind in "iuf":
                    variable.encoding.update(zlib=True, complevel=1)
            with warnings.catch_warnings():
                # A fill value of a variable that was masked by hand is not news.
                warnings.filterwarnings("ignore", message="saving variable .* with floating point data")
                data.to_netcdf(
                    partial,
                    mode="a" if number else "w",
                    group=None if group == "/" else group,
                    engine="h5netcdf",
                )


def write_tif(path: Path, values: Any, grid: Tile, nodata: float, bands: Sequence[str], origin: str) -> None:
    """Write (C, H, W) values as a compressed GeoTIFF with band names."""
    with (
        whole_file(path) as partial,
        rasterio.open(
            partial,
            "w",
            driver="GTiff",
            crs=CRS(grid.crs).to_wkt(),
            transform=Affine(*grid.transform),
            height=grid.shape[0],
            width=grid.shape[1],
            count=len(values),
            dtype=values.dtype,
            nodata=None if math.isnan(nodata) and values.dtype.kind != "f" else nodata,
            compress="deflate",
            predictor=3 if values.dtype.kind == "f" else 2,
        ) as dataset,
    ):
        dataset.write(values)
        dataset.descriptions = tuple(bands)
        dataset.update_tags(**{ORIGIN: origin})


def no_data(values: Any, nodata: float) -> bool:
    """Whether no pixel is valid."""
    return bool((np.isnan(values) if math.isnan(nodata) else values == nodata).all())


def _write_left_out(path: Path, reasons: dict[str, str]) -> None:
    if not reasons:
        path.unlink(missing_ok=True)
        return
    with whole_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "reason"])
        rows.writerows(sorted(reasons.items()))
