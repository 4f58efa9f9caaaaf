"""What radar itself varies between two looks at one place, for views of DINO: optional, and all of it off by default.

Speckle is the interference of a cell's scatterers: multiplicative noise whose power follows a Gamma distribution of
mean one and shape "looks" (Goodman 1976; Ulaby, Moore and Fung 1982; Oliver and Quegan 2004, chapter 4). Gain and
ramp are errors of calibration and of the correction for incidence. Orbits and seasons are what an archive may lack.
"""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sardino.dino.recipe import Physics
from sardino.errors import SardinoError

_CHANNEL = re.compile(r"(?P<season>[a-z0-9]+)(?:_(?P<orbit>asc|desc)(?:ending)?)?_(?P<quantity>vv-vh|vv|vh)")
_POLARISATIONS = ("vv", "vh")


class Layout:
    """What each channel of a store is, read once from its name <season>[_asc|_desc]_<vv, vh or vv-vh>.

    A channel that fits no such name, comes twice, or lacks its VV and VH is refused.
    """

    def __init__(self, channels: Sequence[str]) -> None:
        self._place: dict[tuple[str, str, str], int] = {}
        for number, name in enumerate(channels):
            if (match := _CHANNEL.fullmatch(name)) is None:
                raise SardinoError(
                    f"channel {name} is not <season>[_asc|_desc]_<vv, vh or vv-vh>: use no SAR physics, hide no seasons"
                )
            self._place[match["season"], match["orbit"] or "", match["quantity"]] = number
        if len(self._place) != len(channels):
            raise SardinoError(
                f"the channels {', '.join(channels)} hold one twice: use no SAR physics, hide no seasons"
            )
        self.seasons = tuple(dict.fromkeys(season for season, _, _ in self._place))  # in channel order
        self.season = torch.tensor([self.seasons.index(season) for season, _, _ in self._place])  # (C,)
        self.descending = torch.tensor([orbit == "desc" for _, orbit, _ in self._place])  # (C,) bool
        self.power: list[tuple[int, int]] = []  # channels that are powers, and of which polarisation: 0 VV, 1 VH
        self.differences: list[tuple[int, int, int]] = []  # VV-VH, VV and VH
        for (season, orbit, quantity), number in self._place.items():
            if quantity != "vv-vh":
                self.power.append((number, _POLARISATIONS.index(quantity)))
                continue
            vv, vh = (self._place.get((season, orbit, polarisation), -1) for polarisation in _POLARISATIONS)
            if min(vv, vh) < 0:
                raise SardinoError(
                    f"channel {channels[number]} has no VV and VH beside it: use no SAR physics, hide no seasons"
                )
            self.differences.append((number, vv, vh))

    def other_orbit(self) -> Tensor:
        """(C,) for each channel its twin of the other orbit; refused where there is none."""
        turned = {"asc": "desc", "desc": "asc"}
        twins = [(season, turned.get(orbit, "?"), quantity) for season, orbit, quantity in self._place]
        return self._numbers(twins, "orbits change places", "ascending and one descending twin: set orbit_swap to 0")

    def of_seasons(self) -> Tensor:
        """(seasons, C) for each season and channel its twin in that season; refused where seasons differ."""
        twins = [[(shown, orbit, quantity) for _, orbit, quantity in self._place] for shown in self.seasons]
        told = "seasons serve as views", "twin in each season: switch seasons_as_views off"
        return torch.stack([self._numbers(each, *told) for each in twins])

    def _numbers(self, twins: list[tuple[str, str, str]], aim: str, need: str) -> Tensor:
        if absent := [key for key, twin in zip(self._place, twins, strict=True) if twin not in self._place]:
            name = "_".join(part for part in absent[0] if part)
            raise SardinoError(f"{aim} only where every channel has one {need} (channel {name} has none)")
        return torch.tensor([self._place[twin] for twin in twins])


class Drawn(NamedTuple):
    """What was drawn for each view (first axes: views, tiles), all on the CPU; a fault that is off is drawn as none."""

    gain: Tensor  # (V, B, 2) dB, of VV and of VH
    ramp: Tensor  # (V, B) dB from west to east
    season: Tensor  # (V, B) number of the season shown in all places
    swap: Tensor  # (V, B) bool, orbits change places
    drop: Tensor  # (V, B) number of the season that is missing, -1 for none


