"""Signs that a pre-training learns, collapses or stands still; the loss alone tells none of it.

A DINO loss near ln K is collapse to the uniform, one near 0 may be collapse to a constant or confident agreement:
the entropy of the mean target tells these apart (Caron et al. 2021, section 5.3). Masked modelling has no prototypes:
its loss is judged beside that of an answer that is always the mean.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sardino.dino.head_and_loss import teacher_probabilities
from sardino.dino.step import Seen
from sardino.errors import SardinoError

MEASURES = ("loss", "teacher_entropy", "batch_entropy", "kl", "centre_norm", "feature_std", "effective_rank")
COLUMNS = (
    *("step", "epoch", *MEASURES, "distance", "gradient_norm", "learning_rate", "weight_decay", "momentum"),
    *("teacher_temperature", "images_per_s", "data_wait", "memory_gib"),
)
OF_PROTOTYPES = ("teacher_entropy", "batch_entropy", "kl", "centre_norm", "teacher_temperature")
PROBES = ("step", "knn", "linear", "line", "beside")
LOOKS = 3  # in a row that must show a sign: one look at a small batch may deceive


def columns_of(ln_k: float | None) -> list[str]:
    """COLUMNS; without prototypes, what takes the place of theirs."""
    if ln_k is not None:
        return list(COLUMNS)
    return [*(name for name in COLUMNS if name not in OF_PROTOTYPES), "explained"]


@torch.no_grad()
def measure(seen: Seen, teacher_temperature: float) -> dict[str, float]:
    """What one step tells; the device is asked once.

    Returns:
        loss; feature_std: spread of the unit features times sqrt(d), 0 a constant and 1 an even spread;
        effective_rank: exp of the entropy of the features' normalised singular values (Roy and Vetterli 2007);
        gradient_norm.

        With prototypes teacher_entropy: mean entropy of a target, nats; batch_entropy: entropy of the mean target,
        nats, near 0 where all tiles get one answer; kl: loss - teacher_entropy, what the student can still learn;
        centre_norm. Without them explained: what the loss is less than that of an answer that is always the mean,
        as a share of it.
    """
    features = seen.features.float()  # (M, d)
    unit = F.normalize(features, dim=-1)
    spread = unit.std(0, correction=0).square().sum().sqrt()  # sqrt(d) times the root mean square over dimensions
    singular = torch.linalg.svdvals(features - features.mean(0))
    rank = _entropy(singular / singular.sum().clamp_min(1e-30)).exp()
    found = {"loss": seen.loss, "feature_std": spread, "effective_rank": rank, "gradient_norm": seen.gradient_norm}
    if seen.answers:
        p_t = [teacher_probabilities(logits, centre, teacher_temperature) for logits, centre in seen.answers]
        entropy, of_mean = (torch.stack(each).mean() for each in zip(*map(_entropies, p_t), strict=True))
        norm = torch.stack([centre.norm() for _, centre in seen.answers]).mean()
        found |= dict(teacher_entropy=entropy, batch_entropy=of_mean, kl=seen.loss - entropy, centre_norm=norm)
    if seen.blank is not None:
        found["explained"] = 1 - seen.loss / seen.blank
    values = torch.stack([value.detach().float() for value in found.values()]).tolist()
    return dict(zip(found, values, strict=True))


def _entropies(probability: Tensor) -> tuple[Tensor, Tensor]:
    """Mean entropy of rows (M, K), and entropy of the mean row."""
    return _entropy(probability).mean(), _entropy(probability.mean(0))


def _entropy(probability: Tensor) -> Tensor:
    """Of the last dimension, in nats."""
    return -torch.special.xlogy(probability, probability).sum(-1)


@dataclass
class History:
    """What was watched, a list per column of `columns_of`, and what was probed, a list per column of PROBES."""

    ln_k: float | None  # entropy of a teacher that says nothing; None where there are no prototypes
    columns: dict[str, list[float]] = field(default_factory=dict)
    probes: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in PROBES})

    def __post_init__(self) -> None:
        self.columns = self.columns or {name: [] for name in columns_of(self.ln_k)}

    def __getattr__(self, name: str) -> list[float]:
        if name in self.__dict__.get("columns", ()):
            return self.columns[name]
        raise AttributeError(name)

    def append(self, step: int, values: Mapping[str, float]) -> None:
        _append(self.columns, {"step": step, **values})

    def append_probe(self, step: int, values: Mapping[str, float]) -> None:
        _append(self.probes, {"step": step, **values})

    def best_probe(self) -> int | None:
        """The step whose tokens were best by the linear probe, the earlier of equals; None before the first."""
        pairs = zip(self.probes["linear"], self.probes["step"], strict=True)
        finite = [(score, -step) for score, step in pairs if math.isfinite(score)]
        return int(-max(finite)[1]) if finite else None

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; what is not finite as None."""
        columns, probes = (
            {name: [value if math.isfinite(value) else None for value in values] for name, values in table.items()}
            for table in (self.columns, self.probes)
        )
        return {"ln_k": self.ln_k, **columns, "probes": probes}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "History":
        """Back from `to_dict`; refused where a column is missing, unknown, or of another length."""
        names = columns_of(data.get("ln_k"))
        odd = {"ln_k", "probes", *names} ^ data.keys() or set(PROBES) ^ data["probes"].keys()
        if odd:
            raise SardinoError(f"a saved history differs in {', '.join(sorted(odd))}: start the pre-training anew")
        tables = (
            {name: [math.nan if value is None else value for value in table[name]] for name in wanted}
            for table, wanted in ((data, names), (data["probes"], PROBES))
        )
        made = cls(data["ln_k"], *tables)
        if any(len({len(values) for values in table.values()}) != 1 for table in (made.columns, made.probes)):
            raise SardinoError("a saved history has columns of different lengths: start the pre-training anew")
        return made


