"""Seasonal composites: the right months, linear power, one count a pass, eroded borders, no season made up."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rioxarray  # noqa: F401  gives a dataset its CRS
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sardino.data.sources.seasonal_composite import (
    HOLE_PX,
    AbsentSeason,
    SeasonalSource,
    border,
    in_year,
    join_passes,
    season_of,
    seasonal_channels,
    seasonal_composite,
    seasonal_means,
)
from sardino.data.sources.source import LeftOut, SourceChip
from sardino.data.tiles.radiometry import CHANNELS, SEASONS, seasonal_stack, to_db
from sardino.errors import SardinoError

DATES = ["2019-12-01", "2020-02-29", "2020-03-01", "2020-05-31", "2020-06-01", "2020-08-31", "2020-09-01", "2020-11-30"]
MONTHS = list(range(1, 13))


def test_every_month_has_its_season() -> None:
    named = {season: [month for month in MONTHS if season_of(month) == season] for season in SEASONS}
    assert named == {"winter": [1, 2, 12], "spring": [3, 4, 5], "summer": [6, 7, 8], "fall": [9, 10, 11]}
    for month in (0, 13):
        with pytest.raises(SardinoError, match=f"month {month}"):
            season_of(month)


def test_a_year_begins_with_the_december_before() -> None:
    dates = np.array(["2020-11-30", "2020-12-01", "2021-02-28", "2021-11-30", "2021-12-01"], "datetime64[D]")
    assert in_year(dates, 2021).tolist() == [False, True, True, True, False]


@given(arrays(np.float32, (12, 2, 2), elements=st.floats(0.125, 4, width=32)), st.permutations(range(12)))
def test_the_order_of_the_dates_does_not_matter(power: np.ndarray, order: list[int]) -> None:
    mixed = seasonal_means(power[order], [MONTHS[place] for place in order])
    np.testing.assert_allclose(mixed, seasonal_means(power, MONTHS), rtol=1e-6)


@given(arrays(np.float32, (12, 2, 2), elements=st.floats(0.125, 4, width=32)), arrays(np.bool_, (12, 2, 2)))
def test_missing_dates_are_left_out_pixel_by_pixel(power: np.ndarray, missing: np.ndarray) -> None:
    means = seasonal_means(np.where(missing, np.nan, power), MONTHS, needed=())
    summer = slice(5, 8)
    count = (~missing[summer]).sum(0)
    total = np.where(missing[summer], 0, power[summer]).sum(0, dtype=float)
    np.testing.assert_allclose(means[2][count > 0], (total[count > 0] / count[count > 0]), rtol=1e-6)
    assert np.isnan(means[2][count == 0]).all()


def test_the_mean_is_taken_in_power_not_in_decibels() -> None:
    power = np.ones((12, 1, 1), np.float32)
    power[5] = 10.0  # 10 dB and twice 0 dB: 6.02 dB in power, 3.33 dB as a mean of decibels
    summer = seasonal_channels({"vv": to_db(seasonal_means(power, MONTHS))}, ["summer_vv"])
    assert summer.item() == pytest.approx(6.02, abs=0.01)


def test_an_absent_season_is_refused_by_name_or_left_empty() -> None:
    power, months = np.ones((2, 4, 4), np.float32), [6, 9]
    with pytest.raises(AbsentSeason, match="chip 7 has no valid date in winter, spring"):
        seasonal_means(power, months, source="chip 7")
    means = seasonal_means(power, months, needed=("summer", "fall"))
    assert np.isnan(means[:2]).all() and np.isfinite(means[2:]).all()


def test_dates_and_months_must_match() -> None:
    with pytest.raises(SardinoError, match="3 dates but 2 months"):
        seasonal_means(np.ones((3, 2, 2)), [1, 2])


def test_the_twelve_channels_are_those_of_the_radiometry() -> None:
    vv, vh = np.random.default_rng(0).uniform(0.01, 1, (2, 4, 3, 3)).astype(np.float32)
    np.testing.assert_allclose(seasonal_channels({"vv": to_db(vv), "vh": to_db(vh)}, CHANNELS), seasonal_stack(vv, vh))


@pytest.mark.parametrize(("channel", "message"), [("vv", "no seasonal channel"), ("winter_vh", "needs vh")])
def test_a_channel_that_cannot_be_made_is_named(channel: str, message: str) -> None:
    with pytest.raises(SardinoError, match=message):
        seasonal_channels({"vv": np.ones((4, 2, 2), np.float32)}, [channel])


# Of series of passes


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
    assert len(join_passes(late.rio.write_crs("EPSG:32643"))["time"]) == 1  # 75 degrees east
    day = series(["2020-06-07T00:30", "2020-06-07T23:30"], orbits=[5, 5])
    assert len(join_passes(day)["time"]) == 1  # 3 degrees east
    # At 87 degrees east these are two solar days, although the same day in UTC.
    assert len(join_passes(day.rio.write_crs("EPSG:32645"))["time"]) == 2


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


def composed(made: xr.Dataset, min_valid: float = 0.0, **facts: Any) -> SourceChip:
    source = SeasonalSource(2020, erode_px=0, min_valid=min_valid)
    return source.composed(made, np.zeros((24, 24), np.uint8), {}, "the catalogue", **facts)


def test_the_chip_has_the_twelve_channels_and_its_counts() -> None:
    made = series(DATES)
    chip = composed(made)
    assert chip.backscatter_db.shape == (len(CHANNELS), 24, 24) and chip.backscatter_db.dtype == np.float32
    vv = 10 * np.log10(made["vv"].values[:2].astype(np.float64).mean(0))
    np.testing.assert_allclose(chip.backscatter_db[CHANNELS.index("winter_vv")], vv, atol=1e-4)
    assert chip.counts is not None and (chip.counts == 2).all()


def test_a_missing_season_leaves_the_tile_out_by_name_unless_it_is_not_needed() -> None:
    with pytest.raises(LeftOut, match="the catalogue has no valid pass in winter"):
        composed(series(DATES[2:]))
    chip = composed(series(DATES[2:]), needed=SEASONS[1:])
    assert np.isnan(chip.backscatter_db[:3]).all() and np.isfinite(chip.backscatter_db[3:]).all()


def test_a_season_that_covers_too_little_leaves_the_tile_out() -> None:
    made = series(DATES)
    for name in ("vv", "vh"):
        made[name].values[4:6, :, :18] = 0
    with pytest.raises(LeftOut, match="summer 25%"):
        composed(made, min_valid=0.5)


def test_a_series_that_does_not_say_what_it_holds_is_refused() -> None:
    made = series(DATES)
    with pytest.raises(SardinoError, match="quantity"):
        seasonal_composite(made.assign_attrs(quantity="dB"), 2020)
    with pytest.raises(SardinoError, match="vh"):
        seasonal_composite(made.drop_vars("vh"), 2020)
    with pytest.raises(SardinoError, match="mean or median"):
        seasonal_composite(made, 2020, "average")  # type: ignore[arg-type]
