"""A NetCDF file or Zarr store as pixels: which variables lie on its grid, plane by plane, and where the grid lies."""

import itertools
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rioxarray  # noqa: F401  the accessor .rio
import xarray as xr
from numpy.typing import NDArray
from pyproj import CRS

from sardino.data.rasters.axes import (
    axis_names,
    crs_implied,
    crs_stated,
    in_metres,
    no_coordinates,
    numbered,
    regular_axis,
)
from sardino.data.rasters.doubts import polarisation
from sardino.data.rasters.packing import kind_of, packing_of, unit_stated
from sardino.data.rasters.pixels import Band, Pixels
from sardino.data.rasters.place import PLAIN, check_place, crs_said, north_up
from sardino.errors import SardinoError


def stack_pixels(
    path: Path, data: xr.Dataset, zarr_2: bool, lat: str, lon: str, crs: str, placed: bool = True
) -> Pixels:
    """What an opened dataset, packed as in its file, says of its pixels; arguments and errors are `open_pixels`'.

    `zarr_2`: whether it is a Zarr store of format 2.
    """
    close = data.close
    data, doubts = _without_zarr_fill(path, data) if zarr_2 else (data, [])
    names, unplaced, stated, unnamed = axis_names(path, data, lat, lon), "", "", None
    if names is None:
        unplaced, names = no_coordinates(data), _last_dimensions(path, data)
        data = _as_y_and_x(path, data, names)
        grid, flipped = PLAIN, (False, False)
    else:
        stated = crs_said(path, crs_stated(path, data), crs) or crs_implied(data, names) if placed else ""
        data = _as_y_and_x(path, in_metres(data, names, stated), names)
        x = data["x"].values
        if stated and len(x) > 1 and x.max() > 180.5 and 359.5 < np.ptp(x) * len(x) / (len(x) - 1) < 360.5:
            # Longitudes from 0 to 360, as climate models write them.
            data = data.assign_coords(x=(data["x"] + 180) % 360 - 180).sortby("x")
        (south, step_y), (west, step_x) = (regular_axis(path, data[axis].values) for axis in ("y", "x"))
        edges = step_x, 0.0, west - step_x / 2, 0.0, step_y, south - step_y / 2
        grid, flipped = north_up(path, edges, (data.sizes["y"], data.sizes["x"]))
        if numbered(data) and not (stated and CRS(stated).is_geographic):  # degrees may begin at 0
            if stated:
                told = f"{path} has a CRS, and its axes only number rows and columns"
                raise SardinoError(f"{told}, so that nobody knows its place: give {names[0]} and {names[1]} its metres")
            unplaced, grid, flipped = "only numbers its rows and columns: give it coordinates", PLAIN, (False, False)
        elif not stated:
            unplaced = "states no CRS: name it, for example --crs EPSG:4326"
            unnamed = grid if placed else None
    shape = data.sizes["y"], data.sizes["x"]
    if stated:
        check_place(path, stated, grid, shape)
    bands, complexes = _bands_of_stack(path, data)
    if not bands and complexes:
        raise SardinoError(f"{path} holds complex numbers: detect it first, sigma0 = |z|^2 (and multilook)")
    if not bands:
        raise SardinoError(f"{path} holds no variable on the grid of {names[0]} and {names[1]}")
    doubts += [f"{path}: {name} is complex and left out: detect it first, sigma0 = |z|^2" for name in complexes]
    first = data[bands[0].variable]
    chunks = first.encoding.get("chunks") or first.encoding.get("chunksizes") or ()
    rows = int(chunks[first.dims.index("y")]) if len(chunks) == first.ndim else 0
    about: dict[str, Any] = {"about": data.attrs, "block_rows": rows, "files": (str(path),), "unnamed": unnamed}
    held = data, partial(_read_stack, data), close
    return Pixels(path, tuple(bands), stated, grid, shape, *held, unplaced, tuple(doubts), flipped, **about)


def _as_y_and_x(path: Path, data: xr.Dataset, names: tuple[str, str]) -> xr.Dataset:
    """The dataset with its axes called so; SardinoError where something else is."""
    renamed = {old: new for old, new in zip(names, ("y", "x"), strict=True) if old != new}
    if taken := [new for new in renamed.values() if new in data.variables or new in data.dims]:
        axes = " and ".join(names)
        raise SardinoError(f"{path} has a variable {taken[0]} beside its axes {axes}: rename it")
    return data.rename(renamed)


