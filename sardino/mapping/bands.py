"""Which bands of a scene are which channels of a model, and how they become decibels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sardino.errors import SardinoError
from sardino.tiles.radiometry import to_db

Unit = Literal["db", "linear", "amplitude"]
UNITS = ("db", "linear", "amplitude")
_SAID = {
    "db": "db",
    "decibel": "db",
    "decibels": "db",
    "linear": "linear",
    "linear power": "linear",
    "power": "linear",
    "amplitude": "amplitude",
}


@dataclass(frozen=True)
class Channels:
    """How the channels of a model are made of a scene's bands.

    Args:
        bands: numbers of the bands to read, from 0.
        made_of: per channel the place in `bands` of its band; of two bands, whose decibels are subtracted.
        unit: of the bands.
    """

    bands: tuple[int, ...]
    made_of: tuple[tuple[int, ...], ...]
    unit: Unit

    def of(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        """(bands, h, w) with NaN as read to (channels, h, w) float32 dB with NaN; power of 0 or less is missing."""
        if self.unit == "db":
            db = planes
        else:
            db = to_db(planes if self.unit == "linear" else np.where(planes > 0, planes, np.nan) ** 2)
        if self.made_of == tuple((number,) for number in range(len(db))):
            return db
        return np.stack([db[a] - db[b[0]] if b else db[a] for a, *b in self.made_of])


def unit_said(text: str) -> str:
    """The unit that a text in a file means, the text itself where it means none of them, "" where it is empty."""
    word = text.strip().lower()
    return _SAID.get(word, word)


def match(path: Path, names: Sequence[str], channels: Sequence[str], unit: str) -> Channels:
    """Find a model's channels among the bands of a scene, by name.

    A channel such as winter_vv-vh that the scene lacks is the difference of winter_vv and winter_vh in decibels.

    Args:
        path: of the scene, named in what is refused.
        names: of its bands, "" for a band without one.
        channels: of the model, in order.
        unit: of the bands: "db", "linear" or "amplitude"; anything else is refused.

    Raises:
        SardinoError: bands without names, of the same name or of other names; a unit that is not known.
    """
    wanted = ",".join(channels)
    if not any(names):
        raise SardinoError(
            f"{path} does not name its {len(names)} bands and the model takes {len(channels)} channels: "
            f"say what they are, in the file's order, for example --channels {wanted}"
        )
    found = {name: number for number, name in enumerate(names) if name}
    if twice := sorted({name for name in found if list(names).count(name) > 1} & set(channels)):
        raise SardinoError(f"{path} has more than one band {', '.join(twice)}: name its bands with --channels")
    parts = [_parts(channel, found) for channel in channels]
    if missing := [channel for channel, part in zip(channels, parts, strict=True) if not part]:
        raise SardinoError(
            f"{path} has the bands {', '.join(name or '(no name)' for name in names)}, and the model needs "
            f"{', '.join(missing)} too: add them (gdal_merge.py -separate), use a model of these channels, or, where "
            f"only the names differ, give names to the bands in the file's order with --channels"
        )
    if unit not in UNITS:
        said = f"is in '{unit}'" if unit else "does not say its unit"
        raise SardinoError(
            f"{path} {said}: say --unit db, or --unit linear (power) or amplitude, which are converted to decibels"
        )
    bands = list(dict.fromkeys(found[name] for part in parts for name in part))
    place = {number: at for at, number in enumerate(bands)}
    return Channels(tuple(bands), tuple(tuple(place[found[name]] for name in part) for part in parts), unit)  # type: ignore[arg-type]  # checked above


def _parts(channel: str, found: dict[str, int]) -> tuple[str, ...]:
    """The band or the two bands that a channel is made of; none where they are not there."""
    if channel in found:
        return (channel,)
    season, _, pair = channel.rpartition("_")
    parts = tuple(f"{season}_{name}" if season else name for name in pair.split("-"))
    return parts if len(parts) == 2 and set(parts) <= set(found) else ()
