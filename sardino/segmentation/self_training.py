"""Self-training: what a network's own average says of tiles without labels is told to it, while it sees less of them.

Boxes are cut from one tile into the next, and of half of the tiles a season is hidden; where the average is sure, its
class is the label (Tarvainen and Valpola 2017, arXiv 1703.01780; Sohn et al. 2020, arXiv 2001.07685; French et al.
2020, arXiv 1906.01916).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sardino.dino.batches import UNLABELLED, TileSource, chance
from sardino.dino.radar_views import Layout
from sardino.dino.turns import WAYS, Turned
from sardino.errors import SardinoError
from sardino.segmentation.settings import Settings

BEGINS, WHOLE = 0.1, 0.3  # shares of the steps: from where it counts, and from where fully
BOX = 0.25, 0.75  # of a tile's side: sides of a box that is cut out
HIDES = 0.5  # of the tiles: those of which a season is hidden


@dataclass(frozen=True)
class SelfTraining:
    """What is added to the loss of each step.

    Args:
        tiles: images, whatever their labels.
        channels: names of their channels, which tell the seasons; where they tell none, or one, none is hidden.
        settings: how many tiles a step has, and how sure the average must be.
        seed: decides tiles, turns, boxes and seasons, of each step for itself.
    """

    tiles: TileSource
    channels: Sequence[str]
    settings: Settings
    seed: int

    def __post_init__(self) -> None:
        if len(self.tiles) < self.settings.unlabelled:
            fault = f"{len(self.tiles)} tiles give no {self.settings.unlabelled} beside each batch"
            raise SardinoError(f"{fault}: lower `unlabelled`, or add tiles")

    def weight(self, step: int, steps: int) -> float:
        """Of its loss: none while the average knows nothing."""
        return min(max((step / steps - BEGINS) / (WHOLE - BEGINS), 0.0), 1.0)

    def loss(
        self, said: Callable[[Tensor], Tensor], told: Callable[[Tensor], Tensor], step: int, device: torch.device
    ) -> Tensor:
        """Cross-entropy over the pixels of which the average is sure, divided by all of them.

        Args:
            said, told: images (B, C, H, W) to logits (B, classes, H, W): of the average, and of what learns.
        """
        draws = chance(self.seed, UNLABELLED, step)
        numbers = torch.randperm(len(self.tiles), generator=draws)[: self.settings.unlabelled]
        ways = torch.randint(WAYS, numbers.shape, generator=draws)
        images = Turned(self.tiles).read((WAYS * numbers + ways).tolist())[0].to(device)
        with torch.no_grad():
            sure, label = said(images).float().softmax(1).max(1)
        label = torch.where(sure >= self.settings.confidence, label, -1)
        cut = boxes(len(images), images.shape[-1], draws).to(device)
        shown = torch.where(cut[:, None], images.roll(1, 0), images)
        label = torch.where(cut, label.roll(1, 0), label)
        hidden = self.hidden(len(images), draws).to(device)
        logits = told(shown.masked_fill(hidden[..., None, None], 0.0)).float()
        return F.cross_entropy(logits, label, ignore_index=-1, reduction="sum") / label.numel()

    def hidden(self, images: int, draws: torch.Generator) -> Tensor:
        """(images, C) bool: a season of some."""
        try:
            season = Layout(self.channels).season
        except SardinoError:  # of one date: VV and VH
            season = torch.zeros(len(self.channels), dtype=torch.int64)
        shown = torch.rand(images, generator=draws) >= HIDES
        which = torch.randint(int(season.max()) + 1, (images, 1), generator=draws)
        return (season == which) & ~shown[:, None] & bool(season.max())


def boxes(images: int, side: int, draws: torch.Generator) -> Tensor:
    """(images, side, side) bool: one box of each."""
    least, most = (round(share * side) for share in BOX)
    sides = torch.randint(least, most + 1, (images, 2, 1), generator=draws)
    starts = (torch.rand(images, 2, 1, generator=draws) * (side - sides + 1)).long()
    place = torch.arange(side)
    rows, columns = ((place >= starts) & (place < starts + sides)).unbind(1)  # (images, side) each
    return rows[:, :, None] & columns[:, None, :]
