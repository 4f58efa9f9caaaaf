"""One step of a pre-training: student, teacher and optimiser, whatever the objective."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sardino.dino.dense import Dense
from sardino.dino.distillation import Distillation
from sardino.dino.filtered import Filtered
from sardino.dino.masked import MaskedDistillation
from sardino.dino.objective import Objective
from sardino.dino.parallel import Parallel, average_gradients, local
from sardino.dino.pixels import Pixels
from sardino.dino.recipe import Precision, Rates, Recipe
from sardino.dino.runtime import precision_on
from sardino.dino.vit import Architecture

OBJECTIVES: dict[str, Callable[[Architecture, Recipe, torch.device], Objective]] = {
    "dino": Distillation,
    "dino-masked": MaskedDistillation,
    "pixels": Pixels,
    "filtered": Filtered,
    "dense": Dense,
}


@dataclass(frozen=True)
class Seen:
    """What a step's health is judged by, of this rank's tiles."""

    loss: Tensor  # () mean over the whole batch
    features: Tensor  # (M, d) the student's tokens
    gradient_norm: Tensor  # () of the whole gradient, before clipping
    answers: tuple[tuple[Tensor, Tensor], ...] = ()  # logits (M, K) of the teacher, and the centre before it moved
    blank: Tensor | None = None  # () the loss of an answer that is always the mean, of an objective without prototypes


class NotFinite(Exception):
    """The loss is not finite; the networks are as they were before the step."""


class Learner:
    """A student, its moving average, and what moves them.

    Args:
        recipe: names the objective.
        parallel: this process; all that moves moves by means over all of them.
        seed: decides the weights.
        precision: of matrix products; "auto" is bfloat16 on hardware that has it, else float32.
        compiled: let torch.compile fuse the blocks; on a CPU it pays from some thousand steps on.
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
        self.objective = OBJECTIVES[recipe.objective](architecture, recipe, device)
        self.student = self.objective.network().to(device)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False).eval()
        self.architecture, self.recipe, self.parallel = architecture, recipe, parallel
        self._distribute(compiled, checkpointing)
        groups = parameter_groups(self.student)
        self.optimiser = torch.optim.AdamW(groups, lr=0.0, weight_decay=0.0, fused=device.type in ("cpu", "cuda"))
        self._start = [p.detach().clone() for p in self.student.backbone.parameters()]
        self.student.train()
        bfloat16 = precision_on(device, precision) == "bfloat16"
        self._autocast = torch.autocast(device.type, torch.bfloat16, enabled=bfloat16)

    def step(self, parts: Iterable[Any], count: int, rates: Rates, watched: bool = True) -> Seen:
        """Learn from one batch, seen in `count` micro-batches of equal size.

        Accumulation is exact: nothing moves while a batch is seen, so that many small parts and one large part differ
        by rounding alone; but for a U-Net ("dense"), whose batch norms see a part at a time.

        Args:
            parts: the micro-batches, as the objective's views make them.
            watched: keep the features and answers of all micro-batches for `Seen`, not of the last alone.

        Raises:
            NotFinite: before anything has changed.
        """
        self.optimiser.zero_grad(set_to_none=True)
        loss, means = torch.zeros((), device=self.parallel.device), dict[str, Tensor]()
        told: list[tuple[Tensor, ...]] = []
        for number, given in enumerate(parts):
            average_gradients(self._student, number == count - 1)
            with self._autocast:
                part = self.objective.learn(self._student, self.teacher, given, rates)
            (part.loss / count).backward()
            loss += part.loss.detach() / count
            means = {name: means.get(name, 0) + value / count for name, value in part.means.items()}
            told = [*(told if watched else []), (part.features, *(logits for logits, _ in part.answers))]
        loss = self.parallel.mean(loss)
        norm = clip_each(self.student, self.recipe.clip, self._over_shards)
        if not torch.isfinite(loss + norm):
            self.optimiser.zero_grad(set_to_none=True)
            raise NotFinite
        means = {name: self.parallel.mean(value) for name, value in means.items()}
        self.objective.settle(self.student, means, rates)
        for group, decay in zip(self.optimiser.param_groups, (rates.weight_decay, 0.0), strict=True):
            group["lr"], group["weight_decay"] = rates.learning_rate, decay
        self.optimiser.step()
        update_teacher(self.teacher, self.student, rates.momentum)
        features, *logits = (torch.cat(tensors) for tensors in zip(*told, strict=True))
        centres = [centre for _, centre in part.answers]
        return Seen(loss, features, norm, tuple(zip(logits, centres, strict=True)), means.get("blank"))

    @property
    def moving(self) -> dict[str, Tensor]:
        """What the objective moves besides."""
        return self.objective.moving

    def distance(self) -> float:
        """How far the student's backbone has moved from where it began, relative to its norm then."""
        pairs = zip(self.student.backbone.parameters(), self._start, strict=True)
        squares = torch.stack(
            [torch.stack([(local(p.detach()) - local(s)).square().sum(), local(s).square().sum()]) for p, s in pairs]
        ).sum(0)
        moved, norm = self._over_shards(squares).tolist()
        return float((moved / norm) ** 0.5)

    def _distribute(self, compiled: bool, checkpointing: bool) -> None:
        """What makes a step cheaper or spreads it over ranks, and changes nothing but rounding."""
        networks = (self.student, self.teacher)
        if checkpointing:
            self.student.backbone.set_grad_checkpointing()
        if compiled:
            for network in networks:
                for block in network.backbone.blocks:
                    block.compile()
        self._sharded = self.parallel.shards(self.student.backbone)
        if self._sharded:
            for network in networks:
                others = (child for child in network.children() if child is not network.backbone)
                self.parallel.shard(*network.backbone.blocks, *others, network)
        # The student to call; DDP puts a module of its own around it.
        self._student = self.student if self._sharded else self.parallel.replicate(self.student)

    def _over_shards(self, squares: Tensor) -> Tensor:
        """A sum over this rank's shards to that over all ranks' shards."""
        return self.parallel.sum(squares) if self._sharded else squares


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """theta_t <- m theta_t + (1 - m) theta_s in place: the exponential moving average, after the optimiser's step."""
    pairs = list(zip(teacher.parameters(), student.parameters(), strict=True))
    torch._foreach_lerp_([local(t) for t, _ in pairs], [local(s) for _, s in pairs], 1 - momentum)
    for of_teacher, of_student in zip(teacher.buffers(), student.buffers(), strict=True):
        of_teacher.copy_(of_student)  # a batch norm's statistics, where there is one


def parameter_groups(module: nn.Module) -> list[dict[str, object]]:
    """Weight decay for matrices only: biases and one-dimensional parameters go without."""
    decayed: list[Tensor] = []
    bare: list[Tensor] = []
    for name, p in module.named_parameters():
        if p.requires_grad:
            (bare if p.ndim == 1 or name.endswith(".bias") else decayed).append(p)
    return [{"params": decayed}, {"params": bare, "weight_decay": 0.0}]


@torch.no_grad()
def clip_each(module: nn.Module, limit: float, total: Callable[[Tensor], Tensor] = lambda squares: squares) -> Tensor:
    """Scale down each parameter's own gradient, or this rank's shard of it, to a norm of at most `limit`.

    Args:
        total: sums squared norms over the ranks that hold shards of the same tensors.

    Returns:
        () norm of the whole gradient before.
    """
    gradients = [local(p.grad) for p in module.parameters() if p.grad is not None]
    squares = total(torch.stack(torch._foreach_norm(gradients)).square())
    norms = squares.sqrt()
    torch._foreach_mul_(gradients, list((limit / (norms + 1e-6)).clamp(max=1.0).unbind()))
    return squares.sum().sqrt()
