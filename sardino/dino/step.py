"""One step of DINO: student, teacher, loss and optimiser (paper, section 2 and Figure 1; Caron et al. 2021)."""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel

from sardino.dino.head_and_loss import Head, Loss
from sardino.dino.parallel import Parallel
from sardino.dino.recipe import Precision, Rates, Recipe
from sardino.dino.runtime import clip_each, local, parameter_groups, precision_on
from sardino.dino.skip_unused import class_token_only, skip_dropped
from sardino.dino.vit import Architecture, build_vit

Views = tuple[Tensor, Tensor]
"""Global and local views of a micro-batch, (V, B, C, h, w) each."""


class Network(nn.Module):
    """A backbone and its head; crops of one size pass the backbone together, all crops pass the head together."""

    def __init__(self, backbone: VisionTransformer, head: Head) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, *groups: Tensor) -> tuple[Tensor, Tensor]:
        """Views (V, B, C, h, w), a group of each size, to the logits (V B, K) of all and the first's class tokens."""
        classes = [self.backbone(group.flatten(0, 1)) for group in groups if len(group)]
        return self.head(torch.cat(classes)), classes[0].clone()  # no view: FSDP hangs its hooks on what is returned


@dataclass(frozen=True)
class Seen:
    """What a step's health is judged by, of this rank's tiles.

    Args:
        loss: () mean over the whole batch.
        logits: (2B, K) of the teacher's global views.
        features: (2B, D) the student's class tokens of the global views.
        centre: (1, K) before it moved.
        gradient_norm: () of the whole gradient, before clipping.
    """

    loss: Tensor
    logits: Tensor
    features: Tensor
    centre: Tensor
    gradient_norm: Tensor


class NotFinite(Exception):
    """The loss is not finite; the networks are as they were before the step."""


