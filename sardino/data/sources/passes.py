"""Which passes of the radar become seasonal composites: options of every source of real scenes, and of its command."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import NonNegativeInt

from sardino.options import Share

Orbit = Literal["ascending", "descending"]
Method = Literal["mean", "median"]


@dataclass(frozen=True)
class Passes:
    """A year of seasons, and how they are made of single passes."""

    year: Annotated[int, "Year of the four seasons; winter starts the December before."]
    # The two look from different sides.
    orbit: Annotated[Orbit, "Orbit direction; a store never mixes them."] = "ascending"
    composite: Annotated[Method, "Mean of linear power, or median, as geetiles takes (0.4 dB lower, noisier)."] = "mean"
    # 100 m at 10 m: border noise reaches 100 to 500 m into older products.
    erode_px: Annotated[NonNegativeInt, "Pixels taken off at scene borders."] = 10
    label_year: Annotated[int | None, "WorldCover of 2020 or 2021; by default of the scenes' year."] = None
    min_valid: Annotated[Share, "Share of a tile that each season must cover."] = 0.5
