"""Windows cover every cell, whole inside wherever a scene holds one, and weigh one in all; stripes lose nothing."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sardino.errors import SardinoError
from sardino.mapping.windows import Axis, Layout, stride_of


@st.composite
def axes(draw):
    step = draw(st.sampled_from([1, 8]))
    window = draw(st.integers(1, 40 // step))
    return Axis(draw(st.integers(1, 300)), step * window, step * draw(st.integers(1, window)), step)


@given(axes())
def test_every_cell_is_covered_and_weighs_one(axis):
    weight = np.zeros(len(axis.total))
    for start in axis.starts:
        assert start + axis.window <= max(axis.size, axis.window) + axis.step - 1
        weight[start : start + axis.window] += axis.profile / axis.total[start : start + axis.window]
    np.testing.assert_allclose(weight, 1, rtol=1e-6)
    assert list(axis.starts) == sorted(set(axis.starts))
    assert axis.final(len(axis.starts) - 1) == axis.size


@given(axes())
def test_rows_that_are_final_are_reached_by_no_later_window(axis):
    finals = [axis.final(number) for number in range(len(axis.starts))]
    assert finals == sorted(finals) and len(set(finals)) == len(finals)
    for number, final in enumerate(finals[:-1]):
        assert all(start >= final for start in axis.starts[number + 1 :])


@given(axes(), st.integers(1, 9))
def test_stripes_share_out_windows_and_columns(axis, across):
    layout = Layout(axis, axis, 1, across)
    assert [n for first, behind in layout.stripes for n in range(first, behind)] == list(range(len(axis.starts)))
    spans = [layout.span(number) for number in range(len(layout.stripes))]
    assert spans[0][0] == 0 and spans[-1][1] == axis.size
    assert all(a[1] == b[0] and a[2] < b[2] for a, b in pairwise(spans))
    assert layout.before(len(layout.stripes), 0) == layout.windows == len(axis.starts) ** 2


def test_weights_rise_smoothly_over_the_overlap():
    axis = Axis(200, 32, 24)
    assert axis.profile[0] == pytest.approx(0.001, abs=1e-3) and np.all(axis.profile[8:24] == 1)
    assert np.all(np.diff(axis.profile[:8]) > 0) and np.array_equal(axis.profile, axis.profile[::-1])


@pytest.mark.parametrize(("window", "overlap", "stride"), [(96, None, 64), (448, None, 304), (32, 0, 32), (32, 5, 24)])
def test_strides_are_whole_patches(window, overlap, stride):
    assert stride_of(window, overlap, 16 if window == 448 else 8) == stride


@pytest.mark.parametrize(("window", "overlap"), [(30, None), (32, 32), (32, 30), (4, 0)])
def test_windows_that_do_not_fit_are_refused(window, overlap):
    with pytest.raises(SardinoError, match=r"multiple of 8 px|nothing new: take 0 to"):
        stride_of(window, overlap, 8)
