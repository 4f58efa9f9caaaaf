"""Seasonal composites: linear power, whole seasons, one count a pass, eroded borders."""

import warnings

import numpy as np
import pandas as pd
import pytest
import rioxarray  # noqa: F401  gives a dataset its CRS
import xarray as xr

from sardino.data.sources.seasonal_composite import HOLE_PX, border, composite_chip, join_passes, seasonal_composite
from sardino.data.sources.source import LeftOut
from sardino.data.tiles.radiometry import CHANNELS, SEASONS
from sardino.errors import SardinoError

DATES = ["2019-12-01", "2020-02-29", "2020-03-01", "2020-05-31", "2020-06-01", "2020-08-31", "2020-09-01", "2020-11-30"]


def series(
    dates: list[str], size: int = 24, seed: int = 0, orbits: list[int] | None = None, missing: float = 0.0
) -> xr.Dataset:
    draw = np.random.default_rng(seed)
    values = {name: draw.gamma(4, 0.02, (len(dates), size, size)).astype(np.float32) for name in ("vv", "vh")}
    for power in values.values():
        power[draw.random(power.shape) < missing] = 0
    coordinates = {
        "time": pd.DatetimeIndex(dates),
        "y": 5e6 - 10.0 * np.arange(size),
        "x": 5e5 + 10.0 * np.arange(size),
    }
    made = xr.Dataset({name: (("time", "y", "x"), v) for name, v in values.items()}, coordinates)
    if orbits:
        made = made.assign_coords(relative_orbit=("time", orbits))
    return made.rio.write_crs("EPSG:32631").assign_attrs(quantity="gamma0")


def test_the_mean_is_taken_in_linear_power_over_whole_seasons() -> None:
    made = series(DATES)
    result = seasonal_composite(made, 2020)
    pairs = made["vv"].values.astype(np.float64).reshape(4, 2, 24, 24)
    np.testing.assert_allclose(result["vv"].values, pairs.mean(1), rtol=1e-6)
    assert (result["count_vv"].values == 2).all() and result["count_vh"].dtype == np.int16
    assert list(result["season"].values) == list(SEASONS) and result.attrs["quantity"] == "gamma0"
    assert result.rio.crs.to_epsg() == 32631


def test_dates_outside_the_year_of_seasons_do_not_count() -> None:
    inside = seasonal_composite(series(DATES), 2020)
    noise = series([*DATES, "2019-11-30", "2020-12-01"])
    noise["vv"].values[:8], noise["vh"].values[:8] = series(DATES)["vv"].values, series(DATES)["vh"].values
    xr.testing.assert_identical(seasonal_composite(noise, 2020), inside)


