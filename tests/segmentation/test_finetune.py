import pytest
import torch

from sardino.data.tiles.landcover import IGNORE
from sardino.dino.batches import MemoryTiles, in_batches
from sardino.dino.vit import Architecture, build_vit
from sardino.errors import SardinoError
from sardino.evaluation.scores import majority, miou
from sardino.segmentation.finetune import (
    Diverged,
    Settings,
    draw,
    finetune,
    predict,
    segmentation_loss,
    tile_confusions,
)
from sardino.segmentation.segmenter import build_segmenter

CPU = torch.device("cpu")
ARCHITECTURE = Architecture(width=24, depth=2, heads=3, patch=8, channels=2, tile_px=32)
SETTINGS = Settings(steps=30, batch=4, lr=3e-3, backbone_lr=3e-4, validate_every=15)


def easy_tiles(count, seed):
    """Three classes told apart by the mean of a patch-sized square: any arm that works must learn them."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count, 1, 4, 4), generator=generator)
    labels = labels.repeat_interleave(8, 2).repeat_interleave(8, 3)
    images = torch.cat([labels.float() - 1, (labels == 1).float()], 1)
    images += 0.2 * torch.randn(images.shape, generator=generator)
    return MemoryTiles(images, labels[:, 0].to(torch.uint8))


def arm(encoding, frozen=False, seed=0):
    torch.manual_seed(seed)
    vit = None if encoding == "unet" else build_vit(ARCHITECTURE)
    sizes = dict(channels=2, classes=3, unet_width=8, unet_depth=2, decoder_width=16)
    return build_segmenter(encoding, vit, frozen=frozen, **sizes)


@pytest.mark.parametrize(("encoding", "frozen"), [("tokens", False), ("tokens", True), ("unet", False)])
def test_an_easy_task_is_learnt(encoding, frozen):
    model, test = arm(encoding, frozen), easy_tiles(6, 2)
    result = finetune(model, easy_tiles(8, 0), easy_tiles(4, 1), SETTINGS, classes=3, seed=0, device=CPU)
    matrices = tile_confusions(model, test, 3, CPU)
    assert matrices.shape == (6, 3, 3) and matrices.sum() == 6 * 32 * 32
    assert result.loss_last < result.loss_first
    assert miou(matrices.sum(0)) > 2 * miou(majority(matrices.sum(0)))


def test_the_best_state_on_validation_is_kept():
    model = arm("tokens")
    validation = easy_tiles(4, 1)
    result = finetune(model, easy_tiles(8, 0), validation, SETTINGS, classes=3, seed=0, device=CPU)
    score = miou(tile_confusions(model, validation, 3, CPU).sum(0))
    assert float(score) == pytest.approx(result.validation_miou)


def test_losses_skip_ignored_pixels():
    logits = torch.randn(2, 3, 4, 4)
    label = torch.randint(0, 3, (2, 4, 4)).to(torch.uint8)
    for kind in ("cross-entropy", "one-vs-rest"):
        half = label.clone()
        half[:, 2:] = IGNORE
        expected = segmentation_loss(logits[:, :, :2], label[:, :2], kind)
        torch.testing.assert_close(segmentation_loss(logits, half, kind), expected)
    with pytest.raises(SardinoError, match="no fine-tuning loss"):
        segmentation_loss(logits, label, "hinge")


def test_a_training_that_diverges_says_so():
    far = Settings(steps=3, batch=4, lr=1e-3, backbone_lr=1e-4, validate_every=1)
    tiles = easy_tiles(4, 0)
    tiles.inputs[:] = float("nan")
    with pytest.raises(Diverged, match="lower the learning rate"):
        finetune(arm("unet"), tiles, easy_tiles(2, 1), far, classes=3, seed=0, device=CPU)


def test_a_prediction_is_what_the_confusions_count():
    model, tiles = arm("unet"), easy_tiles(5, 3)
    maps = predict(model, tiles, CPU)
    right = tile_confusions(model, tiles, 3, CPU).trace(axis1=1, axis2=2)
    assert ((maps == tiles.labels.numpy()).sum((1, 2)) == right).all()


def test_unlabelled_training_is_refused():
    tiles = easy_tiles(3, 0)
    tiles.labels.fill_(IGNORE)
    with pytest.raises(SardinoError, match="no labelled pixel"):
        finetune(arm("unet"), tiles, easy_tiles(2, 1), SETTINGS, classes=3, seed=0, device=CPU)


def test_batches_use_few_tiles_evenly_and_lists_all_once():
    counts = torch.bincount(torch.tensor(draw(3, 8, torch.Generator().manual_seed(0))), minlength=3)
    assert counts.sum() == 8 and counts.max() - counts.min() <= 1
    parts = [len(y) for _, y in in_batches(easy_tiles(5, 0), 2)]
    assert parts == [2, 2, 1]