class SarViews:
    """Radar's own variation on views of a store's channels; refused where these lack what is asked for."""

    def __init__(self, physics: Physics, channels: Sequence[str]) -> None:
        self.physics = physics
        self.layout = Layout(channels)
        seasons = len(self.layout.seasons)
        if seasons < 2 and (physics.drop_season or physics.seasons_as_views):
            remedy = "set drop_season to 0" if physics.drop_season else "switch seasons_as_views off"
            raise SardinoError(f"the channels hold the season {self.layout.seasons[0]} alone: {remedy}")
        self._shown = self.layout.of_seasons() if physics.seasons_as_views else None
        self._turned = self.layout.other_orbit() if physics.orbit_swap else None

    def draw(self, views: int, batch: int, generator: torch.Generator) -> Drawn:
        """What is drawn once per view and tile on the CPU; speckle, which is drawn per pixel, is not."""
        physics, shape, seasons = self.physics, (views, batch), len(self.layout.seasons)
        gain = torch.randn(*shape, 2, generator=generator) * physics.gain_db
        ramp = (2 * torch.rand(shape, generator=generator) - 1) * physics.ramp_db
        season = torch.randint(seasons, shape, generator=generator)
        swap = torch.rand(shape, generator=generator) < physics.orbit_swap
        dropped = torch.rand(shape, generator=generator) < physics.drop_season
        drop = torch.where(dropped, torch.randint(seasons, shape, generator=generator), -1)
        return Drawn(gain, ramp, season, swap, drop)

    def __call__(self, db: Tensor, drawn: Drawn, noise: torch.Generator | None = None) -> Tensor:
        """One view of each tile as radar might have seen it, in place and returned; VV-VH follows VV and VH.

        Args:
            db: (B, C, H, W) dB, NaN = missing.
            drawn: of this view, its tensors (B, ...).
            noise: draws speckle, on the device of `db` or on the CPU; refused where speckle has none.
        """
        physics, device = self.physics, db.device
        if physics.looks is not None:
            if noise is None:
                raise SardinoError("speckle is drawn per pixel: give the views a generator of noise")
            for channel, _ in self.layout.power:
                db[:, channel] += speckle_db(db[:, channel].shape, physics.looks, noise).to(device)
        if physics.gain_db:
            gain = drawn.gain.to(device)
            for channel, polarisation in self.layout.power:
                db[:, channel] += gain[:, polarisation, None, None]
        if physics.ramp_db:
            width = db.shape[-1]
            east = (torch.arange(width, device=device) + 0.5) / width - 0.5
            ramp = drawn.ramp.to(device)[:, None, None] * east
            for channel, _ in self.layout.power:
                db[:, channel] += -ramp if self.layout.descending[channel] else ramp
        if physics.looks is not None or physics.gain_db or physics.ramp_db:
            for difference, vv, vh in self.layout.differences:
                torch.sub(db[:, vv], db[:, vh], out=db[:, difference])
        if self._shown is not None or self._turned is not None:
            source = torch.arange(db.shape[1]).expand(len(db), -1)
            if self._turned is not None:
                source = torch.where(drawn.swap[:, None], self._turned, source)
            if self._shown is not None:
                source = source.gather(1, self._shown[drawn.season])
            rows = torch.arange(len(db))[:, None]
            db.copy_(db[rows.to(device), source.to(device)])
        if physics.drop_season:
            missing = self.layout.season == drawn.drop[:, None]
            db.masked_fill_(missing[:, :, None, None].to(device), math.nan)
        return db


def speckle_db(shape: Sequence[int], looks: float, generator: torch.Generator) -> Tensor:
    """Speckle to add to dB: 10 log10 of Gamma(looks, 1 / looks), whose mean power is 1; on the generator's device."""
    looks_of = torch.full(tuple(shape), looks, dtype=torch.float32, device=generator.device)
    # A draw of a fraction of a look may round to zero power, whose logarithm would not be finite.
    power = torch._standard_gamma(looks_of, generator).clamp_min_(torch.finfo(torch.float32).tiny) / looks
    return power.log10_().mul_(10)