def _append(columns: dict[str, list[float]], values: Mapping[str, float]) -> None:
    if columns.keys() != values.keys():
        raise SardinoError(f"a history cannot take {', '.join(sorted(columns.keys() ^ values.keys()))}")
    for name, value in values.items():
        columns[name].append(value)


SIGNS = {
    "collapse to the uniform": "lower the teacher temperature or the number of prototypes, or raise the learning rate",
    "collapse to a constant": (
        "raise the teacher temperature, let the centre follow faster (centre momentum 0.9), or lower the learning rate"
    ),
    "the tokens are alike": "lower the learning rate, or hide more",
    "nothing is explained": "raise the learning rate, or hide less",
    "the backbone does not move": "raise the learning rate; the paper's 0.000001 needs millions of steps",
    "the student loses its teacher": "lower the learning rate, or raise the momentum",
    "the step waits for tiles": "read ahead with more workers",
}
"""What may go wrong, and what to do."""


def warnings_of(history: History, steps: int, warmup_epochs: float = 0.0) -> list[str]:
    """What is wrong with a run so far, one sentence each; empty where nothing is, or too little was seen.

    Args:
        steps: the run's length.
        warmup_epochs: of the learning rate; until they are over, or half of the run, nobody can have learned.
    """
    if len(history.step) < LOOKS:
        return []
    progress = (history.step[-1] + 1) / steps
    if history.epoch[-1] < warmup_epochs and progress < 0.5:
        progress = 0.0
    return [f"{sign}: {fact}; {SIGNS[sign]}" for sign, fact in _signs(history, progress)]


def _signs(history: History, progress: float) -> Iterator[tuple[str, str]]:
    """Those of SIGNS that show, and how, where the share `progress` of the run is done."""
    recent = {name: values[-LOOKS:] for name, values in history.columns.items()}
    if progress > 0.1:
        yield from _collapse(history, recent) if history.ln_k is not None else _blank(recent)
    moved = history.distance[-1]
    if progress > 0.25 and moved < 1e-3:
        yield "the backbone does not move", f"it has moved by {moved:.1g} of its length"
    kl = [value for value in history.columns.get("kl", ()) if math.isfinite(value)]
    tenth = max(LOOKS, len(kl) // 10)
    if len(kl) >= 3 * tenth:
        sums = [0.0, *itertools.accumulate(kl)]
        means = [(sums[i + tenth] - sums[i]) / tenth for i in range(len(kl) - tenth + 1)]
        lowest, now = min(means), means[-1]
        if now > max(2 * lowest, lowest + 0.5):
            yield "the student loses its teacher", f"KL to the teacher rose from {lowest:.2f} to {now:.2f}"
    waits = min(recent["data_wait"])
    if waits > 0.3:
        yield "the step waits for tiles", f"it waits {waits:.0%} of the time"


def _collapse(history: History, recent: Mapping[str, list[float]]) -> Iterator[tuple[str, str]]:
    """Of a teacher that answers in prototypes."""
    assert history.ln_k is not None
    if min(recent["loss"] + recent["teacher_entropy"]) > 0.99 * history.ln_k:
        loss, ln_k = history.loss[-1], history.ln_k
        yield "collapse to the uniform", f"loss {loss:.2f} and teacher entropy stay at ln K = {ln_k:.2f}"
    looks = zip(recent["batch_entropy"], recent["effective_rank"], recent["feature_std"], strict=True)
    if all((entropy < 0.02 * history.ln_k and rank < 2) or std < 0.01 for entropy, rank, std in looks):
        entropy, rank = history.batch_entropy[-1], history.effective_rank[-1]
        fact = f"entropy of the mean target {entropy:.3f}, effective rank {rank:.1f}"
        yield "collapse to a constant", f"all tiles get one answer ({fact})"


def _blank(recent: Mapping[str, list[float]]) -> Iterator[tuple[str, str]]:
    """Of masked modelling: what it answers is the mean, or its tokens are one."""
    if max(recent["explained"]) < 0.01:
        yield "nothing is explained", f"its loss is {1 - recent['explained'][-1]:.3f} of a constant answer's"
    if max(recent["feature_std"]) < 0.01 or max(recent["effective_rank"]) < 2:
        rank, std = recent["effective_rank"][-1], recent["feature_std"][-1]
        yield "the tokens are alike", f"effective rank {rank:.1f}, spread {std:.3f}"
