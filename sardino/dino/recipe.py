"""Sizes, recipes and runs: every number of a pre-training, declared once for code, profiles and command line."""

import math
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import ConfigDict, Field, model_validator

from sardino.errors import SardinoError
from sardino.options import Count, Flag, Number, Options, Share

Network = Literal["teacher", "student"]
Precision = Literal["auto", "float32", "bfloat16"]
Positive = Annotated[Number, Field(gt=0)]
Rate = Annotated[Number, Field(ge=0)]
Scale = tuple[Positive, Positive]
Decibels = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class ViTSize:
    """ViT-Tiny/16 is (192, 12, 3, 16), ViT-Base/16 is (768, 12, 12, 16) (paper, section 3 and Table 3)."""

    width: Count  # embedding dimension
    depth: Count  # number of blocks
    heads: Count  # attention heads; divides the width
    patch: Count  # side of a patch in pixels; divides the tile
    texture: bool = field(default=False, kw_only=True)  # whether the patch embedding sees sardino.dino.texture as well

    # Read as a part of a profile, a misspelt key is an error.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise SardinoError(f"{self.heads} heads do not divide a width of {self.width}")
        if self.texture and self.patch % 2:
            raise SardinoError(f"texture is of quadrants, and {self.patch} px have none: give an even patch")

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; a ViT without texture or registers is told as it was before there were any."""
        return {name: value for name, value in asdict(self).items() if name not in ("texture", "registers") or value}


# Width, blocks and heads: timm's ViT-Tiny, -Small and -Base, and what a laptop trains in minutes.
NAMED = {"tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12), "laptop": (96, 6, 3)}


def size_of(name: str, patch: int, texture: bool = False) -> ViTSize:
    """The size of a named ViT, or of "WIDTHxBLOCKSxHEADS"."""
    if name in NAMED:
        return ViTSize(*NAMED[name], patch, texture=texture)
    parts = name.split("x")
    if len(parts) != 3 or not all(part.isdigit() and int(part) for part in parts):
        raise SardinoError(f"a ViT is {', '.join(NAMED)} or WIDTHxBLOCKSxHEADS such as 192x12x3, not {name}")
    width, depth, heads = map(int, parts)
    return ViTSize(width, depth, heads, patch, texture=texture)


class Distilling(Options):
    """What DINO's objectives read (sardino.dino.distillation)."""

    freeze_prototypes_epochs: Rate = 1
    centre_momentum: Annotated[Number, Field(ge=0, le=1)] = 0.9
    student_temperature: Positive = 0.1
    warmup_teacher_temperature: Positive = 0.04
    teacher_temperature: Annotated[
        Positive, "After teacher_warmup_epochs; may lie below the warm-up value, as in the paper."
    ] = 0.07
    teacher_warmup_epochs: Rate = 30
    hidden: Annotated[Count, "Width of the head's layers."] = 2048
    bottleneck: Annotated[Count, "Width before the prototypes."] = 256
    prototypes: Annotated[Count, "K, the head's outputs."] = 65536
    global_crops: Annotated[int, Field(ge=1)] = 2
    global_scale: Annotated[Scale, "Share of a tile that a crop shows, from, to."] = (0.4, 1.0)
    local_crops: Annotated[int, Field(ge=0)] = 8
    local_scale: Scale = (0.05, 0.4)


class Masking(Options):
    """What objectives read that hide patches (sardino.dino.visible)."""

    masked: Annotated[Share, "Of a tile's blocks of patches, those that are hidden."] = 0.55


class Telling(Options):
    """What those read besides that tell what is hidden."""

    hide_seasons: Annotated[Share, "Of the tiles, those of which whole seasons are hidden too."] = 0.5
    visible_weight: Annotated[Share, "Of the error where nothing is hidden, beside 1 where it is."] = 0.1


class Decoding(Options):
    """The decoder that tells, of one that is thrown away."""

    decoder_width: Annotated[int, Field(gt=0, multiple_of=32)] = 64
    decoder_depth: Count = 2


class WithUNet(Options):
    """The U-Net that tells, of one that is kept (sardino.dino.dense): as the one that is fine-tuned."""

    unet_width: Annotated[Count, "Channels at full size; they double at each level down."] = 16
    unet_depth: Annotated[Count, "Levels below the first."] = 3


