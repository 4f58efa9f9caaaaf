import json
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from sardino.dino.health import SIGNS, History, measure, warnings_of
from sardino.dino.step import Seen
from sardino.errors import SardinoError

LOOKS = 40


def history(prototypes: bool = True, **planted: Callable[[float], float]) -> History:
    """A healthy run of 40 looks with some columns planted, as functions of the share that is done."""
    healthy: dict[str, Callable[[float], float]] = {
        "loss": lambda done: 4 - 2 * done,
        "teacher_entropy": lambda done: 3.5 - 2 * done,
        "batch_entropy": lambda done: 5.0,
        "kl": lambda done: 0.5,
        "effective_rank": lambda done: 10 + 10 * done,
        "feature_std": lambda done: 0.5,
        "distance": lambda done: 0.1 * done,
        "data_wait": lambda done: 0.01,
        "explained": lambda done: 0.3 * done,
    }
    made = History(ln_k=math.log(256) if prototypes else None)
    for look in range(LOOKS):
        columns = healthy | planted
        values = {name: columns.get(name, lambda done: 1.0)(look / LOOKS) for name in made.columns if name != "step"}
        made.append(5 * look, values | {"epoch": look})
    return made


@pytest.mark.parametrize(
    ("samples", "k", "width", "temperature"), [(8, 16, 5, 0.07), (64, 512, 24, 0.04), (9, 64, 3, 0.001)]
)
def test_measures_are_the_textbook_ones(samples: int, k: int, width: int, temperature: float) -> None:
    rng = np.random.default_rng(samples)
    logits, centre, features = (
        rng.uniform(-1, 1, (samples, k)),
        rng.normal(0, 0.1, (1, k)),
        rng.normal(1, 2, (samples, width)),
    )
    tensors = [torch.tensor(values, dtype=torch.float32) for values in (9.0, features, 2.5, logits, centre)]
    found = measure(Seen(*tensors[:3], (tuple(tensors[3:]),)), temperature)
    z = (logits - centre) / temperature
    target = np.exp(z - z.max(1, keepdims=True))
    target /= target.sum(1, keepdims=True)

    def entropy(p: np.ndarray) -> float:
        p = p[p > 0]
        return float(-(p * np.log(p)).sum())

    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    singular = np.sqrt(np.maximum(np.linalg.eigvalsh(np.cov(features.T, bias=True)), 0))
    each = np.mean([entropy(row) for row in target])
    expected = {
        "loss": 9.0,
        "teacher_entropy": each,
        "batch_entropy": entropy(target.mean(0)),
        "kl": 9 - each,
        "centre_norm": np.linalg.norm(centre),
        "feature_std": math.sqrt(1 - np.linalg.norm(unit.mean(0)) ** 2),
        "effective_rank": math.exp(entropy(singular / singular.sum())),
        "gradient_norm": 2.5,
    }
    assert found == pytest.approx(expected, rel=2e-4, abs=2e-4)


def test_a_constant_has_no_spread_and_a_rank_of_one() -> None:
    same = torch.ones(6, 8)
    found = measure(Seen(torch.tensor(0.0), same, torch.tensor(0.0), ((same, torch.zeros(1, 8)),)), 0.1)
    assert found["feature_std"] == pytest.approx(0, abs=1e-3) and found["effective_rank"] == pytest.approx(1, abs=1e-3)
    assert found["batch_entropy"] == pytest.approx(math.log(8), abs=1e-5)


def test_masked_modelling_is_judged_beside_a_constant_answer() -> None:
    found = measure(Seen(torch.tensor(0.3), torch.eye(8), torch.tensor(1.0), blank=torch.tensor(0.4)), 0.1)
    assert found["explained"] == pytest.approx(0.25) and "kl" not in found
    assert found["effective_rank"] == pytest.approx(7, rel=1e-3)


@pytest.mark.parametrize("prototypes", [True, False])
def test_a_healthy_run_is_warned_of_nothing(prototypes: bool) -> None:
    assert warnings_of(history(prototypes), 200) == []


@pytest.mark.parametrize(
    ("sign", "planted"),
    [
        ("nothing is explained", {"explained": lambda done: 0.005}),
        ("the tokens are alike", {"effective_rank": lambda done: 1.5}),
        ("the tokens are alike", {"feature_std": lambda done: 0.001}),
        ("the backbone does not move", {"distance": lambda done: 1e-5}),
    ],
)
def test_each_sign_of_masked_modelling_is_told_alone(sign: str, planted: dict[str, Callable[[float], float]]) -> None:
    (sentence,) = warnings_of(history(prototypes=False, **planted), 200)
    assert sentence.startswith(f"{sign}: ") and sentence.endswith(SIGNS[sign])


@pytest.mark.parametrize(
    ("sign", "planted"),
    [
        ("collapse to the uniform", {"loss": lambda done: 5.545, "teacher_entropy": lambda done: 5.54}),
        ("collapse to a constant", {"batch_entropy": lambda done: 0.01, "effective_rank": lambda done: 1.2}),
        ("collapse to a constant", {"feature_std": lambda done: 0.001}),
        ("the backbone does not move", {"distance": lambda done: 1e-5}),
        ("the student loses its teacher", {"kl": lambda done: math.nan if done == 0 else 0.3 + 4 * done}),
        ("the step waits for tiles", {"data_wait": lambda done: 0.6}),
    ],
)
def test_each_sign_is_told_alone_with_its_remedy(sign: str, planted: dict[str, Callable[[float], float]]) -> None:
    (sentence,) = warnings_of(history(**planted), 200)
    assert sentence.startswith(f"{sign}: ") and sentence.endswith(SIGNS[sign])


def test_nothing_is_judged_too_early() -> None:
    stuck = history(loss=lambda done: 5.545, teacher_entropy=lambda done: 5.54, distance=lambda done: 0.0)
    assert len(warnings_of(stuck, 200)) == 2
    assert warnings_of(stuck, 10_000) == []  # 2 % of the run
    assert warnings_of(stuck, 500, warmup_epochs=100) == []
    assert warnings_of(History(ln_k=1.0), 10) == []


@pytest.mark.parametrize("prototypes", [True, False])
def test_it_survives_json_gaps_included(prototypes: bool) -> None:
    made = history(prototypes)
    made.gradient_norm[3] = math.inf
    made.append_probe(10, {"knn": 0.1, "linear": math.nan, "line": 0.2, "beside": 0.3})
    text = json.dumps(made.to_dict(), allow_nan=False)
    back = History.from_dict(json.loads(text))
    assert math.isnan(back.gradient_norm[3]) and back.loss == made.loss and back.probes["knn"] == [0.1]
    assert back.to_dict() == made.to_dict()


def test_the_best_probe_is_the_earlier_of_equals() -> None:
    made = History(ln_k=1.0)
    assert made.best_probe() is None
    for step, linear in ((5, 0.2), (10, math.nan), (15, 0.4), (20, 0.4)):
        made.append_probe(step, {"knn": 0.9, "linear": linear, "line": 0.9, "beside": 0.9})
    assert made.best_probe() == 15


def test_what_does_not_fit_is_refused() -> None:
    made = history()
    with pytest.raises(SardinoError, match="cannot take"):
        made.append(1, {"loss": 1.0})
    for change in ({"surprise": [1.0]}, {"loss": [1.0]}):
        with pytest.raises(SardinoError, match="start the pre-training anew"):
            History.from_dict(made.to_dict() | change)
    with pytest.raises(AttributeError):
        _ = made.surprise
