"""The figure of a map from a few clicks: each click where it was, in the colour of its class."""

import numpy as np
import pytest

from sardino.data.tiles.landcover import WORLDCOVER
from sardino.errors import SardinoError
from sardino.reporting.figures.few_labels import draw_clicks


def test_clicks_lie_in_the_middle_of_their_patches():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, (6, 8)).astype(np.uint8)
    place = rng.normal(-12, 2, (2, 48, 64)), rng.random((6, 8, 3)), truth, truth
    clicks = np.array([0, 5]), np.array([7, 2])
    facts = clicks, ("summer_vv", "summer_vh"), WORLDCOVER, 10.0, "Title"
    figure = draw_clicks(*place, *facts)
    (points,) = figure.axes[0].collections
    assert points.get_offsets().tolist() == [[59.5, 3.5], [19.5, 43.5]]
    assert figure.axes[0].get_title() == "Backscatter, and 2 clicks"
    with pytest.raises(SardinoError, match="not of one place"):
        draw_clicks(*place[:2], truth[:3], truth, *facts)
