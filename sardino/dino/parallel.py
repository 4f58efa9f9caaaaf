"""The processes of one training: alone, or as torchrun started them, with DDP or FSDP2."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from sardino.errors import SardinoError

Strategy = Literal["auto", "ddp", "fsdp"]
SHARDED_PARAMETERS = 50_000_000  # from this size on, ViT-Base included, "auto" shards


@dataclass(frozen=True)
class Parallel:
    """This process, number `rank` among the `world` that train together.

    "ddp" keeps a whole copy of the network on each rank, "fsdp" shards weights, gradients and optimiser over them;
    "auto" chooses by size.
    """

    device: torch.device
    rank: int = 0
    world: int = 1
    strategy: Strategy = "auto"

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def shards(self, module: nn.Module) -> bool:
        """Whether a module of this size is sharded."""
        if self.world == 1 or self.strategy == "ddp":
            return False
        return self.strategy == "fsdp" or sum(p.numel() for p in module.parameters()) >= SHARDED_PARAMETERS

    def shard(self, *modules: nn.Module) -> None:
        """FSDP2 in place: each module its own unit, so that one at a time is whole; the root comes last."""
        mesh = init_device_mesh(self.device.type, (self.world,))
        for module in modules:
            fully_shard(module, mesh=mesh, reshard_after_forward=True)

    def replicate(self, module: nn.Module) -> nn.Module:
        """The module under DDP, which averages gradients while they are computed; itself where it is alone."""
        if self.world == 1:
            return module
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=ids, gradient_as_bucket_view=True)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over ranks, on each of them."""
        if self.world > 1:
            dist.all_reduce(tensor := tensor.clone())
        return tensor

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean over ranks, on each of them."""
        return self.sum(tensor) / self.world if self.world > 1 else tensor

    def any(self, flag: bool) -> bool:
        """Whether the flag is up on any rank: all ranks then act alike."""
        return flag if self.world == 1 else bool(self.sum(torch.tensor(float(flag), device=self.device)).item())

    @contextlib.contextmanager
    def one_by_one(self) -> Iterator[None]:
        """The first one goes before the others, who then find what it made."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()

    def wait(self) -> None:
        """Until all are here."""
        if self.world > 1:
            dist.barrier()


@contextlib.contextmanager
def join(device: torch.device, strategy: Strategy = "auto") -> Iterator[Parallel]:
    """This process' place, from torchrun's environment variables; alone where there are none.

    "cuda" picks the GPU of the local rank and NCCL, "cpu" gloo.

    Raises:
        SardinoError: torchrun's variables are incomplete, or there are fewer GPUs than local ranks.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Parallel(device, strategy=strategy)
        return
    missing = [name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise SardinoError(f"WORLD_SIZE is {world} but {', '.join(missing)} is not set: start the ranks with torchrun")
    rank, local_rank = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    if device.type == "cuda":
        if local_rank >= (gpus := torch.cuda.device_count()):
            raise SardinoError(f"local rank {local_rank} has no GPU, there are {gpus}: lower --nproc-per-node")
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
    elif device.type != "cpu":
        raise SardinoError(f"several processes train on cuda or cpu, not on {device.type}: use --device cpu")
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Parallel(device, rank, world, strategy)
    finally:
        dist.destroy_process_group()


def average_gradients(module: nn.Module, average: bool) -> None:
    """Whether the next backward pass averages gradients over ranks: once a step, with the last micro-batch."""
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(average)
    elif isinstance(module, DistributedDataParallel):
        module.require_backward_grad_sync = average  # what DDP's no_sync() sets


def local(tensor: Tensor) -> Tensor:
    """This rank's part of a sharded tensor, the tensor itself where it is whole; both share memory with it."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def gathered(tensor: Tensor) -> Tensor:
    """A tensor whole, from all ranks, on the CPU, as a copy; every rank must ask."""
    full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach().cpu().contiguous().clone()


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """Whole weights on the CPU, from all ranks' shards; every rank must ask."""
    return {name: gathered(value) for name, value in module.state_dict().items()}
