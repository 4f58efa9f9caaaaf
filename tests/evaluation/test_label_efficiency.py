"""The factor is right where the curve tells it, and censored, never extrapolated, where it does not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.isotonic import IsotonicRegression

from sardino.errors import SardinoError
from sardino.evaluation.label_efficiency import Factor, factor, labels_needed, monotone

LABELS = np.array([1.0, 10.0, 100.0])
CURVE = np.array([0.2, 0.3, 0.5])
scores = hnp.arrays(np.float64, 4, elements=st.floats(0, 1))


@given(scores)
def test_monotone_is_isotonic_regression(values):
    theirs = IsotonicRegression().fit_transform(np.arange(4), values)
    np.testing.assert_allclose(monotone(values), theirs, atol=1e-9)
    np.testing.assert_array_equal(monotone(np.stack([values, values[::-1]]))[0], monotone(values))


@pytest.mark.parametrize(
    ("wanted", "needed"),
    [(0.2, 1), (0.25, 10**0.5), (0.3, 10), (0.4, 10**1.5), (0.5, 100), (0.51, np.inf), (0.19, -np.inf)],
)
def test_between_points_the_curve_is_straight_over_log_labels(wanted, needed):
    assert labels_needed(LABELS, CURVE, np.float64(wanted)) == pytest.approx(needed)


def test_order_and_repeats_of_labels_do_not_matter():
    wanted = np.float64(0.4)
    assert labels_needed(LABELS[::-1], CURVE[::-1], wanted) == labels_needed(LABELS, CURVE, wanted)
    twice = np.array([1.0, 1.0, 10.0, 100.0])
    assert labels_needed(twice, np.array([0.1, 0.3, 0.3, 0.5]), wanted) == labels_needed(LABELS, CURVE, wanted)


def test_a_plateau_is_reached_with_the_fewest_labels():
    flat = np.array([0.2, 0.5, 0.5])
    assert labels_needed(LABELS, flat, np.float64(0.5)) == pytest.approx(10)


@given(scores, st.floats(0, 1), st.floats(0, 0.5))
def test_a_better_score_needs_no_fewer_labels(values, wanted, more):
    labels = np.array([1.0, 5.0, 20.0, 300.0])
    few, many = (float(labels_needed(labels, values, np.float64(w))) for w in (wanted, wanted + more))
    assert few <= many
    assert np.isinf(few) or 1 - 1e-9 <= few <= 300 + 1e-9


def test_one_number_of_labels_only_tells_more_or_less():
    one = np.array([3.0])
    answers = [float(labels_needed(one, np.array([0.4]), np.float64(w))) for w in (0.3, 0.4, 0.5)]
    assert answers == pytest.approx([-np.inf, 3.0, np.inf])


def test_interval_is_censored_where_its_copies_are():
    noise = 0.02 * np.random.default_rng(0).standard_normal(1000)
    base = np.tile(CURVE, (1000, 1))
    middle = factor(LABELS, (CURVE, base), 10, (0.4, 0.4 + noise))
    assert middle.least < middle.low < middle.value < middle.high < middle.most == 10
    assert middle.value == pytest.approx(10**0.5)
    top = factor(LABELS, (CURVE, base), 10, (0.49, 0.49 + noise))
    assert np.isfinite(top.value) and top.high == np.inf
    assert str(top).endswith(", > 10]")
    fewest = factor(LABELS, (CURVE, base), 1, (0.15, 0.15 + noise / 10))
    assert str(fewest) == "< 1 [< 1, < 1]"


def test_copies_that_move_alike_leave_the_factor_alone():
    """Pairing: what shifts both arms says nothing about labels."""
    shift = 0.1 * np.random.default_rng(0).standard_normal(500)
    found = factor(LABELS, (CURVE, CURVE + shift[:, None]), 10, (0.4, 0.4 + shift))
    assert found.low == pytest.approx(found.high) == pytest.approx(found.value)


def test_a_planted_factor_is_found():
    """The arm is the baseline with five times the labels."""
    labels = np.array([1.0, 10.0, 100.0, 1000.0])
    curve = 0.1 * np.log10(labels) + 0.2
    for own in (1.0, 10.0, 100.0):
        score = 0.1 * np.log10(5 * own) + 0.2
        assert factor(labels, (curve, curve[None]), own, (score, np.array([score]))).value == pytest.approx(5)


def test_words():
    found = Factor(3.21, -np.inf, np.inf, 0.1, 10)
    assert str(found) == "3.2 [< 0.1, > 10]"


def test_a_curve_needs_its_scores():
    with pytest.raises(SardinoError, match="score for each"):
        labels_needed(LABELS, CURVE[:2], np.float64(0.3))
