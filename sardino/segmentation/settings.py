"""How a segmenter is fine-tuned: declared once for code, profiles and the command line."""

import math
from typing import Annotated, Literal

from pydantic import Field

from sardino.options import Count, Options

Loss = Literal["cross-entropy", "one-vs-rest"]
Positive = Annotated[float, Field(gt=0)]


class Settings(Options):
    """One set of numbers for every arm, so that arms differ in nothing else."""

    steps: Annotated[Count, "Optimiser steps, for all numbers of labelled tiles alike."]
    epochs: Annotated[
        float | None, Field(gt=0), "Passes over the labelled tiles, instead of steps; the paper's way."
    ] = None
    batch: Annotated[Count, "Tiles of a step, drawn with replacement from the labelled ones."]
    lr: Annotated[Positive, "The decoder's peak rate of AdamW's warm-up and cosine."]
    backbone_lr: Annotated[Positive, "That of a ViT that is trained; it takes less than a convolution with batch norm."]
    validate_every: Annotated[Count, "Steps between looks at the validation tiles; the best state is kept."]
    loss: Annotated[Loss, "cross-entropy over classes, or one-vs-rest: a binary cross-entropy of each class."] = (
        "cross-entropy"
    )
    weight_decay: Annotated[float, Field(ge=0), "Of matrices; biases and norms go without."] = 0.01
    clip: Annotated[Positive, "Largest norm of each parameter's gradient."] = 3.0

    def steps_for(self, labelled_tiles: int) -> int:
        """Optimiser steps on this many labelled tiles."""
        return self.steps if self.epochs is None else max(1, math.ceil(self.epochs * labelled_tiles / self.batch))
