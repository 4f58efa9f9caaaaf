"""What a pre-training learns by: what the step asks of an objective, of which each has a file of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from sardino.data.tiles.normalisation import Normalisation
from sardino.dino.recipe import Physics, Rates


class Trainee(nn.Module):
    """A backbone, and what stands on it while it learns."""

    backbone: VisionTransformer

    @property
    def kept(self) -> dict[str, nn.Module]:
        """What is kept besides the backbone, by name."""
        return {}


class Maker(Protocol):
    """What is drawn for a whole batch, and makes of a part of it, (B, C, H, W) dB, what the objective learns from."""

    def draw(self, batch: int, generator: torch.Generator) -> Any: ...

    def __call__(self, tiles_db: Tensor, draws: Any, noise: torch.Generator | None = None) -> Any: ...


@dataclass(frozen=True)
class Part:
    """What a micro-batch told; only the loss has a gradient."""

    loss: Tensor  # ()
    features: Tensor  # (M, d) the student's tokens, in which a collapse would show
    means: dict[str, Tensor]  # over the micro-batch; taken over the whole batch before anything moves
    answers: tuple[tuple[Tensor, Tensor], ...] = ()  # logits (M, K) of the teacher, and their centre (1, K)


class Objective(Protocol):
    """Made with an `Architecture`, a `Recipe` and a device."""

    @property
    def ln_k(self) -> float | None:
        """Entropy of a teacher that says nothing, nats; None where there are no prototypes."""

    @property
    def moving(self) -> dict[str, Tensor]:
        """What moves besides the weights, to be saved and copied back into."""

    def network(self) -> Trainee:
        """The student, random."""

    def views(self, normalisation: Normalisation, physics: Physics, first: Callable[[], Tensor]) -> Maker:
        """What the step is given; `first` reads some tiles in dB, the same ones in each process and start of a run."""

    def learn(self, student: nn.Module, teacher: Trainee, given: Any, rates: Rates) -> Part:
        """The loss of one micro-batch."""

    def settle(self, student: Trainee, means: dict[str, Tensor], rates: Rates) -> None:
        """Move what moves besides the weights, before the optimiser's step."""
