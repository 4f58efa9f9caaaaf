"""Supervised training of a segmenter on few labelled tiles (paper, section 3 and 6.1)."""

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.optim import param_groups_layer_decay  # type: ignore[attr-defined]
from torch import Tensor, nn

from sardino.data.tiles.landcover import IGNORE
from sardino.data.tiles.tile import Progress
from sardino.dino import snapshot
from sardino.dino.batches import TileSource
from sardino.dino.parallel import Parallel
from sardino.dino.pretrain import Stopped
from sardino.dino.recipe import Precision, warmup_cosine
from sardino.dino.runtime import precision_on, stop_requests
from sardino.dino.step import clip_each, parameter_groups
from sardino.dino.turns import WAYS, Turned
from sardino.errors import SardinoError
from sardino.evaluation.scores import Confusion, confusion, miou
from sardino.progress import stop_in_time, track
from sardino.segmentation.kept_features import FeatureTiles
from sardino.segmentation.loss import balanced, segmentation_loss
from sardino.segmentation.segmenter import Segmenter
from sardino.segmentation.self_training import SelfTraining
from sardino.segmentation.settings import Settings

Maps = NDArray[np.uint8]
BATCH = 16  # tiles that are mapped at once


class Diverged(SardinoError):
    """A training whose loss is no longer a number; another learning rate may do."""


