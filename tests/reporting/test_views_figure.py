import numpy as np
import pytest

from sardino.errors import SardinoError
from sardino.reporting.figures.pipeline import draw_views

CHANNELS = ["summer_vv", "summer_vh", "summer_vv-vh"]


def test_each_view_has_its_picture_at_its_own_size() -> None:
    rng = np.random.default_rng(0)
    tile, large, small = (rng.normal(size=(3, size, size)) for size in (32, 32, 16))
    figure = draw_views(tile, [large, large], [small], CHANNELS, synthetic=True)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["tile", "student, teacher", "student, teacher", "student"]
    assert [axes.images[0].get_array().shape[0] for axes in figure.axes] == [32, 32, 32, 16]
    assert "synthetic" in figure.get_suptitle()
    with pytest.raises(SardinoError, match="no view"):
        draw_views(tile, [], [], CHANNELS, synthetic=True)
