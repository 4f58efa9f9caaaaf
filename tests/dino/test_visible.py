"""What is hidden stays hidden, is as much in each tile, and is what is asked for."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.radiometry import CHANNELS
from sardino.dino.recipe import FILTERED, Physics
from sardino.dino.visible import Hidden, Hiding, MaskedNetwork, visible_patches
from sardino.dino.vit import Architecture
from sardino.errors import SardinoError

SHAPE = Architecture(width=24, depth=2, heads=3, patch=8, channels=12, tile_px=32)
NORMALISATION = Normalisation(tuple(CHANNELS), (-12.0,) * 12, (4.0,) * 12)
RECIPE = FILTERED.changed(decoder_width=32)


def tiles(count: int = 5) -> Tensor:
    return -12 + 4 * torch.randn(count, 12, 32, 32, generator=torch.Generator().manual_seed(0))


def hide(images: Tensor, seed: int = 1, **changes: float) -> Hidden:
    hiding = Hiding(SHAPE, RECIPE.changed(**changes), NORMALISATION)
    return hiding(images, hiding.draw(len(images), torch.Generator().manual_seed(seed)))


@settings(max_examples=25, deadline=None)
@given(masked=st.floats(0.2, 0.8), share=st.floats(0, 1), seed=st.integers(0, 99), grid=st.sampled_from([4, 5, 12]))
def test_each_tile_hides_as_many_whole_blocks_and_never_all_seasons(masked, share, seed, grid):
    shape = Architecture(24, 2, 3, 8, 12, 8 * grid)
    recipe = RECIPE.changed(masked=masked, hide_seasons=share)
    hiding = Hiding(shape, recipe, NORMALISATION)
    draws = hiding.draw(7, torch.Generator().manual_seed(seed))
    assert set((~draws.patches).sum(1).tolist()) == {visible_patches(shape, recipe)}
    if grid % 2 == 0:
        blocks = draws.patches.view(7, grid // 2, 2, grid // 2, 2).float().mean((2, 4))
        assert set(blocks.flatten().tolist()) <= {0.0, 1.0}
    seasons = draws.channels.view(7, 4, 3).float().mean(2)  # a season's three channels go together
    assert set(seasons.flatten().tolist()) <= {0.0, 1.0} and (seasons.sum(1) < 4).all()
    assert share or not seasons.any()


def test_a_part_of_the_draws_makes_a_part_of_the_batch():
    hiding = Hiding(SHAPE, RECIPE, NORMALISATION)
    draws = hiding.draw(4, torch.Generator().manual_seed(0))
    whole, part = hiding(tiles(4), draws), hiding(tiles(4)[1:3], draws.part(1, 3))
    assert all(torch.equal(a[1:3], b) for a, b in zip(whole, part, strict=True))


def test_the_network_cannot_see_what_is_hidden_or_missing():
    images = tiles()
    images[0, 3, :9] = float("nan")
    made = hide(images, hide_seasons=1.0)
    gone = made.asked.unflatten(1, (4, 4)).permute(0, 3, 1, 2).repeat_interleave(8, 2).repeat_interleave(8, 3)
    assert (made.shown[gone] == 0).all() and made.shown.isfinite().all()
    seen = ~gone & made.images.isfinite()
    assert torch.equal(made.shown[seen], made.images[seen]) and made.images.isnan().any()
    network = MaskedNetwork(SHAPE, RECIPE, 7).eval()
    told, tokens = network(made.shown, made.visible)
    assert told.shape == (5, 16, 7) and tokens.shape == (5, visible_patches(SHAPE, RECIPE), 24)
    other = torch.where(made.shown == 0, 9.0, made.shown)
    hidden = torch.ones(5, 16, dtype=torch.bool).scatter(1, made.visible, False)
    only = hidden.view(5, 1, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    again, _ = network(torch.where(only, other, made.shown), made.visible)
    assert torch.equal(told, again), "a hidden patch reached the encoder"


def test_tiles_are_turned_and_seen_in_all_eight_ways():
    hiding = Hiding(SHAPE, RECIPE, NORMALISATION)
    draws = hiding.draw(64, torch.Generator().manual_seed(0))
    assert set(draws.ways.tolist()) == set(range(8))
    image = tiles(1).expand(64, -1, -1, -1)
    assert len({tuple(each[0, 0].tolist()) for each in hiding(image, draws).images}) == 8


def test_what_cannot_be_hidden_is_refused():
    one = Normalisation(("winter_vv", "winter_vh"), (0.0, 0.0), (1.0, 1.0))
    for masked in (0.01, 1.0):
        with pytest.raises(SardinoError, match="blocks of patches"):
            Hiding(SHAPE, RECIPE.changed(masked=masked), NORMALISATION)
    with pytest.raises(SardinoError, match="set hide_seasons to 0"):
        Hiding(SHAPE, RECIPE, one)
    with pytest.raises(SardinoError, match="hide no seasons"):
        Hiding(SHAPE, RECIPE, Normalisation(("a", "b"), (0.0, 0.0), (1.0, 1.0)))
    assert Hiding(SHAPE, RECIPE.changed(hide_seasons=0.0), one).draw(3, torch.Generator()).channels.sum() == 0
    with pytest.raises(SardinoError, match="of shape"):
        hide(tiles()[:, :, :16])


def test_sar_views_are_refused():
    from sardino.dino.filtered import Filtered

    with pytest.raises(SardinoError, match="leave them off"):
        Filtered(SHAPE, RECIPE, torch.device("cpu")).views(NORMALISATION, Physics(looks=4.0), tiles)
