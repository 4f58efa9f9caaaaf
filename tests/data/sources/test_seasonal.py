"""Seasonal composites: the right months, means in linear power, and no season made up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sardino.data.sources.seasonal_composite import AbsentSeason, in_year, season_of, seasonal_channels, seasonal_means
from sardino.data.tiles.radiometry import CHANNELS, SEASONS, seasonal_stack, to_db
from sardino.errors import SardinoError

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