Objective = Literal["dino", "dino-masked", "pixels", "filtered", "dense"]
READS: dict[str, tuple[type[Options], ...]] = {
    "dino": (Distilling,),
    "dino-masked": (Distilling, Masking),
    "pixels": (Masking, Telling, Decoding),
    "filtered": (Masking, Telling, Decoding),
    "dense": (Masking, Telling, WithUNet),
}


class Recipe(Distilling, Masking, Telling, Decoding, WithUNet):
    """What is learnt and how fast; lengths in epochs. The defaults are the reference's (Caron et al. 2021)."""

    name: Annotated[str, "What to call it in tables."] = "dino"
    objective: Annotated[Objective, "What is learnt."] = "dino"
    base_learning_rate: Annotated[Rate, "Peak rate, per 256 images of a batch where scale_learning_rate is on."] = 5e-4
    scale_learning_rate: bool = True
    final_learning_rate: Rate = 1e-6
    warmup_epochs: Rate = 10
    weight_decay: Rate = 0.04
    final_weight_decay: Rate = 0.4
    clip: Annotated[Positive, "Largest norm of each parameter's gradient."] = 3.0
    momentum: Annotated[Number, Field(ge=0, le=1), "Of the teacher at the start."] = 0.996
    final_momentum: Annotated[Number, Field(ge=0, le=1)] = 1.0
    drop_path: Annotated[Number, Field(ge=0, le=1)] = 0.1

    @property
    def unread(self) -> set[str]:
        """Options of other objectives."""
        parts: tuple[type[Options], ...] = (Distilling, Masking, Telling, Decoding, WithUNet)
        return {name for part in parts if part not in READS[self.objective] for name in part.model_fields}

    def changed(self, **changes: Any) -> Self:
        """As of `Options`; what the objective does not read is refused."""
        made = super().changed(**changes)
        if unread := sorted(made.unread & changes.keys()):
            raise SardinoError(f"the objective '{made.objective}' does not read {', '.join(unread)}: leave it out")
        return made

    def learning_rate(self, batch: int) -> float:
        """Peak learning rate for a global batch of this many images."""
        return self.base_learning_rate * batch / 256 if self.scale_learning_rate else self.base_learning_rate

    def fitted(self, images: int, steps: int) -> "Recipe":
        """A recipe that is not of a fixed source, for a data set of this size and a run of this length.

        K = 65536 with its head of 22 million parameters suits a million images: 1024 serve up to 20,000, the
        reference's 65536 from 500,000, powers of two between; the head's layers shrink along. The teacher remembers
        a fifth of the run at most, so that it has left its start behind by the end. Local crops are half a tile, in
        whole patches (sardino.dino.views), whatever its size.
        """
        if self.name not in FITTED:
            return self
        share = math.log(max(images, 1) / 20_000) / math.log(500_000 / 20_000)
        doublings = round(6 * min(max(share, 0.0), 1.0))
        sizes = {"prototypes": 1024 << doublings, "hidden": 512 << doublings // 3, "bottleneck": 128 << doublings // 6}
        read = {name: size for name, size in sizes.items() if name not in self.unread}
        return self.changed(momentum=min(DINO.momentum, max(0.9, 1 - 5 / max(steps, 1))), **read)

    def to_dict(self) -> dict[str, Any]:
        """What is read, as JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in self if k not in self.unread}


# The reference, for data sets of a million images.
DINO = Recipe()
# The paper's Table 3; what the table leaves out is the reference's.
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
# DINO scaled down to hundreds of tiles and minutes: smaller head, faster teacher, constant temperatures.
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
# SMALL, and its loss for hidden patches of the large crops.
DINO_MASKED = SMALL.changed(name="dino-masked", objective="dino-masked", masked=0.3)
# Masked modelling: means and deviations of boxes of pixels, seasons hidden too; and the pixels themselves.
FILTERED = Recipe(
    name="filtered",
    objective="filtered",
    base_learning_rate=1e-3,
    scale_learning_rate=False,
    warmup_epochs=2,
    weight_decay=0.05,
    final_weight_decay=0.05,
    momentum=0.99,
    drop_path=0.0,
)
PIXELS = FILTERED.changed(name="pixels", objective="pixels", masked=0.75, hide_seasons=0.0, visible_weight=0.0)
# The hybrid with its decoder, which learns as convolutions do: faster.
DENSE = FILTERED.changed(name="dense", objective="dense", base_learning_rate=2e-3, masked=0.7, visible_weight=0.05)
RECIPES = {recipe.name: recipe for recipe in (DINO, PAPER, SMALL, DINO_MASKED, PIXELS, FILTERED, DENSE)}
FITTED = ("small", "dino-masked", "pixels", "filtered", "dense")


def find_recipe(name: str, **changes: Any) -> Recipe:
    """A named recipe with changes; an unknown name is refused."""
    if name not in RECIPES:
        raise SardinoError(f"no recipe is named '{name}'; there are {', '.join(sorted(RECIPES))}")
    return RECIPES[name].changed(**changes)


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


class Rates(NamedTuple):
    """What changes from step to step: at every step the numbers of the reference implementation."""

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
        epoch, ramped = step // steps_per_epoch, round(recipe.teacher_warmup_epochs)
        return cls(
            warmup_cosine(recipe.learning_rate(batch), recipe.final_learning_rate, step, steps, warmup),
            cosine(recipe.weight_decay, recipe.final_weight_decay, step, steps),
            cosine(recipe.momentum, recipe.final_momentum, step, steps),
            ramp(recipe.warmup_teacher_temperature, recipe.teacher_temperature, epoch, ramped),
            step < recipe.freeze_prototypes_epochs * steps_per_epoch,
        )


class Physics(Options):
    """How strongly views vary as radar itself does (sardino.dino.radar_views); the defaults change nothing."""

    looks: Annotated[
        float | None,
        Field(gt=0, allow_inf_nan=False),
        "SAR view: gamma speckle of so many looks, on top of the speckle that the data has.",
    ] = None
    gain_db: Annotated[Decibels, "SAR view: standard deviation in dB of one gain per view and polarisation."] = 0.0
    # Its sign and size are drawn; a descending orbit, which looks west, has it the other way round.
    ramp_db: Annotated[Decibels, "SAR view: largest incidence ramp across a view, west to east, in dB."] = 0.0
    drop_season: Annotated[Share, "SAR view: chance to miss a season."] = 0.0
    orbit_swap: Annotated[Share, "SAR view: chance to swap ascending and descending passes."] = 0.0
    seasons_as_views: Annotated[bool, "SAR view: each view shows one season, in the places of all."] = False

    @model_validator(mode="after")
    def _one_season_is_not_dropped(self) -> Self:
        if self.drop_season and self.seasons_as_views:
            raise ValueError("a view of one season has no other to drop: choose drop_season or seasons_as_views")
        return self

    @property
    def off(self) -> bool:
        """Whether views are left as they are, bit for bit."""
        return self == Physics()


class Training(Options):
    """What a profile says of each pre-training besides its recipe: length, size, memory, looks on the way."""

    steps: Annotated[Count, "Length in steps."]
    batch: Annotated[
        int, Field(ge=2), "Tiles of a step over all ranks; more is steadier: 32 at least, 256 if they fit."
    ]
    accumulate: Annotated[Count, "Micro-batches of a step on each rank: less memory, the same result."] = 1
    precision: Annotated[
        Precision, "auto: bfloat16 where the GPU or CPU is faster with it, else float32; or either."
    ] = "auto"
    compiled: Annotated[
        bool, "Let torch.compile fuse blocks: minutes first; on a CPU for thousands of steps.", Flag("--compile")
    ] = False
    checkpointing: Annotated[bool, "Compute activations twice to save memory: ViT-Base, large tiles."] = False
    probe_every: Annotated[int, Field(ge=0), "Steps between probes of the teacher; 0 for one at the end."] = 0
    save_every: Annotated[int, Field(ge=0), "Steps between snapshots; 0 for one at the end."] = 0
    physics: Physics = Physics()


class Run(Training):
    """A pre-training besides its recipe: that, and what each start of it decides."""

    seed: Annotated[int, "Weights, order, crops and dropped layers; three seeds tell luck from learning."] = 0
    workers: Annotated[int, Field(ge=0), "Processes that read ahead; raise while the log's data_wait exceeds 0.1."] = 0
    watch_every: Annotated[int, Field(ge=0), "Steps between lines of the log; 0 for the last alone."] = 5
    keep: Annotated[int, Field(ge=1), "Newest snapshots to keep, besides the best by probe."] = 2

    def decides(self) -> dict[str, Any]:
        """What the result depends on, beyond rounding."""
        return {"steps": self.steps, "batch": self.batch, "seed": self.seed, "physics": dict(self.physics)}
