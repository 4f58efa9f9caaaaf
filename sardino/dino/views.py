"""DINO's views of tiles in decibels: cut, varied as radar varies where asked, normalised, missing pixels set to 0."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sardino.data.tiles.normalisation import Normalisation
from sardino.dino.crops import crop_views, random_boxes, random_flips, standardise
from sardino.dino.radar_views import Drawn, SarViews
from sardino.dino.recipe import Physics, Recipe
from sardino.dino.vit import Architecture
from sardino.errors import SardinoError

NO_PHYSICS = Physics()
VALID_WEIGHT = 0.5  # a view's pixel is missing where less than this share of its bilinear weight lies on valid pixels


@dataclass(frozen=True)
class Draws:
    """All that chance decides about the views of a batch, speckle excepted, on the CPU; global views come first.

    Every rank draws it for the whole batch and takes its own part: the views do not depend on the number of ranks.
    """

    boxes: Tensor  # (V, B, 4) top, left, height, width in pixels
    flips: Tensor  # (V, B) bool
    physics: Drawn | None = None  # what was drawn for the SAR physics, if it is on

    def __len__(self) -> int:
        """Number of tiles."""
        return self.flips.shape[1]

    def part(self, start: int, stop: int) -> "Draws":
        """The draws of tiles `start` to `stop`, of a rank or a micro-batch."""
        physics = None if self.physics is None else Drawn(*(values[:, start:stop] for values in self.physics))
        return Draws(self.boxes[:, start:stop], self.flips[:, start:stop], physics)


class Views:
    """From tiles in dB to normalised global and local views, on the tiles' device (paper, section 2).

    Global views are as large as the tile, local ones half as large in whole patches. The views' memory is kept from
    call to call: a view lives until the next call.

    Args:
        architecture: whose tile and patch the views fit.
        recipe: how many views of each kind, and which share of a tile's area they show; refused outside 0 to 1.
        normalisation: channels, and their mean and standard deviation in dB; refused where the physics needs others.
    """

    def __init__(
        self, architecture: Architecture, recipe: Recipe, normalisation: Normalisation, physics: Physics = NO_PHYSICS
    ) -> None:
        normalisation.require(normalisation.channels, "dB")
        self.tile_px, self.channels = architecture.tile_px, normalisation.channels
        for name, (low, high) in (("global", recipe.global_scale), ("local", recipe.local_scale)):
            if not 0 < low <= high <= 1:
                raise SardinoError(f"{name}_scale {low:g} to {high:g} is no share of a tile: keep it within 0 to 1")
        local_px = half_tile(self.tile_px, architecture.patch)
        self.kinds = (
            (recipe.global_crops, recipe.global_scale, self.tile_px),
            (recipe.local_crops, recipe.local_scale, local_px),
        )
        self.physics = None if physics.off else SarViews(physics, self.channels)
        statistics = torch.tensor([normalisation.mean, normalisation.std], dtype=torch.float64)
        self._statistics = statistics[..., None, None]  # (2, C, 1, 1)
        self._stacks: list[Tensor] = []

    def draw(self, batch: int, generator: torch.Generator) -> Draws:
        """All draws for a batch of `batch` tiles, from a CPU generator: on every rank the same for the whole batch."""
        boxes, flips = [], []
        for count, scale, _ in self.kinds:
            for _ in range(count):
                boxes.append(random_boxes(batch, self.tile_px, self.tile_px, scale, generator))
                flips.append(random_flips(batch, generator))
        physics = None if self.physics is None else self.physics.draw(len(boxes), batch, generator)
        return Draws(torch.stack(boxes), torch.stack(flips), physics)

    @torch.no_grad()
    def __call__(self, tiles_db: Tensor, draws: Draws, noise: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Global views (V, B, C, H, W) and local views (V, B, C, h, w), float32, zero mean, unit variance, missing = 0.

        Args:
            tiles_db: (B, C, tile_px, tile_px) float32 dB, NaN = missing; left as it is.
            draws: of these tiles.
            noise: draws speckle, on the tiles' device or on the CPU; needed with speckle only.
        """
        expected = len(draws), len(self.channels), self.tile_px, self.tile_px
        if tiles_db.shape != expected:
            raise SardinoError(f"these views are of tiles of shape {expected}, not {tuple(tiles_db.shape)}")
        if not self._stacks or self._stacks[0].shape[1] != len(draws) or self._stacks[0].device != tiles_db.device:
            shapes = [(count, *tiles_db.shape[:2], px, px) for count, _, px in self.kinds]
            self._stacks = [tiles_db.new_empty(shape) for shape in shapes]
            self._statistics = self._statistics.to(tiles_db)
        views = [view for stack in self._stacks for view in stack]
        mean, std = self._statistics
        # Without physics the crops are normalised at once, in the same pass over memory.
        statistics = (mean, std) if self.physics is None else None
        sizes = [view.shape[-1] for view in views]
        crop_views(tiles_db, draws.boxes, draws.flips, sizes, views, statistics)
        mend_gaps(tiles_db, views, draws, mean, std, normal=self.physics is None)
        if self.physics is not None and draws.physics is not None:
            for number, view in enumerate(views):
                self.physics(view, Drawn(*(values[number] for values in draws.physics)), noise)
                standardise(view, (mean, std)).nan_to_num_(0)
        return self._stacks[0], self._stacks[1]


def mend_gaps(tiles: Tensor, views: Sequence[Tensor], draws: Draws, mean: Tensor, std: Tensor, *, normal: bool) -> None:
    """Write anew the planes (one channel of one tile) of views whose tiles miss pixels there.

    A pixel is the mean of the valid pixels by bilinear weight, sum(w v x) / sum(w v), and missing where these weigh
    less than `VALID_WEIGHT`. Most tiles miss nothing and cost one sum.

    Args:
        tiles: (B, C, H, W) dB, not finite where missing.
        views: (B, C, size, size) each, written to.
        draws: what the views were cut by.
        mean, std: (C, 1, 1) dB.
        normal: whether views are normalised and missing pixels 0; else they are in dB and NaN.
    """
    channels, flat = tiles.shape[1], tiles.flatten(0, 1)
    # A sum is not finite where a pixel is not: one pass without a mask to write.
    planes = (~tiles.sum((2, 3)).isfinite()).flatten().nonzero()[:, 0]
    # A few at a time on a CPU: small memory is reused, large memory is fetched from the system each time.
    for part in planes.split(16 if tiles.device.type == "cpu" else max(1, len(planes))):
        if not len(part):
            break
        channel, tile = part % channels, (part // channels).cpu()
        found = flat[part]
        valid = found.isfinite()
        pair = torch.stack([torch.where(valid, found - mean[channel], 0.0), valid.to(found.dtype)], dim=1)
        cuts = crop_views(pair, draws.boxes[:, tile], draws.flips[:, tile], [view.shape[-1] for view in views])
        for view, cut in zip(views, cuts, strict=True):
            value, weight = cut.unbind(1)
            missing = weight < VALID_WEIGHT
            value.div_(weight)
            value = value.div_(std[channel]) if normal else value.add_(mean[channel])
            view.view(-1, *view.shape[2:])[part] = value.masked_fill_(missing, 0.0 if normal else math.nan)


def half_tile(tile_px: int, patch: int) -> int:
    """Side in pixels of half a tile, rounded to whole patches, one at least."""
    return max(1, round(tile_px / patch / 2)) * patch
