"""What the pixels of a foreign file mean: classes, decibels or another quantity, and which of them are missing."""

import math
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sardino.tiles.contents.resampling import Kind


def kind_of(variable: xr.DataArray) -> Kind:
    """What a variable's pixels mean: classes by their flags or integer type, decibels by their unit."""
    attributes = variable.attrs
    if "flag_values" in attributes or "flag_meanings" in attributes:
        return "classes"
    texts = [str(attributes.get(key, "")) for key in ("units", "unit")]
    if any(text.strip().lower() in ("db", "decibel", "decibels") for text in texts):
        return "db"
    scaled = _scale(variable) != (1, 0)
    return "classes" if variable.dtype.kind in "iub" and not scaled else "values"


def unpacked(variable: xr.DataArray, kind: Kind, nodata: float | None = None) -> tuple[NDArray[Any], float]:
    """A variable's values as they are meant, and their nodata: NaN and scaled, or codes as they lie.

    Codes without a declared nodata have 0, which the caller must not take for a declared one.
    """
    stated = nodata if nodata is not None else declared_nodata(variable)
    values = variable.values
    if str(variable.attrs.get("_Unsigned", "")).lower() == "true" and values.dtype.kind == "i":
        # NetCDF 3 has no unsigned integers; its files say so in this attribute.
        values = values.view(f"u{values.dtype.itemsize}")
        stated = None if stated is None else stated % 2 ** (8 * values.dtype.itemsize)
    if kind == "classes":
        return values.astype(np.uint8) if values.dtype.kind == "b" else values, 0 if stated is None else stated
    missing = np.zeros(values.shape, bool) if stated is None else values == stated
    wide = np.dtype(np.float64 if values.dtype.itemsize > 4 else np.float32)
    scale, offset = _scale(variable)
    out: NDArray[Any] = values.astype(wide)
    out = out * wide.type(scale) + wide.type(offset)
    out[missing | ~np.isfinite(out)] = np.nan
    return out, math.nan


def _scale(variable: xr.DataArray) -> tuple[float, float]:
    return float(variable.attrs.get("scale_factor", 1)), float(variable.attrs.get("add_offset", 0))


def declared_nodata(variable: xr.DataArray) -> float | None:
    """The value that a file declares as missing."""
    for where in (variable.attrs, variable.encoding):
        for key in ("_FillValue", "missing_value", "nodata"):
            if where.get(key) is not None:
                return float(np.ravel(where[key])[0])
    return None
