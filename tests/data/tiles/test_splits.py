"""Splits and label fractions: parts never overlap, shares hold, small subsets lie inside large ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sardino.data.tiles.label_fractions import band_index, label_fraction, label_order, split_of_band
from sardino.errors import SardinoError


@given(st.integers(5, 30), st.integers(1, 8), st.floats(-180, 180), st.integers(0, 99))
def test_bands_hold_equally_many_tiles_in_order(bands: int, per_band: int, angle: float, seed: int) -> None:
    x, y = np.random.default_rng(seed).uniform(0, 1e5, (2, bands * per_band))
    band = band_index(x, y, bands, angle)
    assert (np.bincount(band, minlength=bands) == per_band).all()
    along = x * np.cos(np.radians(angle)) + y * np.sin(np.radians(angle))
    highest = [along[band == b].max() for b in range(bands)]
    lowest = [along[band == b].min() for b in range(bands)]
    assert all(above >= below - 0.01 for below, above in zip(highest, lowest[1:], strict=False))


@given(st.integers(1, 12))
def test_full_cycles_of_bands_are_60_20_20(cycles: int) -> None:
    split = split_of_band(np.arange(5 * cycles))
    assert [(split == name).mean() for name in ("train", "val", "test")] == pytest.approx([0.6, 0.2, 0.2])


def test_too_few_bands_or_tiles_are_refused() -> None:
    with pytest.raises(SardinoError, match="at least 5 bands"):
        band_index(np.arange(9.0), np.arange(9.0), 4, 0)
    with pytest.raises(SardinoError, match="9 tiles cannot fill 10 bands"):
        band_index(np.arange(9.0), np.arange(9.0), 10, 0)


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
