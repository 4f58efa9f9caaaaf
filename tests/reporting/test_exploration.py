"""The explorer's figure: panels that stay in place, the looking patch in a frame, honest titles and colour bars."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from sardino.data.tiles.landcover import IGNORE, WORLDCOVER, Legend
from sardino.data.tiles.radiometry import CHANNELS
from sardino.reporting.figures.exploration import (
    SIMILARITY,
    Exploration,
    draw_exploration,
    draw_scene_overview,
    empty_figure,
    patch_at,
)
from sardino.reporting.figures.places import REFERENCE, has_values

RNG = np.random.default_rng(0)


@pytest.fixture
def seen() -> Exploration:
    return Exploration(
        sar=RNG.normal(-12, 4, (12, 32, 48)),
        channels=CHANNELS,
        map=RNG.random((4, 6)) + 0.5,
        said="From this patch: block 1, head 1",
        patch=(1, 5),
        layer=REFERENCE,
        values=RNG.integers(0, 3, (32, 48)).astype(np.uint8),
        legend=WORLDCOVER,
        gsd_m=10.0,
    )


def frames(axes) -> list[tuple[float, ...]]:
    return [(*p.get_xy(), p.get_width(), p.get_height()) for p in axes.patches if isinstance(p, Rectangle)]


def test_the_looking_patch_is_framed_in_each_panel_on_one_pixel_grid(seen):
    figure = draw_exploration(seen, empty_figure())
    for axes in figure.axes[:3]:
        assert frames(axes) == [(39.5, 7.5, 8, 8)] * 2  # white below black
        assert axes.get_xlim() == (-0.5, 47.5) and axes.get_ylim() == (31.5, -0.5)
    assert figure.axes[1].images[0].get_extent() == [-0.5, 47.5, 31.5, -0.5]
    figure = draw_exploration(replace(seen, patch=None), figure)
    assert [frames(axes) for axes in figure.axes[:3]] == [[], [], []]


def test_nothing_moves_when_something_else_is_shown(seen):
    figure = draw_exploration(seen, empty_figure())
    places = [axes.get_position().bounds for axes in figure.axes[:3]]
    other = replace(seen, layer="biomass_t_ha", values=RNG.random((32, 48)), patch=None)
    draw_exploration(other, figure)
    assert [axes.get_position().bounds for axes in figure.axes[:3]] == places
    figure.canvas.draw()


@pytest.mark.parametrize(
    ("layer", "shape", "dtype", "title"),
    [
        (REFERENCE, (32, 48), np.uint8, "ESA WorldCover"),
        ("landcover_300m", (32, 48), np.uint8, "Land cover at 300 m"),
        ("optical", (3, 32, 48), np.uint8, "Optical image"),
        ("vegetation_percent", (32, 48), np.float32, "Vegetation (%)"),
        ("built_percent", (32, 48), np.float32, "Built surface (%)"),
        ("biomass_t_ha", (32, 48), np.float32, "Biomass (t/ha)"),
    ],
)
def test_every_layer_has_its_title_and_its_scale(seen, layer, shape, dtype, title):
    values = (RNG.random(shape) * 3).astype(dtype)
    figure = draw_exploration(replace(seen, layer=layer, values=values), empty_figure())
    assert figure.axes[2].get_title() == title
    amounts = layer not in (REFERENCE, "landcover_300m", "optical")
    labels = [axes.get_xlabel() for axes in figure.axes[3:]]
    assert labels == ["times an even share (1 = even)", *([title] if amounts else [])]
    assert bool(figure.legends) is (layer in (REFERENCE, "landcover_300m"))


def test_similarity_has_a_scale_of_its_own_that_ends_at_one(seen):
    drawn = draw_exploration(replace(seen, map=RNG.random((4, 6)) - 0.3, unit=SIMILARITY), empty_figure()).axes
    low, high = drawn[1].images[0].get_clim()
    assert (drawn[3].get_xlabel(), high) == (SIMILARITY, 1) and low < 0
    assert drawn[1].images[0].cmap.name != draw_exploration(seen, empty_figure()).axes[1].images[0].cmap.name


def test_a_whole_scene_is_shown_in_its_own_pixels():
    (axes,) = draw_scene_overview(RNG.random((20, 50, 3)), (200, 500), "all of it").axes
    assert axes.images[0].get_extent() == [-0.5, 499.5, 199.5, -0.5] and axes.get_xlim() == (-0.5, 499.5)
    assert not draw_scene_overview(None, (500, 20), "a frame").axes[0].images


def test_a_legend_of_derived_labels_says_so(seen):
    derived = Legend("Sentinel-2 scene classes", WORLDCOVER.classes, derived=True)
    figure = draw_exploration(replace(seen, legend=derived), empty_figure())
    assert figure.axes[2].get_title() == "Sentinel-2 scene classes (derived labels)"


def test_what_is_synthetic_says_so_on_its_panels(seen):
    for layer, values in ((REFERENCE, seen.values), ("optical", None)):
        real = draw_exploration(replace(seen, layer=layer, values=values), empty_figure()).axes
        made = draw_exploration(replace(seen, layer=layer, values=values, synthetic=True), empty_figure()).axes
        for panel in (0, 2):
            assert made[panel].get_title() == f"{real[panel].get_title()} (synthetic)"


def test_what_a_tile_lacks_is_told_and_not_drawn(seen):
    figure = draw_exploration(replace(seen, values=None, layer="optical"), empty_figure())
    assert [text.get_text() for text in figure.axes[2].texts] == ["there is none here"]
    assert not figure.axes[2].images
    left, bottom, right, top = figure.axes[2].texts[0].get_window_extent().extents
    panel = figure.axes[2].get_window_extent()
    assert panel.x0 < left < right < panel.x1 and panel.y0 < bottom < top < panel.y1
    assert not has_values(REFERENCE, np.full((2, 2), IGNORE)) and not has_values("optical", np.zeros((3, 2, 2)))
    assert not has_values("biomass_t_ha", np.full((2, 2), np.nan)) and has_values("biomass_t_ha", np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("x", "y", "patch"), [(-0.5, -0.5, (0, 0)), (7.4, 7.6, (1, 0)), (47.5, 31.5, (3, 5)), (20, 12, (1, 2))]
)
def test_a_point_finds_its_patch(seen, x, y, patch):
    assert patch_at(x, y, seen) == patch
