import math

import pytest
import torch
from test_crops import crop

from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.radiometry import CHANNELS
from sardino.dino.crops import random_boxes, random_flips
from sardino.dino.recipe import DINO, Physics
from sardino.dino.views import NO_PHYSICS, Draws, Views, half_tile
from sardino.dino.vit import Architecture
from sardino.errors import SardinoError

MEAN = torch.linspace(-18, 6, 12)
STD = torch.linspace(1, 5, 12)
STATISTICS = Normalisation(CHANNELS, tuple(MEAN.tolist()), tuple(STD.tolist()))
ARCHITECTURE = Architecture(width=24, depth=2, heads=3, patch=8, channels=12, tile_px=32)


def make(physics=NO_PHYSICS, **changes):
    return Views(ARCHITECTURE, DINO.changed(local_crops=3, **changes), STATISTICS, physics)


def tiles(batch=4, size=32):
    noise = torch.randn(batch, 12, size, size, generator=torch.Generator().manual_seed(3))
    return noise * STD[:, None, None] + MEAN[:, None, None]


def flat(views):
    """Copies of global and local views: their memory is reused by the next call."""
    return [view.clone() for kind in views for view in kind]


def drawn(views, batch=4, seed=0):
    return views.draw(batch, torch.Generator().manual_seed(seed))


def test_cropping_then_normalising_is_normalising_then_cropping():
    db, views = tiles(), make()
    kept = db.clone()
    seen = views(db, drawn(views))
    assert [v.shape[-1] for kind in seen for v in kind] == [32, 32, 16, 16, 16]
    assert torch.equal(db, kept)
    normal = (db - MEAN[:, None, None]) / STD[:, None, None]
    draw, expected = torch.Generator().manual_seed(0), []
    for scale, size in [((0.4, 1.0), 32)] * 2 + [((0.05, 0.4), 16)] * 3:
        boxes = random_boxes(4, 32, 32, scale, draw)
        expected.append(crop(normal, boxes, random_flips(4, draw), size))
    torch.testing.assert_close(flat(seen), expected, atol=1e-4, rtol=0)


def test_a_part_of_the_draws_gives_the_same_part_of_the_views():
    """Ranks draw for the whole batch and take their tiles; the views do not depend on how many ranks there are."""
    db = tiles()
    db[1, 3:6, 5:20, 5:20] = torch.nan
    views = make(physics=Physics(gain_db=1, ramp_db=1, drop_season=0.5))
    draws = drawn(views)
    whole = flat(views(db, draws))
    parts = [flat(views(db[start : start + 2], draws.part(start, start + 2))) for start in (0, 2)]
    assert all(torch.equal(w, torch.cat(p)) for w, p in zip(whole, zip(*parts, strict=True), strict=True))


def test_a_view_lives_in_kept_memory_until_the_next_call():
    views, db = make(), tiles()
    first = views(db, drawn(views))[0][0]
    assert views(db, drawn(views, seed=1))[0][0].data_ptr() == first.data_ptr()
    assert views(db[:2], drawn(views, 2))[0][0].shape[0] == 2


def test_missing_pixels_never_leak():
    """Where at least half the weight is valid the view is the mean of valid pixels; elsewhere it is exactly 0."""
    whole, views = tiles(), make()
    draws = drawn(views)
    expected = flat(views(whole, draws))
    holed = whole.clone()
    holed[1, 3:6, 8:20, 8:20] = torch.nan
    holed[2, 7, :, 16:] = -torch.inf
    seen = flat(views(holed, draws))
    missing = 0
    for number, (view, reference) in enumerate(zip(seen, expected, strict=True)):
        size = view.shape[-1]
        valid = holed.isfinite().double()
        box, flip = draws.boxes[number].double(), draws.flips[number]
        weight = crop(valid, box, flip, size)
        filled = torch.where(holed.isfinite(), holed, 0.0).double()
        mean = crop(filled, box, flip, size) / weight
        normal = (mean - MEAN.double()[:, None, None]) / STD.double()[:, None, None]
        assert view.isfinite().all()
        clear = (weight - 0.5).abs() > 1e-4
        assert (view[(weight < 0.5) & clear] == 0).all()
        touched = (weight > 0.5) & (weight < 1 - 1e-6) & clear
        torch.testing.assert_close(view[touched].double(), normal[touched], atol=1e-3, rtol=0)
        untouched = weight > 1 - 1e-9
        torch.testing.assert_close(view[untouched], reference[untouched], atol=1e-5, rtol=0)
        missing += int((view == 0).sum())
    assert missing


