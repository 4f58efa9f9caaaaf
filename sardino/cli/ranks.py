"""A training among the processes of torchrun, and how it ends when it is asked to stop."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from typer import Exit, echo

if TYPE_CHECKING:  # torch takes seconds, which --help shall not
    from sardino.dino.parallel import Parallel

STOPPED = 75  # exit code after a signal: not finished, run the same command again (EX_TEMPFAIL)
Device = Literal["cuda", "mps", "cpu"]
Strategy = Literal["auto", "ddp", "fsdp"]


@contextmanager
def ranks(device: Device | None, strategy: Strategy = "auto") -> Iterator["Parallel"]:
    """This process, on a device or the best there is; once its training has saved and stopped, all exit alike."""
    import torch

    from sardino.dino.parallel import join
    from sardino.dino.pretrain import Stopped
    from sardino.dino.runtime import best_device

    with join(torch.device(device) if device else best_device(), strategy) as parallel:
        try:
            yield parallel
        except Stopped as stopped:
            if parallel.first:
                echo(str(stopped), err=True)
            raise Exit(STOPPED) from stopped
