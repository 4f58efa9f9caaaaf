import math

import pytest
import torch

from sardino.data.tiles.radiometry import CHANNELS
from sardino.dino.radar_views import Drawn, Physics, SarViews, speckle_db
from sardino.errors import SardinoError

ORBITS = [
    f"{season}_{orbit}_{pol}" for season in ("winter", "summer") for orbit in ("asc", "desc") for pol in ("vv", "vh")
]


def tiles(channels=CHANNELS, batch=4, size=16):
    """Backscatter in dB whose VV-VH is the difference."""
    db = torch.randn(batch, len(channels), size, size, generator=torch.Generator().manual_seed(1)) - 10
    for number, name in enumerate(channels):
        if name.endswith("vv-vh"):
            db[:, number] = db[:, number - 2] - db[:, number - 1]
    return db


def varied(physics, db, channels=CHANNELS, seed=0):
    """One view of each tile, and what was drawn for it."""
    views = SarViews(physics, channels)
    generator = torch.Generator().manual_seed(seed)
    drawn = Drawn(*(values[0] for values in views.draw(1, len(db), generator)))
    return views(db.clone(), drawn, generator), drawn


def assert_consistent(db):
    torch.testing.assert_close(db[:, 2::3], db[:, 0::3] - db[:, 1::3], atol=1e-5, rtol=0, equal_nan=True)


@pytest.mark.parametrize("looks", [0.5, 1.0, 4.4, 50.0])
def test_speckle_keeps_mean_power_and_has_its_looks(looks):
    power = 10 ** (speckle_db((400_000,), looks, torch.Generator().manual_seed(0)).double() / 10)
    error = 1 / math.sqrt(looks * 400_000)
    assert abs(power.mean() - 1) < 5 * error
    assert power.mean() ** 2 / power.var() == pytest.approx(looks, rel=0.03)


def test_speckle_is_independent_in_vv_vh_and_season_and_moves_their_difference():
    db = tiles(batch=2, size=64)
    seen, _ = varied(Physics(looks=4), db)
    assert_consistent(seen)
    noise = (seen - db)[:, [c for c in range(12) if c % 3 != 2]].transpose(0, 1).flatten(1)
    correlation = torch.corrcoef(noise) - torch.eye(8)
    assert correlation.abs().max() < 0.06


def test_gain_is_one_number_per_view_and_polarisation():
    db = tiles()
    seen, drawn = varied(Physics(gain_db=1.5), db)
    assert_consistent(seen)
    for polarisation in (0, 1):
        change = (seen - db)[:, polarisation::3]
        expected = drawn.gain[:, polarisation, None, None, None].expand_as(change)
        torch.testing.assert_close(change, expected, atol=1e-5, rtol=0)
    many = SarViews(Physics(gain_db=1.5), CHANNELS).draw(50, 200, torch.Generator().manual_seed(0)).gain
    assert many.std() == pytest.approx(1.5, rel=0.05) and abs(many.mean()) < 0.05


def test_a_ramp_is_linear_from_west_to_east_and_spares_the_ratio():
    db = tiles()
    seen, drawn = varied(Physics(ramp_db=2.0), db)
    change = seen - db
    east = (torch.arange(16) + 0.5) / 16 - 0.5
    expected = drawn.ramp[:, None, None, None] * east
    for polarisation in (0, 1):
        torch.testing.assert_close(change[:, polarisation::3], expected.expand(4, 4, 16, 16), atol=1e-5, rtol=0)
    assert change[:, 2::3].abs().max() < 1e-5
    assert drawn.ramp.abs().max() <= 2


def test_a_descending_orbit_has_the_ramp_the_other_way():
    db = tiles(ORBITS)
    change = varied(Physics(ramp_db=2.0), db, ORBITS)[0] - db
    torch.testing.assert_close(change[:, 0:2], -change[:, 2:4], atol=1e-5, rtol=0)


