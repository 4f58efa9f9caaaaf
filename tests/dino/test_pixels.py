import torch

from sardino.dino.pixels import Pixels
from sardino.dino.recipe import PIXELS
from sardino.dino.vit import Architecture

SHAPE = Architecture(width=24, depth=2, heads=3, patch=8, channels=3, tile_px=32)


def test_targets_are_a_patchs_pixels() -> None:
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    objective = Pixels(SHAPE, PIXELS, torch.device("cpu"))
    targets = objective.targets(images)
    assert targets.shape == (2, 16, 3, 64) and objective.outputs == 3 * 64
    assert torch.equal(targets[1, 6, 2].view(8, 8), images[1, 2, 8:16, 16:24])  # row 1, column 2 of the grid
    assert float(objective.error(torch.tensor(3.0), torch.tensor(1.0))) == 4.0


def test_only_what_is_hidden_is_asked_for() -> None:
    assert (PIXELS.visible_weight, PIXELS.hide_seasons) == (0, 0)
