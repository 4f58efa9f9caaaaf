import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sardino.errors import SardinoError
from sardino.training.recipe import DINO, PAPER, find_recipe
from sardino.training.schedules import cosine, ramp, warmup_cosine


@given(st.floats(-1, 1), st.floats(-1, 1), st.integers(2, 1000))
def test_cosine_meets_both_ends_and_stays_between(start, end, steps):
    assert math.isclose(cosine(start, end, 0, steps), start, abs_tol=1e-12)
    assert math.isclose(cosine(start, end, steps - 1, steps), end, abs_tol=1e-12)
    middle = cosine(start, end, steps // 2, steps)
    assert min(start, end) - 1e-12 <= middle <= max(start, end) + 1e-12


def test_warmup_starts_at_zero_and_peaks_once():
    rates = [warmup_cosine(1.0, 0.1, step, 100, 10) for step in range(100)]
    assert rates[0] == 0 and max(rates) == rates[10] == 1.0 and math.isclose(rates[-1], 0.1)


def test_the_papers_teacher_temperature_falls():
    recipe = PAPER
    values = [
        ramp(recipe.warmup_teacher_temperature, recipe.teacher_temperature, e, int(recipe.teacher_warmup_epochs))
        for e in range(8)
    ]
    assert values[0] == 0.01 and values[5:] == [0.001] * 3 and values == sorted(values, reverse=True)


def test_paper_and_reference_learning_rates():
    assert PAPER.learning_rate(1024) == 1e-6
    assert DINO.learning_rate(512) == 1e-3


def test_unknown_names_are_refused():
    with pytest.raises(SardinoError, match="no recipe is named 'papr'"):
        find_recipe("papr")
    with pytest.raises(SardinoError, match="has no momentun"):
        find_recipe("paper", momentun=0.9)
    assert find_recipe("small", local_scale=[0.1, 0.3]).local_scale == (0.1, 0.3)
