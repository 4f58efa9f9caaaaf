"""One step of DINO: student, teacher, loss and optimiser (paper, section 2 and Figure 1; Caron et al. 2021).

Symbols: B tiles, 2 global and L local views of each, d the width of the ViT, K prototypes, C the centre.
"""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from sardino.dino.head_and_loss import Head, cross_entropy_of_other_views, update_centre
from sardino.dino.parallel import Parallel, average_gradients, local
from sardino.dino.recipe import Precision, Rates, Recipe
from sardino.dino.runtime import precision_on
from sardino.dino.skip_unused import class_token_only, skip_dropped
from sardino.dino.vit import Architecture, build_vit

# Global views (2, B, channels, H, W) and local views (L, B, channels, h, w) of a micro-batch.
Crops = tuple[Tensor, Tensor]


class Network(nn.Module):
    """A backbone and its head; crops of one size pass the backbone together, all crops pass the head together."""

    def __init__(self, backbone: VisionTransformer, head: Head) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, *groups: Tensor) -> tuple[Tensor, Tensor]:
        """Views (V, B, channels, h, w) of each size to logits (V B, K) of all, and the first size's class tokens."""
        tokens = [self.backbone(group.flatten(0, 1)) for group in groups if len(group)]  # (V B, d) each
        return self.head(torch.cat(tokens)), tokens[0].clone()  # no view: FSDP hangs its hooks on what is returned


@dataclass(frozen=True)
class Seen:
    """What a step's health is judged by, of this rank's tiles."""

    loss: Tensor  # () mean over the whole batch
    logits: Tensor  # (2 B, K) of the teacher's global views
    features: Tensor  # (2 B, d) the student's class tokens of the global views
    centre: Tensor  # (1, K) before it moved
    gradient_norm: Tensor  # () of the whole gradient, before clipping


class NotFinite(Exception):
    """The loss is not finite; the networks are as they were before the step."""


class Learner:
    """A student, its moving average, and what moves them.

    Args:
        parallel: this process; the centre and all gradients are means over all of them.
        seed: decides the weights.
        precision: of matrix products; "auto" is bfloat16 on hardware that has it, else float32. Head, softmax and
            centre are float32 always.
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
        backbone = skip_dropped(class_token_only(build_vit(architecture, recipe.drop_path)))
        head = Head(architecture.width, recipe.hidden, recipe.bottleneck, recipe.prototypes)
        self.student = Network(backbone, head).to(device)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False).eval()
        self.centre = torch.zeros(1, recipe.prototypes, device=device)
        self.architecture, self.recipe, self.parallel = architecture, recipe, parallel
        self._distribute(compiled, checkpointing)
        groups = parameter_groups(self.student)
        self.optimiser = torch.optim.AdamW(groups, lr=0.0, weight_decay=0.0, fused=device.type in ("cpu", "cuda"))
        self._start = [p.detach().clone() for p in self.student.backbone.parameters()]
        self.student.train()
        bfloat16 = precision_on(device, precision) == "bfloat16"
        self._autocast = torch.autocast(device.type, torch.bfloat16, enabled=bfloat16)

    def step(self, parts: Iterable[Crops], count: int, rates: Rates, watched: bool = True) -> Seen:
        """Learn from one batch, seen in `count` micro-batches of equal size.

        Accumulation is exact: the centre stands still while a batch is seen and moves once after it, by the mean of
        all its teacher logits, so that many small parts and one large part differ by rounding alone.

        Args:
            parts: the micro-batches' views.
            watched: keep the logits and features of all micro-batches for `Seen`, not of the last alone.

        Raises:
            NotFinite: before anything has changed.
        """
        recipe = self.recipe
        self.optimiser.zero_grad(set_to_none=True)
        loss, mean = torch.zeros((), device=self.parallel.device), torch.zeros_like(self.centre)
        outputs: list[tuple[Tensor, Tensor]] = []
        for number, (global_views, local_views) in enumerate(parts):
            average_gradients(self._student, number == count - 1)
            with self._autocast:
                with torch.no_grad():
                    teacher, _ = self.teacher(global_views)  # (2 B, K)
                student, features = self._student(global_views, local_views)  # ((2 + L) B, K), (2 B, d)
            size = global_views.shape[1]
            views, targets = student.split(size), teacher.split(size)  # 2 + L times and 2 times (B, K)
            temperatures = rates.teacher_temperature, recipe.student_temperature
            part = cross_entropy_of_other_views(views, targets, self.centre, *temperatures)
            (part / count).backward()
            loss += part.detach() / count
            mean += teacher.to(mean.dtype).mean(0, keepdim=True) / count  # (1, K)
            outputs = [*(outputs if watched else []), (teacher, features.detach())]
        loss = self.parallel.mean(loss)
        norm = clip_each(self.student, recipe.clip, self._over_shards)
        if not torch.isfinite(loss + norm):
            self.optimiser.zero_grad(set_to_none=True)
            raise NotFinite
        centre = self.centre.clone()
        update_centre(self.centre, self.parallel.mean(mean), recipe.centre_momentum)
        if rates.prototypes_frozen:
            self.student.head.prototypes.weight.grad = None
        for group, decay in zip(self.optimiser.param_groups, (rates.weight_decay, 0.0), strict=True):
            group["lr"], group["weight_decay"] = rates.learning_rate, decay
        self.optimiser.step()
        update_teacher(self.teacher, self.student, rates.momentum)
        all_logits, all_features = (torch.cat(tensors) for tensors in zip(*outputs, strict=True))
        return Seen(loss, all_logits, all_features, centre, norm)

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
                self.parallel.shard(*network.backbone.blocks, network.head, network)
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
