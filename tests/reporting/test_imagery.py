"""Pictures are made by channel name and in the legend's own colours."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from sardino.data.tiles.landcover import IGNORE, WORLDCOVER
from sardino.data.tiles.radiometry import CHANNELS
from sardino.errors import SardinoError
from sardino.reporting.figures.panels import class_handles, class_image, sar_composite, scale_bar
from sardino.reporting.figures.style import captioned
from sardino.reporting.record import provenance


def ramps(count: int) -> np.ndarray:
    """(count, 8, 8): each channel its own picture."""
    return np.random.default_rng(0).normal(-12, 4, (count, 8, 8))


def test_composite_follows_names_not_places() -> None:
    stack = ramps(12)
    order = np.random.default_rng(1).permutation(12)
    moved = sar_composite(stack[order], [CHANNELS[i] for i in order])
    assert np.array_equal(moved, sar_composite(stack, CHANNELS))
    summer = [CHANNELS.index(f"summer_{name}") for name in ("vv", "vh", "vv-vh")]
    assert np.array_equal(moved, sar_composite(stack[summer], ["vv", "vh", "vv-vh"]))


def test_two_polarisations_give_colour_and_one_gives_grey() -> None:
    stack = ramps(2)
    colour = sar_composite(stack, ["vh", "vv"])
    assert colour.shape == (8, 8, 3)
    assert np.array_equal(colour, sar_composite(stack[::-1], ["vv", "vh"]))
    grey = sar_composite(stack[:1], ["vh"])
    assert np.array_equal(grey[..., 0], grey[..., 2])
    assert 0 <= grey.min() < grey.max() <= 1


def test_composite_survives_missing_and_constant_pixels() -> None:
    stack = ramps(1)
    stack[0, 0] = np.nan
    assert (sar_composite(stack, ["vh"])[0] == 1).all()
    for value in (np.nan, -20.0):
        assert np.isfinite(sar_composite(np.full((1, 4, 4), value), ["vh"])).all()


def test_composite_refuses_a_wrong_count_of_names() -> None:
    with pytest.raises(SardinoError, match="11 channel names"):
        sar_composite(ramps(12), CHANNELS[:11])


def test_class_colours_are_the_legends() -> None:
    index = np.array([[0, 4], [10, IGNORE]], np.uint8)
    image = class_image(index, WORLDCOVER)
    assert tuple(image[0, 1]) == to_rgb("#FA0000")
    assert tuple(image[1, 1]) == (1, 1, 1)
    handles = class_handles([(index, WORLDCOVER), (index, WORLDCOVER)])
    assert [handle.get_label() for handle in handles] == ["Tree cover", "Built-up", "Moss and lichen", "No label"]


@pytest.mark.parametrize(("width", "gsd", "text"), [(96, 10.0, "200 m"), (448, 10.0, "1 km"), (448, 100.0, "10 km")])
def test_scale_bar_has_a_round_length(width: int, gsd: float, text: str) -> None:
    axes = Figure().subplots()
    axes.imshow(np.zeros((width, width)))
    scale_bar(axes, width, gsd)
    bar = axes.artists[0]
    assert bar.txt_label.get_text() == text
    length = bar.size_bar.get_children()[0].get_width() * gsd
    assert length == {"200 m": 200, "1 km": 1000, "10 km": 10000}[text]


def test_captions_name_made_and_derived_labels() -> None:
    assert provenance(synthetic=True) == "synthetic world"
    assert provenance(synthetic=False, derived=True) == "real chips, derived labels"
    assert captioned("A", [WORLDCOVER, None]) == "A"
