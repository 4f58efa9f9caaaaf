"""How a pre-training is run, besides its recipe."""

from dataclasses import asdict, dataclass, field
from typing import Any

from sardino.training.device import Precision
from sardino.training.sar_views import Physics


@dataclass(frozen=True)
class Run:
    """How long, how large and on what terms, besides the recipe.

    Args:
        steps, batch: length of the run and tiles of a step, over all ranks and micro-batches.
        seed: decides weights, order, crops and dropped layers.
        accumulate: micro-batches of a step on each rank; exact (see Learner.step), so that a batch larger than
            the memory gives the same result.
        precision, compiled, checkpointing: see Learner.
        workers: processes that read tiles ahead.
        watch_every, probe_every, save_every: steps between looks, probes and snapshots; 0 for none but the last.
        keep: newest snapshots that stay, besides the best by probe.
        physics: views beyond crops and flips.
    """

    steps: int
    batch: int
    seed: int = 0
    accumulate: int = 1
    precision: Precision = "auto"
    compiled: bool = False
    checkpointing: bool = False
    workers: int = 0
    watch_every: int = 5
    probe_every: int = 0
    save_every: int = 0
    keep: int = 2
    physics: Physics = field(default_factory=Physics)

    def decides(self) -> dict[str, Any]:
        """What the result depends on, beyond rounding."""
        return {"steps": self.steps, "batch": self.batch, "seed": self.seed, "physics": asdict(self.physics)}
