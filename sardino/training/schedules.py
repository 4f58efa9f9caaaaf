"""Values that change over training: one number per step, at every step those of the reference implementation."""

import math
from dataclasses import dataclass

from sardino.training.recipe import Recipe


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
