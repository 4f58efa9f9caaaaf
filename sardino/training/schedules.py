"""Values that change over training: one number per step."""

import math


def cosine(start: float, end: float, step: int, steps: int) -> float:
    """From `start` at step 0 to `end` at step steps - 1 along half a cosine."""
    progress = min(step / max(steps - 1, 1), 1.0)
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def warmup_cosine(peak: float, end: float, step: int, steps: int, warmup: int) -> float:
    """Linearly from 0 to `peak` over `warmup` steps, then along half a cosine to `end`."""
    if step < warmup:
        return peak * step / warmup
    return cosine(peak, end, step - warmup, steps - warmup)


def ramp(start: float, end: float, epoch: int, epochs: int) -> float:
    """Linearly from `start` at epoch 0 to `end` at epoch `epochs` and there after; rising or falling."""
    if epochs <= 0 or epoch >= epochs:
        return end
    return start + (end - start) * epoch / epochs
