"""Recipes: every number of a DINO pre-training in one frozen object."""

import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from sardino.dino.radar_views import Physics
from sardino.dino.runtime import Precision
from sardino.errors import SardinoError


@dataclass(frozen=True)
class Recipe:
    """How a pre-training runs; lengths in epochs, sizes in pixels, rates per step.

    The defaults are the reference implementation's (Caron et al. 2021).

    Args:
        name: what to call it in tables.
        base_learning_rate: peak rate per 256 images of a batch if `scale_learning_rate`, else the rate itself.
        teacher_temperature: after `teacher_warmup_epochs`; may lie below the warm-up value, as in the paper.
        prototypes: K, the head's outputs.
    """

    name: str = "dino"
    base_learning_rate: float = 5e-4
    scale_learning_rate: bool = True
    final_learning_rate: float = 1e-6
    warmup_epochs: float = 10
    weight_decay: float = 0.04
    final_weight_decay: float = 0.4
    clip: float = 3.0
    freeze_prototypes_epochs: float = 1
    momentum: float = 0.996
    final_momentum: float = 1.0
    centre_momentum: float = 0.9
    student_temperature: float = 0.1
    warmup_teacher_temperature: float = 0.04
    teacher_temperature: float = 0.07
    teacher_warmup_epochs: float = 30
    hidden: int = 2048
    bottleneck: int = 256
    prototypes: int = 65536
    drop_path: float = 0.1
    global_crops: int = 2
    global_scale: tuple[float, float] = (0.4, 1.0)
    local_crops: int = 8
    local_scale: tuple[float, float] = (0.05, 0.4)

    def learning_rate(self, batch: int) -> float:
        """Peak learning rate for a global batch of this many images."""
        return self.base_learning_rate * batch / 256 if self.scale_learning_rate else self.base_learning_rate

    def fitted(self, images: int, steps: int) -> "Recipe":
        """The "small" recipe for a data set of this size and a run of this length; any other recipe as it is.

        K = 65536 with its head of 22 million parameters suits a million images: 1024 serve up to 20,000, the
        reference's 65536 from 500,000, powers of two between; the head's layers shrink along. The teacher remembers
        a fifth of the run at most, so that it has left its start behind by the end. Local crops are half a tile, in
        whole patches (sardino.dino.pretrain.views_for), whatever its size.

        Args:
            images: tiles to train on.
            steps: length of the run.
        """
        if self.name != "small":
            return self
        share = math.log(max(images, 1) / 20_000) / math.log(500_000 / 20_000)
        doublings = round(6 * min(max(share, 0.0), 1.0))
        return self.changed(
            prototypes=1024 << doublings,
            hidden=512 << doublings // 3,
            bottleneck=128 << doublings // 6,
            momentum=min(DINO.momentum, max(0.9, 1 - 5 / max(steps, 1))),
        )

    def changed(self, **changes: Any) -> "Recipe":
        """A copy with some numbers changed; an unknown name is refused."""
        known = {f.name for f in fields(self)}
        if unknown := sorted(set(changes) - known):
            raise SardinoError(f"recipe '{self.name}' has no {', '.join(unknown)}; it has {', '.join(sorted(known))}")
        ranges = {k: tuple(v) for k, v in changes.items() if isinstance(v, list)}
        return replace(self, **{**changes, **ranges})

    def to_dict(self) -> dict[str, Any]:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


DINO = Recipe()
"""The reference recipe, for data sets of a million images."""

PAPER = Recipe(
    name="paper",
    base_learning_rate=1e-6,
    scale_learning_rate=False,
    centre_momentum=0.99,
    student_temperature=0.03,
    warmup_teacher_temperature=0.01,
    teacher_temperature=0.001,
    teacher_warmup_epochs=5,
    local_crops=4,
)
"""The paper's Table 3; what the table leaves out is the reference's."""

SMALL = Recipe(
    name="small",
    base_learning_rate=5e-4,
    scale_learning_rate=False,
    warmup_epochs=2,
    weight_decay=0.04,
    final_weight_decay=0.2,
    momentum=0.99,
    teacher_temperature=0.04,
    teacher_warmup_epochs=0,
    hidden=512,
    bottleneck=128,
    prototypes=1024,
    drop_path=0.0,
    local_crops=4,
)
"""DINO scaled down to hundreds of tiles and minutes: smaller head, faster teacher, constant temperatures."""

RECIPES = {recipe.name: recipe for recipe in (DINO, PAPER, SMALL)}


def find_recipe(name: str, **changes: Any) -> Recipe:
    """A named recipe with changes; an unknown name is refused."""
    if name not in RECIPES:
        raise SardinoError(f"no recipe is named '{name}'; there are {', '.join(sorted(RECIPES))}")
    return RECIPES[name].changed(**changes)


# Values that change over training: one number per step, at every step those of the reference implementation.


def cosine(start: float, end: float, step: int, steps: int) -> float:
    """From `start` at step 0 along half a cosine that would meet `end` at step `steps`, one after the last."""
    progress = min(step / max(steps, 1), 1.0)
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def warmup_cosine(peak: float, end: float, step: int, steps: int, warmup: int) -> float:
    """Linearly from 0 to `peak` in `warmup` steps, both of them included, then along half a cosine towards `end`."""
    if step < warmup:
        return peak * step / max(warmup - 1, 1)
    return cosine(peak, end, step - warmup, steps - warmup)


def ramp(start: float, end: float, epoch: int, epochs: int) -> float:
    """Linearly from `start` to `end` in `epochs` epochs, both of them included, and `end` after; rising or falling."""
    last = max(epochs - 1, 1)
    if epochs <= 0 or epoch >= last:
        return end
    return start + (end - start) * epoch / last


@dataclass(frozen=True)
class Rates:
    """What changes from step to step."""

    learning_rate: float
    weight_decay: float
    momentum: float
    teacher_temperature: float
    prototypes_frozen: bool

    @classmethod
    def at(cls, step: int, steps: int, steps_per_epoch: int, batch: int, recipe: Recipe) -> "Rates":
        """Of one step: learning rate, weight decay and momentum change each step, the temperature each epoch.

        Args:
            step, steps: this one, from 0, and how many there are.
            steps_per_epoch: turns the recipe's epochs into steps.
            batch: tiles of a step over all ranks and micro-batches.
        """
        warmup = min(round(recipe.warmup_epochs * steps_per_epoch), steps)
        return cls(
            warmup_cosine(recipe.learning_rate(batch), recipe.final_learning_rate, step, steps, warmup),
            cosine(recipe.weight_decay, recipe.final_weight_decay, step, steps),
            cosine(recipe.momentum, recipe.final_momentum, step, steps),
            ramp(
                recipe.warmup_teacher_temperature,
                recipe.teacher_temperature,
                step // steps_per_epoch,
                round(recipe.teacher_warmup_epochs),
            ),
            step < recipe.freeze_prototypes_epochs * steps_per_epoch,
        )


# How a pre-training is run, besides its recipe.


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
