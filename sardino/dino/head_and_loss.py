"""DINO's projection head, its loss and the centre (Caron et al. 2021; paper, section 2 and Figure 1)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Head(nn.Module):
    """Three-layer MLP, L2-normalised bottleneck, cosine similarity to K unit prototypes.

    Args:
        width: d, embedding dimension of the backbone.
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
        """(B, d) to (B, K) cosines. Normalising the weight is weight normalisation with its gain fixed at 1."""
        bottleneck = self.mlp(x)  # (B, bottleneck)
        # Cosines in float32 even under autocast: at a temperature of 0.001 bfloat16's rounding picks other prototypes.
        with torch.autocast(x.device.type, enabled=False):
            weight = F.normalize(self.prototypes.weight, dim=-1)
            return F.linear(F.normalize(bottleneck.to(weight.dtype), dim=-1), weight)  # (B, K)


def cross_entropy_of_other_views(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    centre: Tensor,
    teacher_temperature: float,
    student_temperature: float,
) -> Tensor:
    """DINO's loss: the mean of H(P_t(x), P_s(x')) over all pairs of different views x, x' of a tile, () nats.

    The teacher sees the global views x only. Computed in float32 at least: at the paper's temperature of 0.001 the
    teacher's logits span 2000.

    Args:
        student: per view (B, K) logits; the global views first, in the teacher's order.
        teacher: per global view (B, K) logits; no gradient goes there.
        centre: C, (1, K).
        teacher_temperature, student_temperature: tau_t and tau_s.
    """
    log_p_s = [F.log_softmax(_exact(view) / student_temperature, dim=-1) for view in student]
    all_views = torch.stack(log_p_s).sum(0)  # (B, K)
    total = torch.zeros((), dtype=all_views.dtype, device=all_views.device)
    for own, view in zip(log_p_s, teacher, strict=False):
        p_t = teacher_probabilities(view, centre, teacher_temperature)
        total = total - (p_t * (all_views - own)).sum(-1).mean()
    return total / (len(teacher) * (len(student) - 1))


def teacher_probabilities(logits: Tensor, centre: Tensor, temperature: float) -> Tensor:
    """P_t = softmax((logits - C) / tau_t), (B, K): centred and sharpened, what the student must match; no gradient."""
    return ((_exact(logits.detach()) - centre) / temperature).softmax(-1)


@torch.no_grad()
def update_centre(centre: Tensor, mean: Tensor, momentum: float) -> None:
    """C <- m C + (1 - m) mean, in place; m is 0.99 in the paper, 0.9 in the reference.

    `centre`, `mean`: (1, K); the mean is of the teacher's raw logits over a whole batch, over all ranks.
    """
    centre.lerp_(mean.to(centre.dtype), 1 - momentum)


def _exact(logits: Tensor) -> Tensor:
    """At least float32."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
