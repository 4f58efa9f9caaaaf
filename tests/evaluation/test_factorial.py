"""A factorial design tells its effects apart, or says which it does not; planted effects come back, with intervals."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sardino.errors import SardinoError
from sardino.evaluation.factorial import effects, fraction, interactions, mean_interval

FACTORS = {name: ["off", "on"] for name in "ABCDEFG"}
GENERATORS = ("ABCD", "ABDE")


def runs(seeds: int = 2) -> pd.DataFrame:
    signs = np.tile(fraction(7, GENERATORS), (seeds, 1))
    cells = pd.DataFrame(np.where(signs > 0, "on", "off"), columns=list(FACTORS))
    return cells.assign(seed=np.repeat(np.arange(seeds), 32))


def test_each_switch_is_on_in_half_of_the_runs_whatever_any_other_is():
    signs = fraction(7, GENERATORS)
    assert signs.shape == (32, 7) and len(np.unique(signs, axis=0)) == 32
    np.testing.assert_array_equal(signs.T @ signs, 32 * np.eye(7))


def test_effects_of_two_factors_that_share_their_runs_are_named():
    groups = [group for group in interactions(fraction(7, GENERATORS)) if len(group) > 1]
    assert [["".join("ABCDEFG"[n] for n in pair) for pair in group] for group in groups] == [
        ["CE", "FG"],
        ["CF", "EG"],
        ["CG", "EF"],
    ]
    assert len(interactions(fraction(4))) == 6


@pytest.mark.parametrize("generators", [("AB", "ABC"), ("ABC", "ABC"), ("A", "ABC"), ("AX", "ABC"), ("", "ABC")])
def test_a_design_below_resolution_four_is_refused(generators):
    with pytest.raises(SardinoError, match="generator"):
        fraction(5, generators)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.floats(-5, 5), min_size=9, max_size=9), st.floats(-5, 5))
def test_planted_effects_come_back_whatever_the_seeds_are_worth(planted, of_seed):
    """Three levels: one seed takes one of the two that are not the reference, the other seed the other."""
    factors = FACTORS | {"D": ["off", "on", "other"]}
    cells = runs()
    cells.loc[(cells["D"] == "on") & (cells["seed"] == 1), "D"] = "other"
    on = {name: (cells[name] != "off").to_numpy() for name in "ABCDEFG"}
    alone = [on[name] for name in "ABC"] + [(cells["D"] == level).to_numpy() for level in ("on", "other")]
    alone += [on[name] for name in "EFG"]
    y = of_seed * cells["seed"] + planted[8] * (on["A"] - 0.5) * (on["B"] - 0.5)
    y += sum(size * column for size, column in zip(planted, alone, strict=False))
    found = effects(cells, factors, y)
    assert list(found["effect"][:5]) == [
        "A: on, not off",
        "B: on, not off",
        "C: on, not off",
        *(f"D: {level}, not off" for level in ("on", "other")),
    ]
    np.testing.assert_allclose(found["estimate"][:8], planted[:8], atol=1e-9)
    of_two = found[found["factors"] == 2].set_index("effect")["estimate"]
    assert len(of_two) == 18 and "C × E = F × G" in of_two.index
    assert of_two["A × B"] == pytest.approx(planted[8], abs=1e-9)
    assert of_two.drop("A × B").abs().max() < 1e-9


def test_an_interval_holds_the_truth_as_often_as_it_says():
    rng, cells, held = np.random.default_rng(0), runs(), []
    for _ in range(200):
        found = effects(cells, FACTORS, 2.0 * (cells["A"] == "on") + rng.normal(size=len(cells)))
        truth = np.where(found["effect"] == "A: on, not off", 2.0, 0.0)
        held.append((found["low"] <= truth) & (truth <= found["high"]))
    assert 0.94 < np.mean(held) < 0.96
    means = [mean_interval(rng.normal(size=5)) for _ in range(1000)]
    assert 0.93 < np.mean([low < 0 < high for _, low, high in means]) < 0.97


def test_the_order_of_the_runs_changes_nothing():
    cells = runs()
    y = pd.Series(np.random.default_rng(1).normal(size=len(cells)))
    order = np.random.default_rng(2).permutation(len(cells))
    here = effects(cells, FACTORS, y).set_index("effect")
    there = effects(cells.iloc[order].reset_index(drop=True), FACTORS, y[order].to_numpy()).set_index("effect")
    np.testing.assert_allclose(here["high"], there.loc[here.index, "high"])


def test_effects_of_two_are_left_out_where_nothing_would_be_left_to_judge_them_by():
    cells = runs(1)[["A", "B", "seed"]].drop_duplicates().reset_index(drop=True)
    two = {name: FACTORS[name] for name in "AB"}
    assert list(effects(cells, two, [0, 1, 2, 3.5])["factors"]) == [1, 1]
    with pytest.raises(SardinoError, match="do not tell 3 effects apart"):
        effects(cells[:3], two, [0, 1, 2])
    with pytest.raises(SardinoError, match="not finite"):
        effects(cells, two, [0, 1, 2, np.nan])
    with pytest.raises(SardinoError, match="two runs"):
        mean_interval(np.zeros(1))


def test_no_two_groups_hold_one_pair():
    pairs = [pair for group in interactions(fraction(7, GENERATORS)) for pair in group]
    assert sorted(pairs) == list(combinations(range(7), 2))
