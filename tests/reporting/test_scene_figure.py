"""A scene's figure shows each map once, with its names, and refuses maps of another place."""

import numpy as np
import pytest

from sardino.data.tiles.landcover import WORLDCOVER
from sardino.errors import SardinoError
from sardino.reporting.figures.places import draw_scene

RNG = np.random.default_rng(0)
SAR = RNG.normal(-12, 3, (2, 40, 60))
COVER = RNG.integers(0, 4, (40, 60)).astype(np.uint8)


def drawn(heads=4, reference=COVER):
    attention = RNG.uniform(0.5, 2, (heads, 5, 8))
    return draw_scene(SAR, attention, COVER, ("vv", "vh"), WORLDCOVER, 10, "A made scene", reference)


def titles(figure):
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def test_all_maps_are_there_once():
    assert titles(drawn()) == ["Backscatter", "Mapped", "Reference", "Head 1", "Head 2", "Head 3"]


def test_what_nobody_knows_is_left_out():
    assert titles(drawn(heads=2, reference=None)) == ["Backscatter", "Mapped", "Head 1", "Head 2"]


def test_maps_of_another_place_are_refused():
    with pytest.raises(SardinoError, match="not of one place"):
        drawn(reference=COVER[:20])
