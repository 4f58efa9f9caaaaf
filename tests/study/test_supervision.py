"""The search of a learning rate: the usual one stays unless another is clearly better on the very same tiles."""

from collections.abc import Mapping
from itertools import permutations

import numpy as np
import pytest

from sardino.errors import SardinoError
from sardino.evaluation.scores import Confusion
from sardino.study.profile import Finetuning
from sardino.study.supervision import RateSearch

BLOCKS = np.arange(24) // 2
LAND = np.random.default_rng(0).integers(-15, 16, 24)  # tiles differ, and alike for all rates


def judged(right: float, seed: int = 0, spread: int = 0) -> Confusion:
    """Two classes of 100 pixels a tile, of which so many are mapped right, give or take what one training adds."""
    own = np.random.default_rng(seed).integers(-spread, spread + 1, 24)
    counts = np.rint(right + LAND + own).astype(np.int64)
    return np.stack([np.stack([counts, 100 - counts], -1), np.stack([100 - counts, counts], -1)], -2)


def search(
    trials: Mapping[float, Confusion | None], grid: list[float] | None = None, lr: float = 0.02, blocks=BLOCKS
) -> RateSearch:
    tuning = Finetuning(lr_grid=[*trials] if grid is None else grid, lr=lr)
    return RateSearch.over(tuning, lambda settings: trials[settings.lr], blocks, 1.0, 0)


def test_a_tie_and_a_difference_of_chance_keep_the_usual_rate() -> None:
    same = search({0.01: judged(60), 0.02: judged(60), 0.04: judged(60)})
    assert same.chosen == 0.02 and set(same.intervals.values()) == {(0.0, 0.0)}
    near = search({0.01: judged(60, 1, 20), 0.02: judged(60, 2, 20), 0.04: judged(60, 3, 20)})
    assert near.chosen == 0.02 and near.scores[0.02] != max(near.scores.values())
    assert all(low < 0 < high for low, high in near.intervals.values())
    assert "0.02, kept, as no other is clearly better; validation mIoU with 1 % of the labels" in str(near)


def test_a_clear_winner_wins_though_tiles_differ_more_than_rates_and_the_best_of_several() -> None:
    found = search({0.01: judged(63, 1, 2), 0.02: judged(60, 2, 2), 0.04: judged(66, 3, 2), 0.08: judged(50, 4, 2)})
    assert found.chosen == 0.04 and found.intervals[0.01][0] > 0 and found.intervals[0.08][1] < 0
    low, high = found.intervals[0.04]
    assert low < found.scores[0.04] - found.scores[0.02] < high and "clearly better than 0.02: +0.0" in str(found)
    record = found.to_dict()
    assert {"chosen", "fraction", "seed", "scores", "usual", "why"} == record.keys()
    assert record["scores"][2] == {"lr": 0.04, "val_miou": found.scores[0.04], "interval": [low, high]}
    assert record["scores"][1]["interval"] is None, "the usual rate's own"


@pytest.mark.parametrize("winner", [None, 0.01, 0.04])
def test_the_order_of_the_grid_has_no_say(winner: float | None) -> None:
    trials = {rate: judged(70 if rate == winner else 60, number, 2) for number, rate in enumerate((0.01, 0.02, 0.04))}
    trials[0.08] = trials[0.04]  # as good: the lower of the two
    found = [search(trials, [*order]) for order in permutations(trials)]
    assert {each.chosen for each in found} == {winner or 0.02}
    assert all(each.intervals == found[0].intervals and each.why == found[0].why for each in found)


def test_where_the_usual_rate_diverged_the_best_of_the_others_is_taken_and_where_all_did_none() -> None:
    found = search({0.01: judged(60), 0.02: None, 0.04: judged(61)})
    assert found.chosen == 0.04 and found.scores[0.02] is None and not found.intervals
    assert "0.04, at the edge of the grid, the best of the others, as 0.02 diverged" in str(found)
    assert search({0.01: judged(60), 0.02: judged(60), 0.04: None}).chosen == 0.02
    with pytest.raises(SardinoError, match=r"every learning rate of the grid \(0.01, 0.02\): give smaller ones"):
        search({0.01: None, 0.02: None})


@pytest.mark.parametrize(
    ("grid", "lr", "usual"),
    [([0.01, 0.02, 0.04], 0.01, 0.01), ([0.04, 0.01, 0.02], 0.3, 0.02), ([0.04, 0.01], 0.3, 0.01)],
)
def test_the_usual_rate_is_the_settings_own_else_the_middle_one(grid: list[float], lr: float, usual: float) -> None:
    found = search({rate: judged(60) for rate in grid}, lr=lr)
    assert found.chosen == found.usual == usual


def test_a_single_block_makes_nothing_clear() -> None:
    trials = {0.01: judged(80), 0.02: judged(60)}
    assert search(trials).chosen == 0.01
    alone = search(trials, blocks=np.zeros(24, int))
    assert alone.chosen == 0.02 and "validation tiles of a single block make no difference clear" in str(alone)


def test_a_trial_is_a_shorter_training_at_its_rates_and_no_grid_is_no_search() -> None:
    seen: list[Finetuning] = []
    tuning = Finetuning(steps=100, grid_share=0.5)
    assert tuning.lr_grid == [0.5 * tuning.lr, tuning.lr, 2 * tuning.lr]
    RateSearch.over(tuning, lambda settings: seen.append(settings) or judged(60), BLOCKS, 1.0, 0)
    assert [(each.steps, each.lr) for each in seen] == [(50, rate) for rate in tuning.lr_grid]
    assert seen[0].backbone_lr == pytest.approx(tuning.backbone_lr / 2)
    assert Finetuning(recipe="paper").lr_grid[1] == Finetuning(recipe="paper").lr
    given = search({}, [], 0.3)
    assert given == RateSearch(0.3) and str(given) == "learning rate 0.3, as given; no search"
    assert given.to_dict()["scores"] == []
