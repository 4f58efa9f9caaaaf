"""Paired differences between cells, with intervals over geographic bands."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.at_paper_size.lab import Lab
from sardino.evaluation.bootstrap import paired_interval


def contrasts(lab: Lab, confusions: dict[tuple[str, str, str, float], NDArray[np.int64]]) -> list[dict[str, Any]]:
    """Paired differences of mIoU that the paper's claims are about: with and without pre-training, and attention."""
    blocks = lab.scenes.band[lab.scenes.numbers("test", ("europe",))]
    result = []
    for (arm, encoding, initialisation, fraction), ours in confusions.items():
        others = [(arm, encoding, "scratch", fraction)] if initialisation != "scratch" else []
        if encoding == "unet_attention":
            others.append((arm, "unet", "scratch", fraction))
        for other in others:
            if other in confusions:
                value, low, high = paired_interval(ours[None], confusions[other][None], blocks, seed=lab.seed)
                result.append(
                    {
                        "regions": arm,
                        "fraction": fraction,
                        "ours": f"{encoding} {initialisation}",
                        "theirs": f"{other[1]} {other[2]}",
                        "difference": value,
                        "low": low,
                        "high": high,
                    }
                )
    return result
