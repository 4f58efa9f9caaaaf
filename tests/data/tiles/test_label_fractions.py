"""Label fractions: small subsets lie inside large ones, and only the draw decides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sardino.data.tiles.landcover import label_fraction, label_order
from sardino.errors import SardinoError

ids = st.lists(st.text("0123456789abcdef", min_size=13, max_size=13), min_size=1, max_size=200, unique=True)


@given(ids, st.floats(0.1, 100), st.floats(0.1, 100), st.integers(0, 5))
def test_a_smaller_fraction_lies_inside_a_larger_one(tiles: list[str], a: float, b: float, draw: int) -> None:
    small, large = (label_fraction(tiles, percent, draw) for percent in sorted((a, b)))
    assert 1 <= len(small) <= len(large) <= len(tiles)
    assert set(small) <= set(large) <= set(tiles)
    assert label_fraction(tiles, 100, draw) == label_order(tiles, draw)


@given(ids, st.integers(0, 5), st.randoms())
def test_the_order_of_the_ids_does_not_matter(tiles: list[str], draw: int, random: object) -> None:
    mixed = list(tiles)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert label_order(mixed, draw) == label_order(tiles, draw)


def test_draws_differ() -> None:
    tiles = [f"{number:013x}" for number in range(500)]
    assert set(label_fraction(tiles, 10, 0)) != set(label_fraction(tiles, 10, 1))


@pytest.mark.parametrize("percent", [0, -1, 101])
def test_an_impossible_fraction_is_refused(percent: float) -> None:
    with pytest.raises(SardinoError, match="percentage"):
        label_fraction(["a"], percent)
