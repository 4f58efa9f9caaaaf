"""Signs that a pre-training learns, collapses or stands still; the loss alone tells none of it.

A DINO loss near ln K is collapse to the uniform, one near 0 may be collapse to a constant or confident agreement:
the entropy of the mean target tells these apart (Caron et al. 2021, section 5.3).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sardino.errors import SardinoError

MEASURES = ("loss", "teacher_entropy", "batch_entropy", "kl", "centre_norm", "feature_std", "effective_rank")
COLUMNS = (
    *("step", "epoch", *MEASURES, "distance", "gradient_norm", "learning_rate", "weight_decay", "momentum"),
    *("teacher_temperature", "images_per_s", "data_wait", "memory_gib"),
)
PROBES = ("step", "knn", "linear")


@torch.no_grad()
def measure(
    *, loss: Tensor, logits: Tensor, centre: Tensor, teacher_temperature: float, features: Tensor, gradient_norm: Tensor
) -> dict[str, float]:
    """What one step tells; the device is asked once.

    Args:
        loss: () nats.
        logits: (N, K) of the teacher.
        centre: (1, K) before it moved.
        teacher_temperature: of this step.
        features: (N, D) class tokens of the student.
        gradient_norm: () before clipping.

    Returns:
        loss; teacher_entropy: mean entropy of a target, nats; batch_entropy: entropy of the mean target, nats, near 0
        where all tiles get one answer; kl: loss - teacher_entropy, what the student can still learn; centre_norm;
        feature_std: spread of the unit features times sqrt(D), 0 a constant and 1 an even spread; effective_rank:
        exp of the entropy of the features' normalised singular values (Roy and Vetterli 2007); gradient_norm.
    """
    target = ((logits.float() - centre) / teacher_temperature).softmax(-1)
    entropy, of_mean = _entropy(target).mean(), _entropy(target.mean(0))
    unit = F.normalize(features.float(), dim=-1)
    spread = unit.std(0, correction=0).square().sum().sqrt()  # sqrt(D) times the root mean square over dimensions
    singular = torch.linalg.svdvals(features.float() - features.float().mean(0))
    rank = _entropy(singular / singular.sum().clamp_min(1e-30)).exp()
    values = [loss, entropy, of_mean, loss - entropy, centre.norm(), spread, rank, gradient_norm]
    found = torch.stack([value.detach().float() for value in values]).tolist()
    return dict(zip((*MEASURES, "gradient_norm"), found, strict=True))


def _entropy(probability: Tensor) -> Tensor:
    """Of the last dimension, in nats."""
    return -torch.special.xlogy(probability, probability).sum(-1)


@dataclass
class History:
    """What was watched, a list per column of COLUMNS, and what was probed, a list per column of PROBES.

    Args:
        ln_k: entropy of a teacher that says nothing.
    """

    ln_k: float
    columns: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in COLUMNS})
    probes: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in PROBES})

    def __getattr__(self, name: str) -> list[float]:
        if name in COLUMNS:
            return self.columns[name]
        raise AttributeError(name)

    def append(self, step: int, values: Mapping[str, float]) -> None:
        """One watched step."""
        _append(self.columns, {"step": step, **values})

    def append_probe(self, step: int, values: Mapping[str, float]) -> None:
        """One probe."""
        _append(self.probes, {"step": step, **values})

    def best_probe(self) -> int | None:
        """The step whose tokens were best by the linear probe, the earlier of equals; None before the first."""
        if not self.probes["step"]:
            return None
        return int(max(zip(self.probes["linear"], (-s for s in self.probes["step"]), strict=True))[1] * -1)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "ln_k": self.ln_k,
            **{name: list(values) for name, values in self.columns.items()},
            "probes": self.probes,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "History":
        """Back from `to_dict`; SardinoError names a column that is missing."""
        missing = [name for name in ("ln_k", *COLUMNS, "probes") if name not in data]
        if missing:
            raise SardinoError(f"a saved history lacks {', '.join(missing)}: start the pre-training anew")
        columns = {name: list(data[name]) for name in COLUMNS}
        return cls(float(data["ln_k"]), columns, {name: list(data["probes"][name]) for name in PROBES})


def _append(columns: dict[str, list[float]], values: Mapping[str, float]) -> None:
    if columns.keys() != values.keys():
        raise SardinoError(f"a history cannot take {', '.join(sorted(columns.keys() ^ values.keys()))}")
    for name, value in values.items():
        columns[name].append(value)


def _uniform(history: History, steps: int) -> str:
    level = 0.99 * history.ln_k
    if _late(history, steps, 0.1) and min(*history.loss[-3:], *history.teacher_entropy[-3:]) > level:
        return f"loss {history.loss[-1]:.2f} and teacher entropy stay at ln K = {history.ln_k:.2f}"
    return ""


def _constant(history: History, steps: int) -> str:
    entropy, rank = history.batch_entropy[-1], history.effective_rank[-1]
    if _late(history, steps, 0.1) and (entropy < 0.02 * history.ln_k or rank < 1.5 or history.feature_std[-1] < 0.01):
        return f"all tiles get one answer (entropy of the mean target {entropy:.3f}, effective rank {rank:.1f})"
    return ""


def _still(history: History, steps: int) -> str:
    moved = history.distance[-1]
    return f"it has moved by {moved:.1g} of its length" if _late(history, steps, 0.25) and moved < 1e-3 else ""


def _rising(history: History, steps: int) -> str:
    tenth = max(3, len(history.kl) // 10)
    if len(history.kl) < 3 * tenth:
        return ""
    lowest = min(sum(history.kl[i : i + tenth]) / tenth for i in range(len(history.kl) - tenth))
    now = sum(history.kl[-tenth:]) / tenth
    return f"KL to the teacher rose from {lowest:.2f} to {now:.2f}" if now > max(2 * lowest, lowest + 0.5) else ""


def _hungry(history: History, steps: int) -> str:
    waits = history.data_wait[-3:]
    return f"it waits {min(waits):.0%} of the time" if len(waits) == 3 and min(waits) > 0.3 else ""


Sign = Callable[[History, int], str]
SIGNS: dict[str, tuple[Sign, str]] = {
    "collapse to the uniform": (
        _uniform,
        "lower the teacher temperature or the number of prototypes, or raise the learning rate",
    ),
    "collapse to a constant": (
        _constant,
        "raise the teacher temperature, let the centre follow faster (centre momentum 0.9), or lower the learning rate",
    ),
    "the backbone does not move": (_still, "raise the learning rate; the paper's 0.000001 needs millions of steps"),
    "the student loses its teacher": (_rising, "lower the learning rate, or raise the momentum"),
    "the step waits for tiles": (_hungry, "read ahead with more workers, or copy the store once with cache 'mapped'"),
}
"""What may go wrong, how it shows, and what to do."""


def warnings_of(history: History, steps: int) -> list[str]:
    """What is wrong with a run of `steps` steps so far, one sentence each; empty where nothing is."""
    if not history.step:
        return []
    found = [(name, sign(history, steps), remedy) for name, (sign, remedy) in SIGNS.items()]
    return [f"{name}: {fact}; {remedy}" for name, fact, remedy in found if fact]


def _late(history: History, steps: int, share: float) -> bool:
    """Whether this share of the run is over, and enough was seen to judge."""
    return len(history.step) >= 3 and history.step[-1] >= share * steps