def test_a_tile_of_nothing_is_zero():
    views = make()
    db = tiles(2)
    db[1] = torch.nan
    seen = flat(views(db, drawn(views, 2)))
    assert all((view[1] == 0).all() and (view[0] != 0).any() for view in seen)


def test_default_physics_changes_no_bit():
    views, plain = make(physics=Physics()), make()
    assert drawn(views).physics is None
    assert all(
        torch.equal(a, b)
        for a, b in zip(flat(views(tiles(), drawn(views))), flat(plain(tiles(), drawn(plain))), strict=True)
    )


def test_physics_acts_in_decibels_before_normalisation():
    views, plain = make(physics=Physics(gain_db=2.0)), make()
    draws = drawn(views)
    changed = flat(views(tiles(), draws))
    before = flat(plain(tiles(), Draws(draws.boxes, draws.flips)))
    gain = draws.physics.gain
    for number, (one, other) in enumerate(zip(changed, before, strict=True)):
        shift = gain[number, :, 0, None, None, None] / STD[0::3, None, None]
        torch.testing.assert_close((one - other)[:, 0::3], shift.expand_as(one[:, 0::3]), atol=1e-4, rtol=0)


def test_a_dropped_season_is_zero():
    views = make(physics=Physics(drop_season=1.0))
    seen = flat(views(tiles(), drawn(views)))
    assert all(((view == 0).flatten(2).all(-1).sum(1) == 3).all() for view in seen)


def test_speckle_is_repeated_by_its_generator():
    views = make(physics=Physics(looks=4))
    draws = drawn(views)
    runs = [flat(views(tiles(), draws, torch.Generator().manual_seed(seed))) for seed in (1, 1, 2)]
    assert all(torch.equal(a, b) for a, b in zip(runs[0], runs[1], strict=True))
    assert not torch.equal(runs[0][0], runs[2][0])
    assert not torch.equal(runs[0][0], runs[0][1])


@pytest.mark.parametrize(("tile_px", "patch", "px"), [(448, 16, 224), (96, 8, 48), (48, 16, 32), (16, 16, 16)])
def test_half_a_tile_is_whole_patches(tile_px, patch, px):
    assert half_tile(tile_px, patch) == px


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"global_scale": (0.0, 1.0)}, "global_scale"),
        ({"global_scale": (0.4, 1.1)}, "global_scale"),
        ({"local_scale": (0.4, 0.05)}, "local_scale"),
        ({"local_scale": (math.nan, 0.5)}, "local_scale"),
        ({"global_crops": 0}, "global_crops"),
        ({"physics": Physics(orbit_swap=0.5)}, "orbit"),
    ],
)
def test_impossible_views_are_refused(changes, reason):
    with pytest.raises(SardinoError, match=reason):
        make(**changes)


def test_other_tiles_than_drawn_for_are_refused():
    views = make()
    for wrong in (tiles(3), tiles(4, 16), tiles()[:, :6]):
        with pytest.raises(SardinoError, match="shape"):
            views(wrong, drawn(views))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_shows_the_same():
    db = tiles()
    db[1, 3:6, 8:20, 8:20] = torch.nan
    views, there = make(physics=Physics(gain_db=1, drop_season=0.5)), make(physics=Physics(gain_db=1, drop_season=0.5))
    draws = drawn(views)
    for one, other in zip(flat(views(db, draws)), flat(there(db.cuda(), draws)), strict=True):
        # A pixel whose valid weight is a half may fall to either side.
        assert ((one - other.cpu()).abs() > 1e-2).double().mean() < 1e-3