class Learner:
    """A student, its moving average, and what moves them.

    Args:
        architecture, recipe: shape of the ViT, all numbers of the method.
        parallel: this process; the centre and all gradients are means over all of them.
        seed: decides the weights.
        precision: of matrix products; "auto" is bfloat16 on hardware that has it, else float32. Head, softmax and
            centre are float32 always.
        compiled: let torch.compile fuse the blocks; pays off on long runs.
        checkpointing: keep no activations inside blocks and compute them again: memory for time, for ViT-Base.
    """

    def __init__(
        self,
        architecture: Architecture,
        recipe: Recipe,
        parallel: Parallel,
        *,
        seed: int,
        precision: Precision = "auto",
        compiled: bool = False,
        checkpointing: bool = False,
    ) -> None:
        torch.manual_seed(seed)
        device = parallel.device
        backbone = skip_dropped(class_token_only(build_vit(architecture, recipe.drop_path)))
        head = Head(architecture.width, recipe.hidden, recipe.bottleneck, recipe.prototypes)
        self.student = Network(backbone, head).to(device)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False).eval()
        self.loss = Loss(recipe.prototypes, recipe.student_temperature, recipe.centre_momentum).to(device)
        self.recipe, self.parallel = recipe, parallel
        if checkpointing:
            self.student.backbone.set_grad_checkpointing()
        if compiled:
            for network in (self.student, self.teacher):
                for block in network.backbone.blocks:
                    block.compile()
        self.sharded = parallel.shards(self.student.backbone)
        if self.sharded:
            for network in (self.student, self.teacher):
                parallel.shard(network.backbone.blocks, network.head, network)
            self.replica: nn.Module = self.student
        else:
            self.replica = parallel.replicate(self.student)
        groups = parameter_groups(self.student)
        self.optimiser = torch.optim.AdamW(groups, lr=0.0, weight_decay=0.0, fused=device.type in ("cpu", "cuda"))
        self.start = [p.detach().clone() for p in self.student.backbone.parameters()]
        self.student.train()
        self._autocast = torch.autocast(
            device.type, torch.bfloat16, enabled=precision_on(device, precision) == "bfloat16"
        )

    def step(self, parts: Iterable[Views], count: int, rates: Rates, watched: bool = True) -> Seen:
        """Learn from one batch, seen in `count` micro-batches of equal size.

        Accumulation is exact: the centre stands still while a batch is seen and moves once after it, by the mean of
        all its teacher logits, so that many small parts and one large part differ by rounding alone.

        Args:
            parts: the micro-batches' views.
            count: how many there are.
            rates: of this step.
            watched: keep the logits and features of all micro-batches for `Seen`, not of the last alone.

        Raises:
            NotFinite: before anything has changed.
        """
        self.optimiser.zero_grad(set_to_none=True)
        loss = torch.zeros((), device=self.parallel.device)
        outputs: list[tuple[Tensor, Tensor]] = []
        mean = torch.zeros_like(self.loss.centre)
        for number, (views, local_views) in enumerate(parts):
            self._synchronise(number == count - 1)
            with self._autocast:
                with torch.no_grad():
                    logits, _ = self.teacher(views)
                predictions, features = self.replica(views, local_views)
            size = views.shape[1]
            part = self.loss.cross_entropy(predictions.split(size), logits.split(size), rates.teacher_temperature)
            (part / count).backward()
            loss += part.detach() / count
            mean += logits.to(mean.dtype).mean(0, keepdim=True) / count
            outputs = [*(outputs if watched else []), (logits, features.detach())]
        loss = self.parallel.mean(loss)
        norm = clip_each(self.student, self.recipe.clip, self.parallel.sum if self.sharded else lambda squares: squares)
        if not torch.isfinite(loss + norm):
            self.optimiser.zero_grad(set_to_none=True)
            raise NotFinite
        centre = self.loss.centre.clone()
        self.loss.update_centre(self.parallel.mean(mean))
        if rates.prototypes_frozen:
            self.student.head.prototypes.weight.grad = None
        for group, decay in zip(self.optimiser.param_groups, (rates.weight_decay, 0.0), strict=True):
            group["lr"], group["weight_decay"] = rates.learning_rate, decay
        self.optimiser.step()
        update_teacher(self.teacher, self.student, rates.momentum)
        all_logits, all_features = (torch.cat(tensors) for tensors in zip(*outputs, strict=True))
        return Seen(loss, all_logits, all_features, centre, norm)

    def _synchronise(self, last: bool) -> None:
        """Average gradients over ranks with the last micro-batch alone."""
        if self.sharded:
            cast(FSDPModule, self.replica).set_requires_gradient_sync(last)
        elif self.parallel.world > 1:
            # What DDP's no_sync() sets.
            cast(DistributedDataParallel, self.replica).require_backward_grad_sync = last


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Exponential moving average of the student's parameters, after the optimiser's step."""
    pairs = list(zip(teacher.parameters(), student.parameters(), strict=True))
    torch._foreach_lerp_([local(t) for t, _ in pairs], [local(s) for _, s in pairs], 1 - momentum)


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """Whole weights on the CPU, from all ranks' shards; every rank must ask."""
    return {name: whole(value) for name, value in module.state_dict().items()}


def whole(tensor: Tensor) -> Tensor:
    """A tensor gathered from all ranks, on the CPU, as a copy."""
    full = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return full.detach().cpu().contiguous().clone()


def relative_distance(
    parameters: Sequence[Tensor], start: Sequence[Tensor], parallel: Parallel, sharded: bool
) -> float:
    """How far weights have moved from where they began, relative to their norm then."""
    squares = torch.stack(
        [
            torch.stack([(local(p.detach()) - local(s)).square().sum(), local(s).square().sum()])
            for p, s in zip(parameters, start, strict=True)
        ]
    ).sum(0)
    moved, norm = (parallel.sum(squares) if sharded else squares).tolist()
    return float((moved / norm) ** 0.5)
