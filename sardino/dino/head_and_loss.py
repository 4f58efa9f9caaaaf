"""DINO's projection head and loss (Caron et al. 2021; paper, section 2 and Figure 1)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Head(nn.Module):
    """Three-layer MLP, L2-normalised bottleneck, cosine similarity to K unit prototypes.

    Args:
        width: embedding dimension of the backbone.
        hidden: width of the two hidden layers; 2048 in the reference.
        bottleneck: 256 in the reference.
        prototypes: K, the length of the output; 65536 in the reference.
    """

    def __init__(self, width: int, hidden: int, bottleneck: int, prototypes: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
        )
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.prototypes = nn.Linear(bottleneck, prototypes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width) to (B, K) cosines. Normalising the weight is weight normalisation with its gain fixed at 1."""
        bottleneck = self.mlp(x)
        # Cosines in float32 even under autocast: at a temperature of 0.001 bfloat16's rounding picks other prototypes.
        with torch.autocast(x.device.type, enabled=False):
            weight = F.normalize(self.prototypes.weight, dim=-1)
            return F.linear(F.normalize(bottleneck.to(weight.dtype), dim=-1), weight)


class Loss(nn.Module):
    """Cross-entropy between the teacher's centred, sharpened view and the student's other views.

    Computed in float32: at the paper's temperature of 0.001 the teacher's logits span 2000.

    Args:
        prototypes: K.
        student_temperature: the student's softmax temperature.
        centre_momentum: memory of the centre; 0.99 in the paper, 0.9 in the reference.
    """

    centre: Tensor

    def __init__(self, prototypes: int, student_temperature: float, centre_momentum: float) -> None:
        super().__init__()
        self.student_temperature = student_temperature
        self.centre_momentum = centre_momentum
        self.register_buffer("centre", torch.zeros(1, prototypes))

    def forward(self, student: list[Tensor], teacher: list[Tensor], teacher_temperature: float) -> Tensor:
        """Mean over all pairs of different views; the centre is used first and updated after.

        Args:
            student: per view (B, K) logits; the global views first, in the teacher's order.
            teacher: per global view (B, K) logits.
            teacher_temperature: of this step.
        """
        loss = self.cross_entropy(student, teacher, teacher_temperature)
        self.update_centre(torch.cat(teacher).mean(0, keepdim=True))
        return loss

    def cross_entropy(self, student: Sequence[Tensor], teacher: Sequence[Tensor], teacher_temperature: float) -> Tensor:
        """The loss alone: for those who see a batch in parts, or on several ranks, before they move the centre."""
        logs = [F.log_softmax(_exact(view) / self.student_temperature, dim=-1) for view in student]
        every = torch.stack(logs).sum(0)
        total = torch.zeros((), dtype=every.dtype, device=every.device)
        for own, view in zip(logs, teacher, strict=False):
            total = total - (self.targets(view, teacher_temperature) * (every - own)).sum(-1).mean()
        return total / (len(teacher) * (len(student) - 1))

    def targets(self, teacher: Tensor, temperature: float) -> Tensor:
        """(B, K) probabilities the student must match; no gradient."""
        return ((_exact(teacher.detach()) - self.centre) / temperature).softmax(-1)

    @torch.no_grad()
    def update_centre(self, mean: Tensor) -> None:
        """Move the centre towards the mean (1, K) of the raw teacher logits of a whole batch, over all ranks."""
        self.centre.lerp_(mean.to(self.centre.dtype), 1 - self.centre_momentum)


def _exact(logits: Tensor) -> Tensor:
    """At least float32."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