def _without_zarr_fill(path: Path, data: xr.Dataset) -> tuple[xr.Dataset, list[str]]:
    """Zarr 2 keeps nodata in `fill_value`, where every array has a 0 of which nobody thought: that one is no nodata."""
    zeros = [str(name) for name, variable in data.data_vars.items() if np.all(variable.attrs.get("_FillValue") == 0)]
    for name in zeros:
        data.variables[name].attrs.pop("_FillValue")
    said = f"{path} has the fill_value 0 of Zarr for {', '.join(zeros)}, which is not taken for missing"
    return data, [said] if zeros else []


def _last_dimensions(path: Path, data: xr.Dataset) -> tuple[str, str]:
    on_grid = [v for v in data.data_vars.values() if v.ndim >= 2 and v.dtype.kind in "iufbc"]
    if any({"y", "x"} <= set(variable.dims) for variable in on_grid):
        return "y", "x"
    for variable in on_grid:
        return str(variable.dims[-2]), str(variable.dims[-1])
    raise SardinoError(f"{path} holds no variable on a grid: if a group of it does, `sardino tiles chop` takes --group")


def _bands_of_stack(path: Path, data: xr.Dataset) -> tuple[list[Band], list[str]]:
    """The planes of the variables on the grid, and the names of complex variables, which are none."""
    on_grid = {str(name): v for name, v in data.data_vars.items() if {"y", "x"} <= set(v.dims)}
    numbers = [name for name, variable in on_grid.items() if variable.dtype.kind in "iufb"]
    common, bands = unit_stated(data.attrs), []
    if {"quantity", "composite"} <= set(data.attrs):
        common = common or "linear"  # a composite of this project
    for name in numbers:
        variable = on_grid[name]
        packing = packing_of(variable.attrs, variable.dtype, f"the variable {name} of {path}")
        dtype = packing.stored(np.empty(0, variable.dtype)).dtype.newbyteorder("=")
        unit, flags = unit_stated(variable.attrs) or common, {"flag_values", "flag_meanings"} & set(variable.attrs)
        kind = kind_of(dtype, packing, unit, bool(flags))
        others = [str(dim) for dim in variable.dims if dim not in ("y", "x")]
        for places in itertools.product(*(range(variable.sizes[dim]) for dim in others)):
            at = dict(zip(others, places, strict=True))
            labels = [_label(variable, dim, place) for dim, place in at.items()]
            # One variable's own name says nothing of its bands, but for a polarisation; of several, each band's name
            # ends in its variable's.
            several = sum(not other.startswith("count_") for other in numbers) > 1
            if several or not others or (polarisation(name) and not any(map(polarisation, labels))):
                labels.append(name)
            bands.append(Band("_".join(filter(None, labels)), unit, kind, dtype, packing, name, at))
    return bands, [name for name, variable in on_grid.items() if variable.dtype.kind in "cV"]


def _label(variable: xr.DataArray, dim: str, place: int) -> str:
    """The label of a place along a dimension; "" where its places are only numbered."""
    if dim not in variable.coords or variable.coords[dim].dtype.kind not in "UOST":
        return ""
    value = variable.coords[dim].values[place]
    return value.decode() if isinstance(value, bytes) else str(value)


def _read_stack(data: xr.Dataset, bands: Sequence[Band], rows: slice, columns: slice) -> tuple[NDArray[Any], None]:
    """Planes in a window of the file; nothing lies beside them."""
    parts = []
    for name, group in itertools.groupby(bands, key=lambda band: band.variable):
        own = list(group)
        part = data[name].isel(y=rows, x=columns).transpose(..., "y", "x")
        places = [tuple(band.at.values()) for band in own]
        if len(own) == math.prod(part.shape[:-2]) and places == sorted(places):
            planes = part.values.reshape(-1, *part.shape[-2:])  # at once: what lies together is decoded once
        else:
            planes = np.stack([part.isel(band.at).values for band in own])
        parts.append(own[0].packing.stored(planes.astype(planes.dtype.newbyteorder("="), copy=False)))
    return parts[0] if len(parts) == 1 else np.concatenate(parts), None
