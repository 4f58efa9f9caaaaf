"""Batches read ahead of the training step, by worker processes where asked; the order never depends on them."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sardino.errors import SardinoError
from sardino.training.source import TileSource

Batch = tuple[Tensor, Tensor]


class _Reads(Dataset[Batch]):
    """A batch is asked for by its tile numbers, so that a worker reads whole tiles and stacks them once."""

    def __init__(self, source: TileSource) -> None:
        self.source = source

    def __getitem__(self, numbers: Sequence[int]) -> Batch:
        torch.set_num_threads(1)  # the cores belong to the training step
        return self.source.read(numbers)


def load(
    source: TileSource, order: Iterable[list[int]], workers: int = 0, ahead: int = 2, pin: bool = False
) -> Iterator[Batch]:
    """Read batches in the given order.

    Args:
        source: tiles by number; travels to the workers, so a store or a mapped cache and not tiles in memory.
        order: tile numbers of each batch; may be endless.
        workers: processes that read ahead; with 0 a batch is read when it is asked for.
        ahead: batches that each worker keeps ready.
        pin: page-locked memory, from which a GPU copies while it computes.

    Yields:
        inputs (B, C, H, W) float32 normalised and labels (B, H, W) uint8.
    """
    if workers < 0 or ahead < 1:
        raise SardinoError(f"a loader takes at least 0 workers and 1 batch ahead, not {workers} and {ahead}")
    if workers == 0:
        for numbers in order:
            inputs, labels = source.read(numbers)
            yield (inputs.pin_memory(), labels.pin_memory()) if pin and not inputs.is_cuda else (inputs, labels)
        return
    yield from DataLoader(
        _Reads(source),
        batch_size=None,
        sampler=order,
        num_workers=workers,
        prefetch_factor=ahead,
        pin_memory=pin,
        # A fork would copy locks that library threads hold; a fresh process opens the store itself.
        multiprocessing_context="spawn",
    )
