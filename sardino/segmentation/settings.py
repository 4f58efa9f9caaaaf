"""How a segmenter is fine-tuned: declared once for code, profiles and the command line."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from sardino.dino.recipe import Precision
from sardino.options import Count, Flag, Options, Share

# Attention maps to a U-Net, tokens to a decoder, backscatter to a U-Net, backscatter and maps to a U-Net; beyond the
# paper, backscatter to a U-Net whose lowest level sees tokens too.
EncodingName = Literal["attention", "tokens", "unet", "unet_attention", "hybrid"]
Loss = Literal["cross-entropy", "one-vs-rest"]
Positive = Annotated[float, Field(gt=0)]

# What the paper says of fine-tuning: no turns, no average, one stage; and, in the second line, what it leaves open.
PAPER: dict[str, Any] = {
    **{"epochs": 100, "turns": False, "ema": 0.0, "keep": "best", "head_share": 0.0, "layer_decay": 1.0, "growth": 0.0},
    **{"balance": 0.0, "batch": 32, "lr": 1e-4, "tokens_lr": 1.0, "backbone_lr": 1e-4, "pretrained_lr": 1e-4},
}
GRID = (0.5, 1.0, 2.0)  # times `lr`: the rates that are tried unless others are given


class Settings(Options):
    """One set of numbers for every arm, so that arms differ in nothing else.

    The defaults are the recipe "fair"; "paper" is the paper's own way (section 3), changed by what is given beside it.
    """

    recipe: Annotated[Literal["fair", "paper"], "fair: these defaults; paper: the paper's own way."] = "fair"
    steps: Annotated[Count, "Optimiser steps with 100 labelled tiles."] = 1000
    growth: Annotated[float, Field(ge=0), "Steps are times (labelled tiles / 100) to this power; 0: all alike."] = 0.2
    most_steps: Annotated[Count | None, "However many tiles there are."] = None
    epochs: Annotated[float | None, Field(gt=0), "Passes over the labelled tiles, instead of steps."] = None
    batch: Annotated[Count, "Tiles of a step; of few labelled ones each comes up about as often."] = 8
    lr: Annotated[Positive, "The decoder's peak rate of AdamW's warm-up and cosine."] = 2e-2
    tokens_lr: Annotated[Positive, "That of a token decoder, times `lr`: it takes less than a U-Net."] = 0.125
    backbone_lr: Annotated[Positive, "That of a ViT from scratch: it takes less than convolutions."] = 5e-4
    pretrained_lr: Annotated[
        Positive, "That of a pre-trained ViT's top block; its lowest then learns about as one from scratch."
    ] = 1e-3
    layer_decay: Annotated[Share, "Rate of each lower block of a pre-trained ViT, as a share of the one above."] = 0.9
    head_share: Annotated[Share, "Share of the steps in which a pre-trained ViT waits for its decoder."] = 0.2
    turns: Annotated[
        bool, "Show each drawn tile in one of the eight ways to turn and flip a square.", Flag("--turns/--no-turns")
    ] = True
    ema: Annotated[float, Field(ge=0, lt=1), "Decay of the weights' moving average, which is scored; 0: none."] = 0.99
    keep: Annotated[Literal["last", "best"], "Test the last state, or the best at a look."] = "last"
    looks: Annotated[int, Field(gt=0, multiple_of=5), "Times that the validation tiles are scored, evenly."] = 10
    loss: Annotated[Loss, "Over classes, or one-vs-rest: a binary cross-entropy of each class."] = "cross-entropy"
    balance: Annotated[Share, "A pixel weighs its class's frequency to the power of minus this; 0: all alike."] = 0.5
    unlabelled: Annotated[
        int, Field(ge=0), "Tiles without labels beside each batch, told what the average says of them; 0: none."
    ] = 0
    confidence: Annotated[Share, "How probable a class must be there to be told."] = 0.8
    weight_decay: Annotated[float, Field(ge=0), "Of matrices; biases and norms go without."] = 0.01
    clip: Annotated[Positive, "Largest norm of each parameter's gradient."] = 3.0
    precision: Annotated[Precision, "auto: bfloat16 where the GPU or CPU is faster with it; or either."] = "auto"

    @model_validator(mode="before")
    @classmethod
    def _as_the_recipe_has_it(cls, given: Any) -> Any:
        return {**PAPER, **given} if isinstance(given, dict) and given.get("recipe") == "paper" else given

    def steps_for(self, labelled_tiles: int) -> int:
        """Optimiser steps on this many labelled tiles."""
        if self.epochs is not None:
            return max(1, math.ceil(self.epochs * labelled_tiles / self.batch))
        steps = max(1, round(self.steps * (labelled_tiles / 100) ** self.growth))
        return min(steps, self.most_steps or steps)

    def of(self, encoding: EncodingName) -> Self:
        """As an arm takes them: its decoder's rate is `lr`."""
        return self.changed(lr=self.lr * self.tokens_lr, tokens_lr=1.0) if encoding == "tokens" else self

    def scaled(self, lr: float) -> Self:
        """With this rate for the decoder, and the others in proportion."""
        by = lr / self.lr
        return self.changed(lr=lr, backbone_lr=self.backbone_lr * by, pretrained_lr=self.pretrained_lr * by)

    def shortened(self, share: float) -> Self:
        """With this share of the steps, and few looks."""
        epochs = None if self.epochs is None else self.epochs * share
        most = None if self.most_steps is None else max(1, round(self.most_steps * share))
        return self.changed(steps=max(1, round(self.steps * share)), most_steps=most, epochs=epochs, looks=5)
