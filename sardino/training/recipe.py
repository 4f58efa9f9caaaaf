"""Recipes: every number of a DINO pre-training in one frozen object."""

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

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
        whole patches (sardino.training.pretrain.views_for), whatever its size.

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
