"""A source of tiles without any server: numbers that follow from the tile's id, and faults on request."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sardino.data.sources.source import LeftOut, SourceChip, Transient
from sardino.data.tiles.landcover import WORLDCOVER, Legend
from sardino.data.tiles.radiometry import CHANNELS
from sardino.data.tiles.tile import Chip, Tile, tile_grid
from sardino.errors import SardinoError


@dataclass(frozen=True)
class MadeSource:
    """Args: version decides the pixels; faults is kind by tile id; diary counts the calls, one line each."""

    version: int = 0
    pause_s: float = 0.0
    faults: tuple[tuple[str, str], ...] = ()
    diary: str = ""
    channels: tuple[str, ...] = CHANNELS
    legend: Legend = WORLDCOVER
    product: str = "made"
    synthetic: bool = True

    def chip(self, tile: Tile) -> Chip:
        if self.diary:
            with open(self.diary, "a") as file:
                file.write(tile.id + "\n")
        time.sleep(self.pause_s)
        kind = dict(self.faults).get(tile.id, "")
        if kind == "left":
            raise LeftOut("no valid pass in summer")
        if kind == "always" or (kind == "once" and Path(self.diary).read_text().count(tile.id) == 1):
            raise Transient("the server is busy")
        if kind == "odd":
            raise ValueError("a scene nobody foresaw")
        if kind == "settings":
            raise SardinoError("the settings are wrong")
        draw = np.random.default_rng([int(tile.id, 16), self.version])
        values = draw.normal(-14, 3, (len(CHANNELS), *tile.shape)).astype(np.float32)
        values[:, :2, :2] = np.nan
        label = draw.integers(0, len(WORLDCOVER), tile.shape).astype(np.uint8)
        layers = {"biomass_t_ha": draw.random(tile.shape, np.float32)}
        return SourceChip(values, label, layers, np.full((4, *tile.shape), 7, np.int16), ("a note",))

    def metadata(self) -> dict[str, Any]:
        return {"version": self.version}


def made_tiles(count: int, size_px: int = 16) -> list[Tile]:
    return list(tile_grid("here", "EPSG:32631", (5e5, 5e6), size_px, 10.0, count, 1))
