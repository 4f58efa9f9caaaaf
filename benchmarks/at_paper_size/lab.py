"""What all stages of the run share."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from benchmarks.at_paper_size.clock import Clock
from benchmarks.at_paper_size.preset import ARMS, Preset
from benchmarks.at_paper_size.scenes import Scenes
from sardino.data.tiles.radiometry import CHANNELS
from sardino.dino.recipe import Recipe, find_recipe
from sardino.dino.vit import Architecture


@dataclass
class Lab:
    """What all stages share."""

    preset: Preset
    scenes: Scenes
    device: torch.device
    seed: int
    clock: Clock
    teachers: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    def architecture(self, arm: str) -> Architecture:
        width, depth, heads = self.preset.tiny if arm == "europe" else self.preset.base
        return Architecture(width, depth, heads, 16, len(CHANNELS), self.preset.tile_px)

    def recipe(self, arm: str, name: str) -> Recipe:
        heads = self.preset.head if name == "small" else self.preset.paper_head
        recipe = find_recipe(name, hidden=heads[0], bottleneck=heads[1], prototypes=heads[2])
        rate = self.preset.rates[list(ARMS).index(arm)]
        return recipe.changed(base_learning_rate=rate) if name == "small" else recipe
