"""What a segmenter learns by: labelled pixels alone, weighed by how rare their class is."""

import pytest
import torch
import torch.nn.functional as F

from sardino.data.tiles.landcover import IGNORE
from sardino.dino.batches import MemoryTiles
from sardino.segmentation.finetune import finetune
from sardino.segmentation.loss import balanced, segmentation_loss
from sardino.segmentation.segmenter import build_segmenter
from sardino.segmentation.settings import Settings

LOGITS = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
LABEL = torch.randint(0, 3, (2, 4, 4), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
WEIGHTS = torch.tensor([0.5, 1.0, 4.0])
KINDS = pytest.mark.parametrize("kind", ["cross-entropy", "one-vs-rest"])


@KINDS
def test_pixels_without_a_label_do_not_count(kind):
    half = LABEL.clone()
    half[:, 2:] = IGNORE
    expected = segmentation_loss(LOGITS[:, :, :2], LABEL[:, :2], WEIGHTS, kind)
    torch.testing.assert_close(segmentation_loss(LOGITS, half, WEIGHTS, kind), expected)


@KINDS
def test_a_pixel_counts_as_often_as_its_class_weighs(kind):
    each = torch.stack(
        [segmentation_loss(LOGITS[n, :, y, x, None, None][None], LABEL[n, y, x].view(1, 1, 1), torch.ones(3), kind)
         for n in range(2) for y in range(4) for x in range(4)]
    )  # fmt: skip
    weight = WEIGHTS[LABEL.flatten().long()]
    expected = (weight * each).sum() / weight.sum()
    torch.testing.assert_close(segmentation_loss(LOGITS, LABEL, WEIGHTS, kind), expected)


def test_without_weights_they_are_the_usual_losses():
    one, target = torch.ones(3), F.one_hot(LABEL.long(), 3).movedim(-1, 1).float()
    torch.testing.assert_close(
        segmentation_loss(LOGITS, LABEL, one, "cross-entropy"), F.cross_entropy(LOGITS, LABEL.long())
    )
    torch.testing.assert_close(
        segmentation_loss(LOGITS, LABEL, one, "one-vs-rest"), F.binary_cross_entropy_with_logits(LOGITS, target)
    )


def test_weights_are_of_the_labelled_pixels_of_all_tiles():
    labels = torch.full((40, 10, 10), 0, dtype=torch.uint8)
    labels[:10], labels[0, 0] = 1, IGNORE  # 990 pixels of class 1, 3000 of class 0, none of class 2
    weights = balanced(MemoryTiles(torch.zeros(40, 1, 10, 10), labels), 3, 0.5)
    assert weights[1] / weights[0] == pytest.approx((3000 / 990) ** 0.5)
    assert (3000 * weights[0] + 990 * weights[1]) / 3990 == pytest.approx(1)


def test_a_rare_class_is_learnt_sooner_where_it_weighs_more():
    generator = torch.Generator().manual_seed(0)
    labels = (torch.rand(16, 16, 16, generator=generator) < 0.04).to(torch.uint8)
    tiles = MemoryTiles(labels[:, None] + 0.5 * torch.randn(16, 1, 16, 16, generator=generator), labels)
    found = {}
    for balance in (0.0, 1.0):
        torch.manual_seed(0)
        model = build_segmenter("unet", None, channels=1, classes=2, unet_width=4, unet_depth=1, decoder_width=8)
        settings = Settings(steps=30, growth=0, batch=4, looks=5, lr=1e-2, balance=balance, precision="float32")
        finetune(model, tiles, tiles, settings, classes=2, seed=0, device=torch.device("cpu"))
        found[balance] = (model.eval()(tiles.inputs).argmax(1) == 1)[labels == 1].float().mean()
    assert found[1.0] > 0.5 > 0.2 > found[0.0]
