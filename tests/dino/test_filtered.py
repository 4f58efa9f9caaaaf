import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.radiometry import CHANNELS
from sardino.dino.filtered import LEAST, Filtered
from sardino.dino.recipe import FILTERED, Physics, Rates
from sardino.dino.visible import Hidden
from sardino.dino.vit import Architecture
from sardino.errors import SardinoError

SHAPE = Architecture(width=24, depth=2, heads=3, patch=8, channels=12, tile_px=32)
NORMALISATION = Normalisation(tuple(CHANNELS), (-12.0,) * 12, (4.0,) * 12)
CPU = torch.device("cpu")
RATES = Rates(1e-3, 0.1, 0.9, 0.04, False)


def tiles() -> Tensor:
    return -10 + 3 * torch.randn(6, 12, 32, 32, generator=torch.Generator().manual_seed(0))


def test_targets_are_means_and_log_deviations_patch_by_patch():
    images = tiles()
    found = Filtered(SHAPE, FILTERED, CPU).targets(images).numpy()
    assert found.shape == (6, 16, 12, 8)
    patch = images[2, 5, 8:16, 24:32].numpy().reshape(2, 4, 2, 4)  # row 1, column 3 of the grid
    boxes = patch.transpose(0, 2, 1, 3).reshape(4, 16)
    expected = [*boxes.mean(1), *np.log(boxes.std(1) + LEAST)]
    np.testing.assert_allclose(found[2, 7, 5], expected, rtol=1e-4, atol=1e-5)


def test_each_is_of_unit_variance_over_the_first_tiles_and_missing_pixels_take_no_part():
    images = tiles()
    images[:, 2] = float("nan")  # a channel that no first tile has
    images[0, 0, :5] = float("nan")
    objective = Filtered(SHAPE, FILTERED, CPU)
    hiding = objective.views(NORMALISATION, Physics(), lambda: images)
    targets = objective.targets(hiding.normal(images)).unflatten(3, (2, 4))
    known = targets.permute(2, 3, 0, 1, 4).flatten(2)  # (C, 2, ...)
    kept = [channel for channel in range(12) if channel != 2]
    torch.testing.assert_close(known.nanmean(2)[kept], torch.zeros(11, 2), rtol=0, atol=1e-4)
    torch.testing.assert_close(known.square().nanmean(2)[kept], torch.ones(11, 2), rtol=1e-3, atol=0)
    assert targets[0, 0, 0].isnan().all() and not targets[0, 15, 0].isnan().any() and targets[:, :, 2].isnan().all()
    filled = hiding.normal(tiles())
    assert objective.targets(filled)[:, :, 2].isfinite().all(), "a later tile may have the channel"


class Told(nn.Module):
    """A network that tells fixed numbers."""

    def __init__(self, told: Tensor) -> None:
        super().__init__()
        self.told = told

    def forward(self, shown: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        return self.told, torch.zeros(len(shown), 1, 24)


def test_the_loss_is_the_textbook_one():
    """Smooth L1; what is hidden counts wholly, what is visible by its weight, what is missing not at all."""
    objective = Filtered(SHAPE, FILTERED.changed(visible_weight=0.25), CPU)
    images = tiles()
    images[1, 4, 8:16] = float("nan")
    draw = torch.Generator().manual_seed(1)
    asked = torch.rand(6, 16, 12, generator=draw) < 0.5
    told = 3 * torch.randn(6, 16, 96, generator=draw)
    given = Hidden(images, images.nan_to_num(0), torch.zeros(6, 1, dtype=torch.int64), asked)
    part = objective.learn(Told(told), Told(told), given, RATES)
    targets = objective.targets(images).numpy()

    def loss(answer: np.ndarray) -> float:
        off = np.abs(answer - targets)
        error = np.where(off < 1, off**2 / 2, off - 0.5)
        return float(np.nansum(np.where(asked.numpy(), 1.0, 0.25)[..., None] * error) / targets.size)

    assert float(part.loss) == pytest.approx(loss(told.view(6, 16, 12, 8).numpy()), rel=1e-4)
    assert float(part.means["blank"]) == pytest.approx(loss(np.zeros_like(targets)), rel=1e-4)


def test_a_patch_of_no_boxes_is_refused():
    with pytest.raises(SardinoError, match="give it 8 or 16"):
        Filtered(Architecture(24, 2, 3, 2, 12, 32), FILTERED, CPU)
