"""Schedules against the reference's, written anew in numpy: tables of one number per step, made in advance."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sardino.dino.recipe import DINO, PAPER, SMALL, Rates, Recipe, cosine, find_recipe, ramp, warmup_cosine
from sardino.errors import SardinoError

Array = NDArray[np.float64]


def table(peak: float, end: float, steps: int, warmup: int = 0) -> Array:
    """Evenly from 0 to the peak, then half a cosine that stops one place short of its end."""
    rest = np.arange(steps - warmup) * np.pi / (steps - warmup)
    return np.concatenate([np.linspace(0, peak, warmup), end + (peak - end) * (1 + np.cos(rest)) / 2])


def teacher_table(recipe: Recipe, epochs: int) -> Array:
    """Evenly from the first temperature to the last in the epochs of the warm-up, and constant after."""
    count = int(recipe.teacher_warmup_epochs)
    changing = np.linspace(recipe.warmup_teacher_temperature, recipe.teacher_temperature, count)
    return np.concatenate([changing, np.full(epochs, recipe.teacher_temperature)])[:epochs]


@pytest.mark.parametrize("recipe", [DINO, PAPER, SMALL], ids=lambda recipe: recipe.name)
@pytest.mark.parametrize(("epochs", "per_epoch", "batch"), [(40, 7, 64), (12, 3, 1024), (100, 1, 256)])
def test_rates_of_every_step(recipe: Recipe, epochs: int, per_epoch: int, batch: int) -> None:
    steps = epochs * per_epoch
    rates = [Rates.at(step, steps, per_epoch, batch, recipe) for step in range(steps)]
    peak = recipe.base_learning_rate * (batch / 256 if recipe.scale_learning_rate else 1)
    expected = {
        "learning_rate": table(peak, recipe.final_learning_rate, steps, int(recipe.warmup_epochs) * per_epoch),
        "weight_decay": table(recipe.weight_decay, recipe.final_weight_decay, steps),
        "momentum": table(recipe.momentum, recipe.final_momentum, steps),
        "teacher_temperature": np.repeat(teacher_table(recipe, epochs), per_epoch),
        "prototypes_frozen": np.arange(steps) < recipe.freeze_prototypes_epochs * per_epoch,
    }
    for name, values in expected.items():
        np.testing.assert_allclose([getattr(r, name) for r in rates], values, rtol=1e-12, atol=1e-18, err_msg=name)


def test_temperatures_rise_in_the_reference_and_fall_in_the_paper() -> None:
    """The reference's warm-up of 30 epochs and the paper's of 5, read per epoch."""
    for recipe, epochs, sign in ((DINO, 32, 1), (PAPER, 8, -1)):
        values = [Rates.at(step, epochs * 4, 4, 64, recipe).teacher_temperature for step in range(epochs * 4)]
        assert all(len(set(values[i : i + 4])) == 1 for i in range(0, len(values), 4))
        changes = np.diff(values[::4]) * sign
        warm = int(recipe.teacher_warmup_epochs)
        assert (changes[: warm - 1] > 0).all() and (changes[warm - 1 :] == 0).all()
        assert values[0] == recipe.warmup_teacher_temperature and values[-1] == recipe.teacher_temperature


@given(st.floats(1e-4, 1), st.floats(1e-4, 1), st.integers(2, 1000), st.integers(0, 999))
def test_cosine_starts_at_its_start_and_stays_between(start: float, end: float, steps: int, step: int) -> None:
    assert math.isclose(cosine(start, end, 0, steps), start)
    assert math.isclose(cosine(start, end, steps, steps), end)
    assert min(start, end) - 1e-12 <= cosine(start, end, step, steps) <= max(start, end) + 1e-12


def test_warmup_starts_at_zero_and_meets_its_peak_at_its_last_step() -> None:
    rates = [warmup_cosine(1.0, 0.1, step, 100, 10) for step in range(101)]
    assert rates[0] == 0 and rates[9] == rates[10] == max(rates) == 1.0 and math.isclose(rates[100], 0.1)
    assert sum(rate == 1.0 for rate in rates) == 2 and rates[99] > 0.1


def test_a_run_shorter_than_its_warmup_never_divides_by_nothing() -> None:
    rates = [Rates.at(step, 3, 1, 64, DINO).learning_rate for step in range(3)]
    np.testing.assert_allclose(rates, DINO.learning_rate(64) * np.arange(3) / 2)
    assert Rates.at(0, 1, 1, 64, SMALL).learning_rate == 0
    assert ramp(0.04, 0.07, 0, 0) == 0.07 and ramp(0.04, 0.07, 0, 1) == 0.04


def test_paper_and_reference_learning_rates() -> None:
    """5e-4 per 256 images; the paper's is the rate itself."""
    assert PAPER.learning_rate(1024) == PAPER.learning_rate(8) == 1e-6
    assert DINO.learning_rate(512) == 1e-3 and DINO.learning_rate(256) == 5e-4


def test_unknown_names_are_refused() -> None:
    with pytest.raises(SardinoError, match="no recipe is named 'papr'"):
        find_recipe("papr")
    with pytest.raises(SardinoError, match="has no momentun"):
        find_recipe("paper", momentun=0.9)
    assert find_recipe("small", local_scale=[0.1, 0.3]).local_scale == (0.1, 0.3)
