"""DINO pre-training: student, teacher, and what is watched while they learn (paper, section 2 and Figure 1)."""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from sardino.errors import SardinoError
from sardino.models.dino import Head, Loss
from sardino.models.vit import Architecture, build_vit
from sardino.training.crops import multi_crop
from sardino.training.optimiser import clip_each, parameter_groups
from sardino.training.progress import track
from sardino.training.recipe import Recipe
from sardino.training.schedules import cosine, ramp, warmup_cosine


class Network(nn.Module):
    """A backbone and its head; crops of one size pass the backbone together, all crops pass the head together."""

    def __init__(self, backbone: VisionTransformer, head: Head) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, *groups: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Groups of equally sized views to the head's logits per view, and the class tokens of the first group."""
        classes = [self.backbone(torch.cat(group)) for group in groups if group]
        batch = len(groups[0][0])
        return list(self.head(torch.cat(classes)).split(batch)), classes[0]


@dataclass
class History:
    """What was watched, every few steps: enough to see collapse, to a constant or to the uniform."""

    ln_k: float
    step: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    teacher_entropy: list[float] = field(default_factory=list)
    kl: list[float] = field(default_factory=list)
    feature_std: list[float] = field(default_factory=list)
    distance: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Pretrained:
    """Result of a pre-training: both backbones, because the paper uses the student and DINO the teacher."""

    teacher: dict[str, Tensor]
    student: dict[str, Tensor]
    history: History


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Exponential moving average of the student's parameters, after the optimiser's step."""
    pairs = list(zip(teacher.parameters(), student.parameters(), strict=True))
    torch._foreach_lerp_([t for t, _ in pairs], [s for _, s in pairs], 1 - momentum)


def pretrain(
    batches: Callable[[torch.Generator], Iterator[Tensor]],
    architecture: Architecture,
    recipe: Recipe,
    *,
    steps: int,
    batch: int,
    steps_per_epoch: int,
    seed: int,
    device: torch.device,
    log_every: int = 5,
    label: str = "pre-training",
) -> Pretrained:
    """Train a student to agree with its own moving average over views of the same tile.

    Args:
        batches: given a generator, yields normalised tiles (B, C, H, W) float32 without end.
        architecture: the ViT; local crops are half a tile, rounded to whole patches.
        recipe: all other numbers.
        steps, batch: length of the run and size of a batch.
        steps_per_epoch: turns the recipe's epochs into steps.
        seed: decides weights, order and crops.

    Raises:
        SardinoError: the loss is not finite.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    k = recipe.prototypes
    student = Network(
        build_vit(architecture, recipe.drop_path), Head(architecture.width, recipe.hidden, recipe.bottleneck, k)
    ).to(device)
    teacher = copy.deepcopy(student).requires_grad_(False).eval()
    start = [p.detach().clone() for p in student.backbone.parameters()]
    loss_of = Loss(k, recipe.student_temperature, recipe.centre_momentum).to(device)
    groups = parameter_groups(student)
    optimiser = torch.optim.AdamW(groups, lr=0.0, weight_decay=recipe.weight_decay)
    history = History(ln_k=math.log(k))
    local_px = max(1, round(architecture.grid / 2)) * architecture.patch
    warmup = round(recipe.warmup_epochs * steps_per_epoch)
    autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")

    source = batches(generator)
    student.train()
    for step in track(range(steps), steps, label):
        rate = warmup_cosine(recipe.learning_rate(batch), recipe.final_learning_rate, step, steps, min(warmup, steps))
        optimiser.param_groups[0]["weight_decay"] = cosine(recipe.weight_decay, recipe.final_weight_decay, step, steps)
        for group in optimiser.param_groups:
            group["lr"] = rate
        temperature = ramp(
            recipe.warmup_teacher_temperature,
            recipe.teacher_temperature,
            step // steps_per_epoch,
            round(recipe.teacher_warmup_epochs),
        )
        views, local_views = multi_crop(
            next(source).to(device, non_blocking=True),
            generator,
            global_crops=recipe.global_crops,
            global_scale=recipe.global_scale,
            global_px=architecture.tile_px,
            local_crops=recipe.local_crops,
            local_scale=recipe.local_scale,
            local_px=local_px,
        )
        with autocast:
            with torch.no_grad():
                targets, features = teacher(views)
            predictions, _ = student(views, local_views)
        watch = step % log_every == 0 or step == steps - 1
        # Before the loss moves the centre, as the loss itself sees them.
        probability = loss_of.targets(torch.cat(targets), temperature) if watch else None
        loss = loss_of(predictions, targets, temperature)
        if watch and probability is not None:
            if not torch.isfinite(loss):
                raise SardinoError(
                    f"the pre-training loss is {loss.item()} at step {step}: lower the learning rate or raise the "
                    f"teacher temperature ({temperature:g}), and look for tiles that are all nodata"
                )
            entropy = -(probability * probability.clamp_min(1e-30).log()).sum(-1).mean()
            history.step.append(step)
            history.loss.append(loss.item())
            history.teacher_entropy.append(entropy.item())
            history.kl.append(loss.item() - entropy.item())
            history.feature_std.append(F.normalize(features.float(), dim=-1).std(0).mean().item())
            history.distance.append(_distance(student.backbone, start))
            history.learning_rate.append(rate)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        clip_each(student, recipe.clip)
        if step < recipe.freeze_prototypes_epochs * steps_per_epoch:
            student.head.prototypes.weight.grad = None
        optimiser.step()
        update_teacher(teacher, student, cosine(recipe.momentum, recipe.final_momentum, step, steps))
    return Pretrained(_weights(teacher.backbone), _weights(student.backbone), history)


def _distance(backbone: nn.Module, start: list[Tensor]) -> float:
    """Relative distance of the weights from where they began."""
    moved = sum((p.detach() - s).square().sum() for p, s in zip(backbone.parameters(), start, strict=True))
    return math.sqrt(float(moved) / float(sum(s.square().sum() for s in start)))


def _weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
