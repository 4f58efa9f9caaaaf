"""What pre-training and fine-tuning ask of the optimiser alike: decay groups and clipping."""

import torch
from torch import nn


def parameter_groups(module: nn.Module) -> list[dict[str, object]]:
    """Weight decay for matrices only: biases and one-dimensional parameters go without."""
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    bare = [p for name, p in named if p.ndim == 1 or name.endswith(".bias")]
    decayed = [p for name, p in named if not (p.ndim == 1 or name.endswith(".bias"))]
    return [{"params": decayed}, {"params": bare, "weight_decay": 0.0}]


@torch.no_grad()
def clip_each(module: nn.Module, limit: float) -> None:
    """Scale down each parameter's own gradient to a norm of at most `limit`."""
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    norms = torch._foreach_norm(gradients)
    torch._foreach_mul_(gradients, [(limit / (norm + 1e-6)).clamp(max=1.0) for norm in norms])
