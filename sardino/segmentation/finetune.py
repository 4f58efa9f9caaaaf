"""Supervised training of a segmenter on few labelled tiles (paper, section 3 and 6.1)."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sardino.data.tiles.landcover import IGNORE
from sardino.dino.batches import TileSource, in_batches
from sardino.dino.recipe import warmup_cosine
from sardino.dino.step import clip_each, parameter_groups
from sardino.errors import SardinoError
from sardino.evaluation.scores import Confusion, confusion, miou
from sardino.progress import track
from sardino.segmentation.kept_features import FeatureTiles
from sardino.segmentation.segmenter import Segmenter
from sardino.segmentation.settings import Settings

Maps = NDArray[np.uint8]
BATCH = 16  # tiles that are mapped at once


class Diverged(SardinoError):
    """A training whose loss is no longer a number; another learning rate may do."""


@dataclass(frozen=True)
class Finetuned:
    """How a training went; the segmenter itself holds the best state."""

    loss_first: float  # mean training loss over the first tenth of the steps
    loss_last: float  # and over the last
    losses: list[float]  # per step
    validation_miou: float  # of the kept state
    best_step: int  # at which it was met


def segmentation_loss(logits: Tensor, label: Tensor, kind: str) -> Tensor:
    """Cross-entropy over classes, or binary cross-entropy of each class against the rest.

    Of (B, classes, H, W) logits and (B, H, W) uint8 class indices; IGNORE pixels do not count.
    """
    if kind == "cross-entropy":
        return F.cross_entropy(logits, label.long(), ignore_index=IGNORE)
    if kind == "one-vs-rest":
        counted = label != IGNORE
        target = F.one_hot(label.long().where(counted, 0), logits.shape[1]).movedim(-1, 1).to(logits.dtype)
        each = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(1)
        return each[counted].mean()
    raise SardinoError(f"no fine-tuning loss is named '{kind}'; there are cross-entropy and one-vs-rest")


def finetune(
    model: Segmenter,
    train: TileSource,
    validation: TileSource,
    settings: Settings,
    *,
    classes: int,
    seed: int,
    device: torch.device,
    lr: float | None = None,
    label: str = "fine-tuning",
) -> Finetuned:
    """Train a model on the labelled tiles and leave it in the state that does best on validation.

    Args:
        train, validation: labelled tiles, or what this model's frozen backbone made of them (`FeatureTiles`).
        seed: decides which tiles make up each batch.
        lr: the decoder's peak rate, where it is not the settings'; the ratio of the two rates stays.

    Raises:
        Diverged: the loss is not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    # The decoder at the full learning rate, a trainable backbone at its share.
    groups = [{**group, "share": 1.0} for group in parameter_groups(model.decoder)]
    if model.vit is not None and not model.frozen:
        share = settings.backbone_lr / settings.lr
        groups += [{**group, "share": share} for group in parameter_groups(model.vit)]
    optimiser = torch.optim.AdamW(groups, lr=0.0, weight_decay=settings.weight_decay)
    steps, peak = settings.steps_for(len(train)), lr or settings.lr
    validations = max(1, round(steps / settings.validate_every))
    checks = {round((i + 1) * steps / validations) - 1 for i in range(validations)}
    autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")
    losses: list[float] = []
    best, best_step, best_state = -1.0, 0, copy.deepcopy(model.state_dict())
    for step in track(range(steps), steps, label):
        rate = warmup_cosine(peak, peak * 0.01, step, steps, steps // 10)
        for group in optimiser.param_groups:
            group["lr"] = rate * group["share"]
        x, y = train.read(draw(len(train), settings.batch, generator))
        if not (y != IGNORE).any():
            raise SardinoError("a batch holds no labelled pixel: import labels, or drop tiles without any")
        model.train()
        with autocast:
            logits = _logits(model, train, x.to(device), y.shape[-1])
        loss = segmentation_loss(logits.float(), y.to(device), settings.loss)
        if not torch.isfinite(loss):
            raise Diverged(f"the fine-tuning loss is {loss.item()} at step {step}: lower the learning rate")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        clip_each(model, settings.clip)
        optimiser.step()
        losses.append(loss.item())
        if step in checks:
            score = float(miou(tile_confusions(model, validation, classes, device).sum(0)))
            if score > best:
                best, best_step, best_state = score, step + 1, copy.deepcopy(model.state_dict())
    model.load_state_dict(best_state)
    tenth = max(1, steps // 10)
    return Finetuned(float(np.mean(losses[:tenth])), float(np.mean(losses[-tenth:])), losses, best, best_step)


def draw(count: int, batch: int, generator: torch.Generator) -> list[int]:
    """Tile numbers of a batch: whole permutations end to end, so that few tiles are used evenly."""
    rounds = -(-batch // count)
    return torch.cat([torch.randperm(count, generator=generator) for _ in range(rounds)])[:batch].tolist()


@torch.no_grad()
def tile_confusions(model: Segmenter, tiles: TileSource, classes: int, device: torch.device) -> Confusion:
    """One confusion matrix per tile, (N, classes, classes)."""
    pairs = (pair for maps, y in _maps(model, tiles, device) for pair in zip(maps, y, strict=True))
    return np.stack([confusion(predicted, label, classes) for predicted, label in pairs])


@torch.no_grad()
def predict(model: Segmenter, tiles: TileSource, device: torch.device) -> Maps:
    """Class index per pixel, (N, H, W) uint8."""
    return np.concatenate([maps for maps, _ in _maps(model, tiles, device)])


def _logits(model: Segmenter, tiles: TileSource, x: Tensor, size: int) -> Tensor:
    """Through the whole network, or through the decoder alone where the tiles are a frozen backbone's features."""
    return model.decode(x, size) if isinstance(tiles, FeatureTiles) else model(x)


def _maps(model: Segmenter, tiles: TileSource, device: torch.device) -> Iterator[tuple[Maps, Maps]]:
    """Predicted and reference class indices (B, H, W), batch by batch."""
    model.eval()
    for x, y in in_batches(tiles, BATCH):
        found = _logits(model, tiles, x.to(device), y.shape[-1]).argmax(1)
        yield found.to(torch.uint8).cpu().numpy(), y.cpu().numpy()
