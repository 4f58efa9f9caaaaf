"""A scene in an xarray stack: NetCDF or Zarr, bands along a dimension, or seasons and polarisations."""

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sardino.errors import SardinoError
from sardino.mapping.bands import unit_said
from sardino.mapping.scene import Read, Scene, file_state
from sardino.scenes.chopping.gridded import Gridded, open_gridded
from sardino.scenes.chopping.pixel_meaning import unpacked

_ROWS = 256


@dataclass(frozen=True)
class Plane:
    """One band of a stack: a variable at one place of each of its other dimensions."""

    variable: str
    at: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class StackScene(Scene):
    """See `Scene`; also where each band lies."""

    planes: tuple[Plane, ...] = ()

    @contextmanager
    def reading(self, bands: Sequence[int], threads: int) -> Iterator[Read]:
        """See `Scene`; xarray reads in one thread."""
        source = open_gridded(self.path)

        def read(top: int, bottom: int, left: int, right: int) -> NDArray[np.float32]:
            return np.stack([_values(source, self.planes[n], (slice(top, bottom), slice(left, right))) for n in bands])

        try:
            yield read
        finally:
            source.data.close()

    def state(self) -> list[list[Any]]:
        """See `Scene`; a Zarr folder counts by its number of files, their bytes and the newest of them."""
        if self.path.is_file():
            return [file_state(self.path)]
        found = [file.stat() for file in self.path.rglob("*") if file.is_file()]
        newest = max((about.st_mtime_ns for about in found), default=0)
        return [[self.path.name, len(found), sum(about.st_size for about in found), newest]]


def open_stack(path: Path) -> StackScene:
    """Open a NetCDF file or Zarr folder with variables over (y, x), (band, y, x) or (season, pol, y, x).

    A band's name is made of its labels: "winter_vv" is the place winter of variable vv (a composite of this project),
    winter and vv of a variable of two such dimensions, or the label of a band. A composite of this project (its
    attributes name "quantity" and "composite") is in linear power.

    Raises:
        SardinoError: without a CRS, not on a regular grid, or damaged.
    """
    source = open_gridded(path)
    try:
        planes, names = _planes(source)
        variables = {plane.variable for plane in planes}
        about = source.data.attrs
        said = {unit_said(str(source.data[name].attrs.get("units", source.data[name].attrs.get("unit", ""))))
                for name in variables} - {""}  # fmt: skip
        stated = unit_said(str(about.get("units", about.get("unit", ""))))
        composite = "linear" if {"quantity", "composite"} <= set(about) else ""
        first = source.data[planes[0].variable]
        chunks = first.encoding.get("chunks") or first.encoding.get("chunksizes") or (_ROWS, _ROWS)
        rows = int(chunks[first.dims.index("y")]) if len(chunks) == first.ndim else _ROWS
        return StackScene(
            path=path,
            crs=source.crs,
            transform=source.transform,
            shape=source.shape,
            names=names,
            unit=" and ".join(sorted(said)) or stated or composite,
            product=str(about.get("product", about.get("quantity", ""))),
            chunk_rows=min(rows, _ROWS) if rows >= 64 else math.ceil(64 / rows) * rows,
            planes=planes,
        )
    finally:
        source.data.close()


def _planes(source: Gridded) -> tuple[tuple[Plane, ...], tuple[str, ...]]:
    """All bands, and their names."""
    found: list[Plane] = []
    labels: list[str] = []
    measured = [name for name in source.names if not name.startswith("count_")]  # passes of each pixel, of a composite
    if not measured:
        raise SardinoError(f"{source.path} holds no variable of backscatter")
    # One variable's own name says nothing of its bands; of several, each band's name ends in its variable's.
    for name in measured:
        variable = source.data[name]
        others = [str(dim) for dim in variable.dims if dim not in ("y", "x")]
        for at in itertools.product(*(range(variable.sizes[dim]) for dim in others)):
            parts = [_label(variable, dim, number) for dim, number in zip(others, at, strict=True)]
            if len(measured) > 1 or not others:
                parts.append(name)
            found.append(Plane(name, tuple(zip(others, at, strict=True))))
            labels.append("_".join(filter(None, parts)))
    return tuple(found), tuple(labels)


def _label(variable: xr.DataArray, dim: str, number: int) -> str:
    """The label of a place along a dimension; "" where its places are only numbered."""
    if dim not in variable.coords or variable.coords[dim].dtype.kind not in "UOST":
        return ""
    value = variable.coords[dim].values[number]
    return value.decode() if isinstance(value, bytes) else str(value)


def _values(source: Gridded, plane: Plane, window: tuple[slice, slice]) -> NDArray[np.float32]:
    """One band in a window as float32 with NaN."""
    one = Gridded(source.path, source.data.isel(dict(plane.at)), *_grid(source))
    values, _ = unpacked(one.read(plane.variable, window), "values")
    return values.astype(np.float32, copy=False)


def _grid(source: Gridded) -> tuple[Any, ...]:
    return source.crs, source.transform, source.shape, source.flipped
