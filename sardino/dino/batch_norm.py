"""Batch norm over the whole batch, also where ranks share it: torch's own does so on GPUs alone."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class BatchNorm(nn.BatchNorm2d):
    """By mean and variance of all ranks' tiles, of which each has as many; alone, torch's own."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same; while it is trained every rank must ask."""
        ranks = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
        if ranks == 1 or not self.training:
            return super().forward(x)
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        assert self.momentum is not None
        wide = x.float()
        mean = OverRanks.apply(wide.mean((0, 2, 3), keepdim=True))
        variance = OverRanks.apply((wide - mean).square().mean((0, 2, 3), keepdim=True))
        with torch.no_grad():
            count = ranks * x.numel() // x.shape[1]
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.flatten(), self.momentum)
            self.running_var.lerp_(variance.flatten() * count / (count - 1), self.momentum)
        scale = self.weight[:, None, None] * torch.rsqrt(variance + self.eps)
        return ((wide - mean) * scale + self.bias[:, None, None]).to(x.dtype)


class OverRanks(torch.autograd.Function):
    """The mean over ranks, on each of them; so are gradients, where all ranks' losses are one."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        dist.all_reduce(whole := tensor.clone())
        return whole / dist.get_world_size()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return OverRanks.forward(ctx, gradient)
