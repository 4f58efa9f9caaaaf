"""What pre-training and fine-tuning ask of the optimiser alike: decay for matrices only, clipping by tensor."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sardino.dino.parallel import local


def parameter_groups(module: nn.Module) -> list[dict[str, object]]:
    """Weight decay for matrices only: biases and one-dimensional parameters go without."""
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    bare = [p for name, p in named if p.ndim == 1 or name.endswith(".bias")]
    decayed = [p for name, p in named if not (p.ndim == 1 or name.endswith(".bias"))]
    return [{"params": decayed}, {"params": bare, "weight_decay": 0.0}]


@torch.no_grad()
def clip_each(module: nn.Module, limit: float, total: Callable[[Tensor], Tensor] = lambda squares: squares) -> Tensor:
    """Scale down each parameter's own gradient to a norm of at most `limit`.

    Args:
        module: has its gradients; where they are sharded, this rank's shard is scaled.
        total: sums squared norms over the ranks that hold shards of the same tensors.

    Returns:
        () norm of the whole gradient before.
    """
    gradients = [local(p.grad) for p in module.parameters() if p.grad is not None]
    squares = total(torch.stack(torch._foreach_norm(gradients)).square())
    norms = squares.sqrt()
    torch._foreach_mul_(gradients, list((limit / (norms + 1e-6)).clamp(max=1.0).unbind()))
    return squares.sum().sqrt()