@dataclass(frozen=True)
class Finetuned:
    """How a training went; the segmenter itself holds the state that is kept."""

    loss_first: float  # mean training loss over the first tenth of the steps
    loss_last: float  # and over the last
    losses: list[float]  # per step
    curve: list[dict[str, float]]  # "step" and "val_miou" of each look at the validation tiles, evenly spaced
    validation_miou: float  # of the kept state

    @property
    def gain_last_fifth(self) -> float:
        """Validation mIoU at the end minus at four fifths of the steps."""
        scores = {look["step"]: look["val_miou"] for look in self.curve}
        return scores[len(self.losses)] - scores[-(-4 * len(self.losses) // 5)]


@dataclass(frozen=True)
class Tuned:
    """What moves while a segmenter is fine-tuned, as a snapshot holds it."""

    student: nn.Module  # what learns: all of the segmenter, or its decoder
    teacher: nn.Module  # its moving average, or itself
    optimiser: torch.optim.Optimizer
    moving: dict[str, Tensor]  # the best state so far, where it is kept
    parallel: Parallel


def finetune(
    model: Segmenter,
    train: TileSource,
    validation: TileSource,
    settings: Settings,
    *,
    classes: int,
    seed: int,
    device: torch.device,
    parallel: Parallel | None = None,
    pretrained: bool = False,
    beside: SelfTraining | None = None,
    label: str = "fine-tuning",
    snapshots: Path | None = None,
) -> Finetuned:
    """Train a model on the labelled tiles and leave it in the state that is to be tested.

    Args:
        train: labelled tiles; or what this model's frozen backbone made of them (`FeatureTiles`), and, with
            `settings.turns`, of each in its eight ways.
        validation: labelled tiles, or their features; they decide nothing but, with `keep` "best", the state.
        seed: decides which tiles make up each batch, and how they are turned.
        parallel: this process, where ranks share each batch, which they must divide; what comes out is what comes out
            of one. By default it is alone.
        pretrained: the backbone is; where it is trained on, it waits for its decoder first and then learns slowly.
        beside: what is learnt of tiles without labels; not of a frozen backbone's features, nor over ranks.
        snapshots: folder in which the state is kept at each look; a training that was stopped goes on from there, to
            the same bits on a CPU. None keeps nothing.

    Raises:
        Diverged: the loss is not finite.
        SardinoError: the snapshots are of another training, each difference named; or `beside` has no place here.
        Stopped: after SIGTERM or SIGUSR1, once the state is saved.
    """
    steps, tiles, parallel = settings.steps_for(len(train)), len(train), parallel or Parallel(device)
    if beside is not None and (model.frozen or parallel.world > 1 or not settings.ema):
        fault = "tiles without labels are learnt from with a backbone that moves, one process and an average"
        raise SardinoError(f"{fault}: leave frozen and torchrun out, set ema, or set unlabelled to 0")
    weights = balanced(train, classes, settings.balance).to(device)
    if settings.turns:
        train = train.turned() if isinstance(train, FeatureTiles) else Turned(train)
    groups: list[dict[str, object]] = parameter_groups(model.decoder)
    groups = [{**group, "peak": settings.lr, "begin": 0} for group in groups]
    begin = round(settings.head_share * steps) if pretrained else 0
    if (moving := None if model.frozen else model.vit) is not None:
        peak, decay = (settings.pretrained_lr, settings.layer_decay) if pretrained else (settings.backbone_lr, 1.0)
        layers = param_groups_layer_decay(moving, settings.weight_decay, layer_decay=decay)
        groups += [{**layer, "peak": peak * layer["lr_scale"], "begin": begin} for layer in layers]
        moving.requires_grad_(False)
    optimiser = torch.optim.AdamW(groups, lr=0.0, weight_decay=settings.weight_decay)
    shared = {id(model.vit): model.vit} if model.frozen else {}  # what stands still needs no average
    scored = copy.deepcopy(model, shared) if settings.ema else model
    looks = {-(-(i + 1) * steps // settings.looks) for i in range(settings.looks)}
    best = copy.deepcopy(scored.state_dict()) if settings.keep == "best" else {}
    learnt, average = (each.decoder if model.frozen else each for each in (model, scored))
    kept = {f"best/{name}": value for name, value in best.items()}
    state = Tuned(learnt, average, optimiser, kept, parallel)
    config = {**dict(settings), "tiles": tiles, "seed": seed, "pretrained": pretrained}
    done, history = 0, dict[str, Any](losses=[], curve=[])
    if snapshots and (found := snapshot.newest(snapshots)):
        snapshot.restore(found, state, config)
        done, history = found.step, found.history
    losses, curve = history["losses"], history["curve"]
    batches = islice(_batches(tiles, settings, seed, steps), done, None)
    with stop_requests() if snapshots else nullcontext(list[int]()) as asked:
        shown = track(batches, steps, label, done=done) if parallel.first else batches
        for step, numbers in enumerate(shown, done):
            if moving is not None and step == max(begin, done):
                moving.requires_grad_(True)
            for group in optimiser.param_groups:
                since, length, peak = step - group["begin"], steps - group["begin"], group["peak"]
                group["lr"] = warmup_cosine(peak, peak * 0.01, since, length, length // 10) if since >= 0 else 0.0
            x, y = train.read(own_part(numbers, parallel))
            share = _share(y, weights, parallel)
            if not share.isfinite():
                raise SardinoError("a batch holds no labelled pixel: import labels, or drop tiles without any")
            model.train()
            with _autocast(device, settings.precision):
                logits = _logits(model, train, x.to(device), y.shape[-1])
            if share:
                loss = segmentation_loss(logits.float(), y.to(device), weights, settings.loss) * share
            else:  # all that is labelled lies with other ranks, whose batch norms wait for this one's
                loss = logits.float().sum() * 0.0
            losses.append(parallel.sum(loss.detach()).item())
            if beside is not None and (weight := beside.weight(step, steps)):
                scored.eval()
                with _autocast(device, settings.precision):
                    loss = loss + weight * beside.loss(scored, model, step, device)
            if not math.isfinite(losses[-1]):
                raise Diverged(f"the fine-tuning loss is {losses[-1]} at step {step}: lower the learning rate")
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            _sum_gradients(model, parallel)
            clip_each(model, settings.clip)
            optimiser.step()
            if scored is not model:
                follow(scored, model, min(settings.ema, (1 + step) / (10 + step)))  # a short memory while it is young
            if step + 1 in looks:
                scores = tile_confusions(scored, validation, classes, device, settings.precision, parallel=parallel)
                score = float(miou(scores.sum(0)))
                if score > max((look["val_miou"] for look in curve), default=-1.0):
                    now = scored.state_dict()
                    for name, value in best.items():
                        value.copy_(now[name])
                curve.append({"step": step + 1, "val_miou": score})
            stop = parallel.any(bool(asked))
            if snapshots and (stop or step + 1 in looks):
                snapshot.save(snapshots, state, step + 1, config, history)
                if parallel.first:
                    snapshot.prune(snapshots, keep=2)
                if stop and step + 1 < steps:
                    told = f"{label} was asked to stop after step {step + 1} of {steps}"
                    raise Stopped(f"{told}; its state is in {snapshots}: the same command goes on")
                if step + 1 < steps:
                    stop_in_time()
    model.load_state_dict(best or scored.state_dict())
    tenth, seen = max(1, steps // 10), [look["val_miou"] for look in curve]
    first, last = (float(np.mean(part)) for part in (losses[:tenth], losses[-tenth:]))
    return Finetuned(first, last, losses, curve, max(seen) if best else seen[-1])


def _batches(tiles: int, settings: Settings, seed: int, steps: int) -> Iterator[list[int]]:
    """The tiles of each step, one way to turn each of them where they are turned."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        numbers = torch.tensor(draw(tiles, settings.batch, generator))
        if settings.turns:
            numbers = WAYS * numbers + torch.randint(WAYS, numbers.shape, generator=generator)
        yield numbers.tolist()


def own_part(numbers: Sequence[int], parallel: Parallel) -> Sequence[int]:
    """What of these this rank takes: as many as each other where they divide."""
    first, end = (part * len(numbers) // parallel.world for part in (parallel.rank, parallel.rank + 1))
    return numbers[first:end]


def _share(y: Tensor, weights: Tensor, parallel: Parallel) -> Tensor:
    """() this rank's share of what the batch's labelled pixels weigh: the loss is their mean; NaN where there are none.

    Alone it is 1, and nothing changes.
    """
    own = weights[y[y != IGNORE].to(weights.device, torch.long)].sum()
    return own / parallel.sum(own)


def _sum_gradients(model: nn.Module, parallel: Parallel) -> None:
    """Each rank's part of the gradients to all of them, in one message."""
    if parallel.world > 1:
        parts = [p.grad for p in model.parameters() if p.grad is not None]
        whole = parallel.sum(torch.cat([part.flatten() for part in parts]))
        for part, summed in zip(parts, whole.split([part.numel() for part in parts]), strict=True):
            part.copy_(summed.view_as(part))


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    """average <- decay average + (1 - decay) model in place, batch norm's statistics too; what both share stays."""
    states = (network.state_dict(keep_vars=True).values() for network in (average, model))
    moved = [(a, m) for a, m in zip(*states, strict=True) if a.is_floating_point() and a is not m]
    torch._foreach_lerp_([a for a, _ in moved], [m for _, m in moved], 1 - decay)


def draw(count: int, batch: int, generator: torch.Generator) -> list[int]:
    """Tile numbers of a batch: whole permutations end to end, so that few tiles are used evenly."""
    rounds = -(-batch // count)
    return torch.cat([torch.randperm(count, generator=generator) for _ in range(rounds)])[:batch].tolist()


def _autocast(device: torch.device, precision: Precision) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=precision_on(device, precision) == "bfloat16")


@torch.no_grad()
def tile_confusions(
    model: Segmenter,
    tiles: TileSource,
    classes: int,
    device: torch.device,
    precision: Precision = "auto",
    progress: Progress = iter,
    parallel: Parallel | None = None,
) -> Confusion:
    """One confusion matrix per tile, (N, classes, classes); `progress` wraps the loop over tiles, which ranks share."""
    parallel = parallel or Parallel(device)
    own = own_part(range(len(tiles)), parallel)
    pairs = (pair for maps, y in _maps(model, tiles, device, precision, own) for pair in zip(maps, y, strict=True))
    found = np.zeros((len(tiles), classes, classes), np.int64)
    for number, (predicted, label) in zip(own, progress(pairs), strict=True):
        found[number] = confusion(predicted, label, classes)
    return parallel.sum(torch.from_numpy(found).to(device)).cpu().numpy() if parallel.world > 1 else found


@torch.no_grad()
def predict(model: Segmenter, tiles: TileSource, device: torch.device, precision: Precision = "auto") -> Maps:
    """Class index per pixel, (N, H, W) uint8."""
    return np.concatenate([maps for maps, _ in _maps(model, tiles, device, precision, range(len(tiles)))])


def _logits(model: Segmenter, tiles: TileSource, x: Tensor, size: int) -> Tensor:
    """Through the whole network, or through the decoder alone where the tiles are a frozen backbone's features."""
    return model.decode(x, size) if isinstance(tiles, FeatureTiles) else model(x)


def _maps(
    model: Segmenter, tiles: TileSource, device: torch.device, precision: Precision, numbers: Sequence[int]
) -> Iterator[tuple[Maps, Maps]]:
    """Predicted and reference class indices (B, H, W) of these tiles, batch by batch."""
    model.eval()
    for start in range(0, len(numbers), BATCH):
        x, y = tiles.read(numbers[start : start + BATCH])
        with _autocast(device, precision):
            found = _logits(model, tiles, x.to(device), y.shape[-1]).argmax(1)
        yield found.to(torch.uint8).cpu().numpy(), y.cpu().numpy()
