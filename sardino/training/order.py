"""Which tiles a step sees, and all other chance: functions of the seed and the step, so that nothing need be saved."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from sardino.errors import SardinoError

TILES, CROPS, NOISE, LAYERS = range(4)
"""What chance is drawn for; each has its own stream."""


def seed_of(seed: int, stream: int, *place: int) -> int:
    """A 63-bit seed for one place (an epoch, a step, a rank) of one stream; different places are independent."""
    return int(np.random.SeedSequence([seed, stream, *place]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def chance(seed: int, stream: int, *place: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for one place of one stream."""
    return torch.Generator(device).manual_seed(seed_of(seed, stream, *place))


@dataclass
class Order:
    """A new order of all tiles each epoch; a last short batch is left out.

    Args:
        count: number of tiles.
        batch: tiles of a step, over all ranks.
        seed: decides every epoch's order.
    """

    count: int
    batch: int
    seed: int
    _epoch: tuple[int, list[int]] = field(default=(-1, []), repr=False)

    def __post_init__(self) -> None:
        if not 0 < self.batch <= self.count:
            raise SardinoError(
                f"a batch of {self.batch} cannot be drawn from {self.count} tiles: lower the batch, or add tiles"
            )

    @property
    def steps_per_epoch(self) -> int:
        return self.count // self.batch

    def numbers(self, step: int) -> list[int]:
        """Tile numbers of a step's whole batch."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if self._epoch[0] != epoch:
            order = torch.randperm(self.count, generator=chance(self.seed, TILES, epoch)).tolist()
            self._epoch = (epoch, order)
        return self._epoch[1][place * self.batch : (place + 1) * self.batch]

    def batches(self, start: int, stop: int, rank: int = 0, world: int = 1) -> Iterator[list[int]]:
        """One rank's share of each batch, from step `start` to before `stop`."""
        share = self.batch // world
        for step in range(start, stop):
            yield self.numbers(step)[rank * share : (rank + 1) * share]
