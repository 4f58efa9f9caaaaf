"""How stored numbers become what is meant: which are missing, factor and offset, unit, codes or a quantity."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sardino.data.rasters.warp import Kind
from sardino.errors import SardinoError

ROUNDED = 1e30  # nodata beyond it, such as the lowest float32, is a text with too few digits in many files
_UNITS = {"decibel": "db", "decibels": "db", "linear power": "linear", "power": "linear"}


@dataclass(frozen=True)
class Packing:
    """How one band is stored: a value is stored * scale + offset; `missing`, `low` and `high` are stored numbers."""

    scale: float = 1.0
    offset: float = 0.0
    missing: tuple[float, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    turned: bool = False  # signed integers that stand for unsigned ones, as NetCDF 3 has no others; or the reverse

    @property
    def scaled(self) -> bool:
        return (self.scale, self.offset) != (1.0, 0.0)

    def stored(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Numbers as the file means them to be stored: of the right sign, truth values as 0 and 1."""
        if self.turned:
            kind = "i" if numbers.dtype.kind == "u" else "u"
            return numbers.view(f"{numbers.dtype.byteorder}{kind}{numbers.dtype.itemsize}")
        return numbers.astype(np.uint8) if numbers.dtype.kind == "b" else numbers

    def valid(self, stored: NDArray[Any]) -> NDArray[np.bool_]:
        """Where stored numbers are none of the missing ones, and finite."""
        valid: NDArray[np.bool_] = np.isfinite(stored)
        with np.errstate(over="ignore", invalid="ignore"):  # a nodata beyond the range of the type is infinite there
            for value in filter(math.isfinite, self.missing):
                if stored.dtype.kind == "f" and abs(value) > ROUNDED:
                    valid &= ~(np.abs(stored / stored.dtype.type(value) - 1) < 1e-6)
                elif stored.dtype.kind == "f":
                    valid &= stored != stored.dtype.type(value)
                elif value.is_integer():
                    valid &= stored != int(value)
        if self.low > -math.inf:
            valid &= stored >= self.low
        if self.high < math.inf:
            valid &= stored <= self.high
        return valid

    def values(self, stored: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[Any]:
        """What stored numbers mean, float32 (float64 of wider types), NaN where they are missing or overflow.

        The array given may be the one returned: floats are not copied where they need not be.
        """
        exact = stored.dtype.itemsize < 4 or stored.dtype == np.float32
        values = stored.astype(np.float32 if exact else np.float64, copy=not stored.flags.writeable)
        if self.scaled:
            np.multiply(values, self.scale, out=values)
            np.add(values, self.offset, out=values)
        planes = values.reshape(-1, *values.shape[-2:])
        for plane, known in zip(planes, valid.reshape(planes.shape), strict=True):
            np.copyto(plane, np.nan, where=~known)  # a mask of all planes would be fresh memory, which is slow
        return values

    def pack(self, values: NDArray[Any]) -> NDArray[np.int8]:
        """The nearest stored numbers, int8, of values; NaN becomes the first missing number."""
        steps = np.rint((values.astype(np.float64) - self.offset) / self.scale)
        return np.where(np.isnan(values), self.missing[0], np.nan_to_num(steps)).astype(np.int8)

    @classmethod
    def of_range(cls, low: float, high: float) -> "Packing":
        """Into int8, with the finest steps that hold this range; -128 is missing."""
        return cls((high - low) / 254 or 1.0, (high + low) / 2, (-128,))


def packing_of(attributes: Mapping[Any, Any], dtype: np.dtype[Any], what: str) -> Packing:
    """The packing that a variable's attributes state by CF: factor, every value that is missing, and valid range.

    SardinoError, which names `what`, where one of them is no number or makes no values.
    """
    turned = (dtype.kind, str(attributes.get("_Unsigned", "")).lower()) in (("i", "true"), ("u", "false"))
    turn = 2 ** (8 * dtype.itemsize)
    least = -turn // 2 if dtype.kind == "u" else 0  # of what turned integers stand for

    def numbers(key: str, stored: bool = True) -> list[float]:
        try:
            found = [float(value) for value in np.ravel(attributes.get(key, []))]
        except (TypeError, ValueError, OverflowError) as error:
            raise SardinoError(f"{what} has the {key} {str(attributes[key])[:40]!r}, no number: correct it") from error
        if stored and turned and np.asarray(attributes.get(key, [])).dtype.kind != "f":
            return [(value - least) % turn + least for value in found]
        return found

    scale, offset = numbers("scale_factor", False) or [1.0], numbers("add_offset", False) or [0.0]
    if len(scale) > 1 or len(offset) > 1 or not (math.isfinite(scale[0]) and scale[0] and math.isfinite(offset[0])):
        raise SardinoError(f"{what} has the scale_factor {scale} and the add_offset {offset}: correct them")
    missing = [value for key in ("_FillValue", "missing_value", "nodata") for value in numbers(key)]
    limits = numbers("valid_range") or (numbers("valid_min") or [-math.inf]) + (numbers("valid_max") or [math.inf])
    if len(limits) != 2:
        raise SardinoError(f"{what} has a valid range of {len(limits)} numbers: correct it")
    stated = [np.asarray(attributes[key]) for key in ("valid_range", "valid_min", "valid_max") if key in attributes]
    if dtype.kind in "iu" and any(limit.dtype.kind == "f" for limit in stated):
        # Stated as values and not, as CF asks, as stored.
        limits = sorted((limit - offset[0]) / scale[0] for limit in limits)
    return Packing(scale[0], offset[0], tuple(dict.fromkeys(missing)), limits[0], limits[1], turned)


def unit_said(text: str) -> str:
    """The unit that a text in a file means, the text itself where it means none of them, "" where it is empty."""
    word = text.strip().lower()
    return _UNITS.get(word, word)


def unit_stated(attributes: Mapping[Any, Any]) -> str:
    """The unit that a variable's attributes or a file's tags state, "" where they state none."""
    found = {unit_said(str(attributes.get(key, ""))) for key in ("unit", "units", "UNITS")}
    return " and ".join(sorted(found - {""}))


def kind_of(dtype: np.dtype[Any], packing: Packing, unit: str, named: bool) -> Kind:
    """What pixels mean: classes by their names or colours or integer type, decibels and amplitudes by their unit."""
    if named:
        return "classes"
    if unit == "db" or unit == "amplitude":
        return "db" if unit == "db" else "amplitude"
    return "classes" if dtype.kind in "iub" and not packing.scaled else "values"


def fits(value: float, dtype: np.dtype[Any]) -> bool:
    """Whether a type can hold a nodata value; NaN is missing in any case."""
    if dtype.kind not in "iu" or value != value:
        return dtype.kind == "f" or value != value
    return float(value).is_integer() and np.iinfo(dtype).min <= value <= np.iinfo(dtype).max