def test_a_dropped_season_is_missing_whole_and_alone():
    db = tiles()
    seen, drawn = varied(Physics(drop_season=1.0), db)
    for tile, season in enumerate(drawn.drop.tolist()):
        assert seen[tile, 3 * season : 3 * season + 3].isnan().all()
        kept = [c for c in range(12) if c // 3 != season]
        assert torch.equal(seen[tile, kept], db[tile, kept])
    drops = SarViews(Physics(drop_season=0.25), CHANNELS).draw(50, 200, torch.Generator().manual_seed(0)).drop
    assert (drops >= 0).float().mean() == pytest.approx(0.25, abs=0.02)
    assert set(drops.unique().tolist()) == {-1, 0, 1, 2, 3}


def test_seasons_as_views_show_one_season_everywhere():
    db = tiles()
    seen, drawn = varied(Physics(seasons_as_views=True, looks=3), db)
    assert all(torch.equal(seen[:, 0:3], seen[:, 3 * s : 3 * s + 3]) for s in range(4))
    assert_consistent(seen)
    seen, drawn = varied(Physics(seasons_as_views=True), db)
    for tile, season in enumerate(drawn.season.tolist()):
        assert torch.equal(seen[tile, 0:3], db[tile, 3 * season : 3 * season + 3])


def test_orbits_change_places():
    db = tiles(ORBITS)
    seen, _ = varied(Physics(orbit_swap=1.0), db, ORBITS)
    assert torch.equal(seen, db[:, [2, 3, 0, 1, 6, 7, 4, 5]])
    long = [name.replace("asc", "ascending").replace("desc", "descending") for name in ORBITS]
    assert torch.equal(varied(Physics(orbit_swap=1.0), db, long)[0], seen)


def test_missing_pixels_stay_missing_and_spread_to_their_difference_only():
    db = tiles()
    db[0, 0, :4] = torch.nan
    db[0, 2, :4] = torch.nan
    seen, _ = varied(Physics(looks=2, gain_db=1, ramp_db=1), db)
    assert torch.equal(seen.isnan(), db.isnan())


def test_the_defaults_change_nothing():
    db = tiles()
    assert Physics().off
    assert torch.equal(varied(Physics(), db)[0], db)


@pytest.mark.parametrize(
    "wrong",
    [
        {"looks": 0.0},
        {"looks": math.nan},
        {"gain_db": -1.0},
        {"ramp_db": math.inf},
        {"drop_season": 1.5},
        {"orbit_swap": -0.1},
        {"drop_season": 0.5, "seasons_as_views": True},
    ],
)
def test_impossible_strengths_are_refused(wrong):
    with pytest.raises(SardinoError):
        Physics(**wrong)


@pytest.mark.parametrize(
    ("physics", "channels", "reason"),
    [
        (Physics(looks=1), ["winter_vv", "dem"], "channel dem"),
        (Physics(looks=1), ["winter_vv", "winter_vv"], "twice"),
        (Physics(gain_db=1), ["winter_vv", "winter_vv-vh"], "no VV and VH"),
        (Physics(orbit_swap=0.5), CHANNELS, "orbit_swap"),
        (Physics(orbit_swap=0.5), ["winter_asc_vv", "winter_desc_vv", "fall_asc_vv"], "fall_asc_vv"),
        (Physics(drop_season=0.5), CHANNELS[:3], "winter alone"),
        (Physics(seasons_as_views=True), CHANNELS[:3], "winter alone"),
        (Physics(seasons_as_views=True), ["winter_vv", "winter_vh", "fall_vv"], "seasons_as_views"),
    ],
)
def test_channels_that_do_not_serve_are_refused_at_construction(physics, channels, reason):
    with pytest.raises(SardinoError, match=reason):
        SarViews(physics, channels)


def test_speckle_without_noise_is_refused():
    views = SarViews(Physics(looks=1), CHANNELS)
    drawn = views.draw(1, 1, torch.Generator())
    with pytest.raises(SardinoError, match="noise"):
        views(tiles(batch=1), Drawn(*(values[0] for values in drawn)))