def test_the_median_is_the_median_of_what_is_valid() -> None:
    made = series(DATES * 3, missing=0.4, orbits=[n // 8 for n in range(24)])
    result = seasonal_composite(made, 2020, "median", erode_px=0)
    power = made["vv"].where(made["vv"] > 0).sortby("time")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # pixels without any date
        summer = np.nanmedian(power.sel(time=slice("2020-06-01", "2020-08-31")).values, axis=0)
    np.testing.assert_allclose(result["vv"].sel(season="summer").values, summer, rtol=1e-6)


@pytest.mark.parametrize("bad", [0.0, -1e-4, -32768.0, np.nan, np.inf])
def test_what_is_not_a_power_is_missing(bad: float) -> None:
    made = series(DATES)
    made["vv"].values[0, 5, 5] = bad
    result = seasonal_composite(made, 2020)
    assert result["count_vv"].values[0, 5, 5] == 1 and result["count_vh"].values[0, 5, 5] == 2
    assert result["vv"].values[0, 5, 5] == pytest.approx(made["vv"].values[1, 5, 5])


def test_frames_of_one_pass_count_once_and_other_orbits_count_again() -> None:
    one = series(["2020-06-07T06:00:00", "2020-06-07T06:00:25"], orbits=[59, 59])
    result = seasonal_composite(one, 2020, erode_px=0)
    assert (result["count_vv"].sel(season="summer") == 1).all()
    np.testing.assert_array_equal(result["vv"].sel(season="summer"), one["vv"].values[0])  # the earlier frame
    two = one.assign_coords(relative_orbit=("time", [59, 88]))
    assert (seasonal_composite(two, 2020, erode_px=0)["count_vv"].sel(season="summer") == 2).all()


def test_a_pass_is_one_solar_day_also_across_midnight_utc() -> None:
    late = series(["2020-06-07T23:59:50", "2020-06-08T00:00:15"], orbits=[5, 5])
    assert len(join_passes(late, longitude=75.0)["time"]) == 1
    # Twelve hours apart in solar time: two passes, although the same day in UTC.
    assert len(join_passes(series(["2020-06-07T00:30", "2020-06-07T23:30"], orbits=[5, 5]), 0.0)["time"]) == 1
    assert len(join_passes(series(["2020-06-07T00:30", "2020-06-07T23:30"], orbits=[5, 5]), 90.0)["time"]) == 2


def test_the_border_of_a_pass_is_eroded_but_not_the_seam_of_its_frames() -> None:
    made = series(["2020-06-07T06:00:00", "2020-06-07T06:00:25"], orbits=[59, 59], size=40)
    for name in ("vv", "vh"):
        made[name].values[0, 20:] = 0  # frames meet at row 20
        made[name].values[1, :20] = 0
        made[name].values[:, :, :8] = 0  # the swath begins at column 8
    count = seasonal_composite(made, 2020, erode_px=6)["count_vv"].sel(season="summer").values
    assert (count[:, :14] == 0).all() and (count[:, 14:] == 1).all()


def test_a_small_hole_stays_small() -> None:
    missing = np.zeros((1, 30, 30), bool)
    missing[0, 10 : 10 + HOLE_PX - 1, 12] = True
    assert not border(missing, 6).any()
    missing[0, 10 : 10 + HOLE_PX, 12 : 12 + HOLE_PX] = True
    assert border(missing, 6).sum() == (HOLE_PX + 12) ** 2


def test_the_chip_has_the_twelve_channels_and_its_counts() -> None:
    made = series(DATES)
    chip = composite_chip(seasonal_composite(made, 2020), np.zeros((24, 24), np.uint8))
    assert chip.backscatter_db.shape == (len(CHANNELS), 24, 24) and chip.backscatter_db.dtype == np.float32
    vv = 10 * np.log10(made["vv"].values[:2].astype(np.float64).mean(0))
    np.testing.assert_allclose(chip.backscatter_db[CHANNELS.index("winter_vv")], vv, atol=1e-4)
    assert chip.counts is not None and (chip.counts == 2).all()


def test_a_missing_season_leaves_the_tile_out_by_name_unless_it_is_not_needed() -> None:
    composite = seasonal_composite(series(DATES[2:]), 2020)
    label = np.zeros((24, 24), np.uint8)
    with pytest.raises(LeftOut, match="no valid pass in winter"):
        composite_chip(composite, label)
    chip = composite_chip(composite, label, needed=SEASONS[1:])
    assert np.isnan(chip.backscatter_db[:3]).all() and np.isfinite(chip.backscatter_db[3:]).all()


def test_a_season_that_covers_too_little_leaves_the_tile_out() -> None:
    made = series(DATES)
    for name in ("vv", "vh"):
        made[name].values[4:6, :, :18] = 0
    composite = seasonal_composite(made, 2020, erode_px=0)
    with pytest.raises(LeftOut, match="summer 25%"):
        composite_chip(composite, np.zeros((24, 24), np.uint8), min_valid=0.5)


def test_a_series_that_does_not_say_what_it_holds_is_refused() -> None:
    made = series(DATES)
    with pytest.raises(SardinoError, match="quantity"):
        seasonal_composite(made.assign_attrs(quantity="dB"), 2020)
    with pytest.raises(SardinoError, match="vh"):
        seasonal_composite(made.drop_vars("vh"), 2020)
    with pytest.raises(SardinoError, match="mean or median"):
        seasonal_composite(made, 2020, "average")  # type: ignore[arg-type]
