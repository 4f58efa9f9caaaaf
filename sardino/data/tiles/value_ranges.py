"""Share of valid pixels and range of values by channel: what every command tells of the pixels that it took."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Row = Sequence[float]  # number of pixels, of valid ones, lowest and highest value


class ValueRanges:
    """Added up piece by piece; `rows`, by channel, are JSON values."""

    def __init__(self, rows: Mapping[str, Row] | None = None) -> None:
        self.rows: dict[str, Row] = dict(rows or {})

    def add(self, channel: str, values: NDArray[np.number], missing: float = math.nan) -> None:
        """Values of any shape; NaN is missing, and so is the value given."""
        valid = values[(values == values) & (values != missing)]
        pixels, before, *ends = self.rows.get(channel, (0, 0))
        if valid.size:
            ends = [min([float(valid.min()), *ends[:1]]), max([float(valid.max()), *ends[1:]])]
        self.rows[channel] = [pixels + values.size, before + valid.size, *ends]

    def lines(self, unit: str = "") -> list[str]:
        """A line a channel."""
        return [f"{channel}: {_said(unit, *row)}" for channel, row in self.rows.items()]


def _said(unit: str, pixels: float, valid: float, *ends: float) -> str:
    if not ends:
        return "no valid pixel"
    # Rounded down: where a pixel is missing it is not 100 %.
    return f"{math.floor(1000 * valid / pixels) / 10:g} % valid, {ends[0]:.4g} to {ends[1]:.4g} {unit}".rstrip()
