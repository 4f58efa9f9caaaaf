"""What pixels hold is the same however they are cut into pieces."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sardino.data.tiles.value_ranges import ValueRanges

planes = arrays(np.float32, (6, 5), elements=st.one_of(st.just(np.nan), st.floats(-30, 5, width=32)))


@given(plane=planes, at=st.integers(0, 6))
def test_pieces_add_up(plane: np.ndarray, at: int) -> None:
    ranges, whole = ValueRanges(), ValueRanges()
    for piece in (plane[:at], plane[at:]):
        ranges.add("vv", piece)
    whole.add("vv", plane)
    assert ranges.rows == whole.rows
    pixels, valid, *ends = ranges.rows["vv"]
    known = plane[np.isfinite(plane)]
    assert (pixels, valid) == (30, known.size) and ends == ([known.min(), known.max()] if known.size else [])


def test_a_line_a_channel_and_a_missing_pixel_is_never_rounded_away() -> None:
    ranges = ValueRanges()
    ranges.add("vv", np.where(np.arange(10_000) == 3, np.nan, np.linspace(-25.3125, 3, 10_000)))
    ranges.add("codes", np.array([[0, 10], [95, 0]], np.uint8), 0)
    ranges.add("vh", np.full(4, np.nan))
    lines = ["vv: 99.9 % valid, -25.31 to 3", "codes: 50 % valid, 10 to 95", "vh: no valid pixel"]
    assert ranges.lines() == lines
    assert ranges.lines("dB")[0] == f"{lines[0]} dB" and ranges.lines("dB")[2] == lines[2]
