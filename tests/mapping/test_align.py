"""Windows that differ by a factor agree once they are aligned; the map keeps its mean."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sardino.mapping.align import align_windows
from sardino.mapping.windows import Axis, Layout

HEADS = 2


@st.composite
def overlapping(draw):
    window = draw(st.integers(2, 9))
    axes = (Axis(draw(st.integers(1, 40)), window, draw(st.integers(1, window - 1))) for _ in range(2))
    return Layout(*axes, cell=1, across=3)


def places(layout):
    rows, columns = layout.rows, layout.columns
    return [
        (slice(top, top + rows.window), slice(left, left + columns.window))
        for top in rows.starts
        for left in columns.starts
    ]


def blended(layout, windows, factors=1.0):
    weight = np.outer(layout.rows.profile, layout.columns.profile)
    sums = np.zeros((HEADS, len(layout.rows.total), len(layout.columns.total)))
    factors = np.broadcast_to(factors, (len(windows), HEADS))
    for here, maps, factor in zip(places(layout), windows, factors, strict=True):
        sums[:, *here] += maps * factor[:, None, None] * weight
    return sums / np.outer(layout.rows.total, layout.columns.total)


def scaled_windows(layout, seed, field):
    rng = np.random.default_rng(seed)
    return [field[:, *here] * np.exp(rng.normal(0, 2, (HEADS, 1, 1))) for here in places(layout)]


def field_over(layout, seed):
    rng = np.random.default_rng(seed + 1)
    return np.exp(rng.normal(0, 1, (HEADS, len(layout.rows.total), len(layout.columns.total))))


@settings(max_examples=25, deadline=None)
@given(overlapping(), st.integers(0, 99))
def test_factors_are_found_and_the_mean_stays(layout, seed):
    field = field_over(layout, seed)
    windows = scaled_windows(layout, seed, field)
    after = blended(layout, windows, align_windows(layout, np.array(windows), np.ones(field.shape[1:], bool)))
    np.testing.assert_allclose(after.mean((1, 2)), blended(layout, windows).mean((1, 2)), rtol=1e-4)
    ratio = after / field
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio.mean((1, 2), keepdims=True), ratio.shape), rtol=1e-3)


def test_what_nobody_sees_decides_nothing():
    """Two lands with a gap between them, whose cells hold nonsense; zeros that a softmax rounds to are left out."""
    layout = Layout(Axis(8, 8, 4), Axis(44, 8, 4), cell=1, across=3)
    field = field_over(layout, 0)
    windows = scaled_windows(layout, 0, field)
    known = np.ones((8, 44), bool)
    known[:, 12:28] = False
    for maps, here in zip(windows, places(layout), strict=True):
        maps[:, ~known[here]] = np.random.default_rng(0).random((HEADS, (~known[here]).sum()))
        maps[:, known[here] & (field[0, *here] < 0.2)] = 0
    factors = align_windows(layout, np.array(windows), known)
    ratio = blended(layout, windows, factors) / np.where(field[:1] < 0.2, np.inf, field)
    for land in (slice(0, 12), slice(28, 44)):
        held = ratio[:, :, land].reshape(HEADS, -1)
        held = held[:, held[0] > 0]
        np.testing.assert_allclose(held, np.broadcast_to(held.mean(1, keepdims=True), held.shape), rtol=1e-3)
    unseen = [n for n, here in enumerate(places(layout)) if not known[here].any()]
    assert unseen and (factors[unseen] == 1).all()


@pytest.mark.parametrize("side", [8, 32])
def test_windows_that_share_nothing_are_left_as_they_are(side):
    layout = Layout(Axis(side, 8, 8), Axis(side, 8, 8), cell=1, across=3)
    windows = scaled_windows(layout, 0, field_over(layout, 0))
    factors = align_windows(layout, np.array(windows), np.ones((side, side), bool))
    np.testing.assert_allclose(factors, 1, rtol=1e-6)
