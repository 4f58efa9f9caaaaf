"""Legacy encodings: faulty rule forward, decoded back; equal where that is promised, flagged where it is not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from sardino.data.sources.archives.old_encodings import COUNT_DB, NO_DATA_BYTE, as_stored, decode, recognise
from sardino.data.tiles.radiometry import SEASONS
from sardino.errors import SardinoError

BANDS = [f"{season}_{pol}" for season in SEASONS for pol in ("vv", "vh")]
decibels = st.floats(-60, 25, allow_nan=False)


def to_uint16(db: NDArray[np.floating]) -> NDArray[np.uint16]:
    """The older tool's cast: decimals cut off, negative numbers wrapped."""
    return np.trunc(db).astype(np.int64).astype(np.uint16)


def to_uint8(db: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The later tool's cast: scaled, decimals cut off, wrapped instead of clipped."""
    return (np.trunc(255 * (db + 30) / 30).astype(np.int64) % 256).astype(np.uint8)


def scene(rng: np.random.Generator, size: int = 64) -> NDArray[np.float64]:
    """Eight bands of land with speckle, all inside [-28, -8.5] dB."""
    land = gaussian_filter(rng.normal(size=(size, size)), 6)
    land = land / land.std()
    planes = []
    for _ in SEASONS:
        for level in (-11, -18):
            planes.append(level + 1.5 * land + rng.normal(0, 0.7, (size, size)))
    return np.clip(np.array(planes), -28, -6.5)


@given(st.lists(decibels, min_size=1, max_size=40))
def test_whole_decibels_come_back_exactly(values: list[float]) -> None:
    db = np.array(values).reshape(1, 1, -1)
    decoded = decode(to_uint16(db), ["winter_vv"], "whole-db")
    expected = np.trunc(db)
    lost = expected == 0
    assert np.isnan(decoded.db[lost]).all()
    assert (decoded.db[~lost] == expected[~lost]).all()
    assert not decoded.suspect.any()
    assert np.isnan(decoded.db).sum() == lost.sum()


def test_wrap_through_uint16_reads_the_known_pair() -> None:
    assert to_uint16(np.array([-12.3]))[0] == 65524
    assert decode(np.array([[[65524]]], np.uint16), ["winter_vv"], "whole-db").db[0, 0, 0] == -12
    wide = np.array([[[65524]]], np.int32)
    assert decode(wide, ["winter_vv"], "whole-db").db[0, 0, 0] == -12
    big_endian = np.array([[[65524]]], ">u2")
    assert decode(big_endian, ["winter_vv"], "whole-db").db[0, 0, 0] == -12


def test_the_wraps_of_the_reference_are_those_of_the_rule() -> None:
    assert to_uint8(np.array([-35.0, 3.0, 12.0, -31.0, 0.5])).tolist() == [214, 24, 101, 248, 3]


@given(st.lists(st.floats(-30, -0.13, allow_nan=False), min_size=1, max_size=40))
def test_bytes_inside_the_range_come_back_to_half_a_count(values: list[float]) -> None:
    db = np.array(values).reshape(1, 1, -1)
    decoded = decode(to_uint8(db), ["winter_vv"], "byte-db")
    assert np.abs(decoded.db - db).max() <= COUNT_DB / 2 + 1e-4


def test_an_honest_scene_is_not_flagged() -> None:
    db = scene(np.random.default_rng(3))
    decoded = decode(to_uint8(db), BANDS, "byte-db")
    assert decoded.suspect.mean() < 0.002
    assert np.abs(decoded.db - db).max() <= COUNT_DB / 2 + 1e-4


@pytest.mark.parametrize("seed", range(4))
def test_wrapped_pixels_are_flagged(seed: int) -> None:
    """A calm lake, dark in VH alone in one half and in both in the other, and bright roofs in a town."""
    rng = np.random.default_rng(seed)
    db = scene(rng)
    for number in range(4):
        db[2 * number, 8:28, 8:48] = -21 + rng.normal(0, 0.7, (20, 40))
        db[2 * number + 1, 8:28, 8:48] = -33 + rng.normal(0, 0.7, (20, 40))
        db[2 * number, 8:28, 28:48] = -31.5 + rng.normal(0, 0.4, (20, 20))
    roofs = np.zeros((64, 64), bool)
    roofs[40:60:4, 5:60:5] = True
    db[0::2, roofs] = rng.uniform(0.5, 12, (4, roofs.sum()))
    counts = to_uint8(db)
    decoded = decode(counts, BANDS, "byte-db")
    wrong = np.abs(decoded.db - db) > 1
    assert wrong.sum() > 4 * 800
    assert (decoded.suspect & wrong).sum() / wrong.sum() > 0.98
    untouched = ~wrong.any(0)
    assert decoded.suspect[:, untouched].mean() < 0.005
    assert decoded.evidence.keys() >= {"ratio", "level", "neighbours"}


@given(
    st.integers(0, 7),
    st.integers(0, 15),
    st.integers(0, 15),
    st.floats(0.2, 3.9),
    st.floats(-37, -30.2),
)
def test_a_single_wrapped_pixel_in_even_land_is_flagged(
    band: int, row: int, column: int, above: float, below: float
) -> None:
    """VV up to +4 dB by its neighbours, VH down to -37 dB by its ratio to VV; noise keeps real VH above that."""
    db = np.repeat([-11.0, -18.0], [1, 1])[np.arange(8) % 2][:, None, None] * np.ones((8, 16, 16))
    db[band, row, column] = below if band % 2 else above
    decoded = decode(to_uint8(db), BANDS, "byte-db")
    assert decoded.suspect[band, row, column]
    assert decoded.suspect.sum() <= 2  # at most its partner besides


def test_one_wrapped_season_is_flagged_by_the_others() -> None:
    db = scene(np.random.default_rng(1))
    db[4, 20:50, 20:50] = 2.0  # VV of summer alone; wide, so that no neighbour tells
    db[5, 20:50, 20:50] = 0.5 - 5  # its VH plausible beside a wrapped VV only across seasons
    decoded = decode(to_uint8(db), BANDS, "byte-db")
    assert decoded.suspect[4, 25:45, 25:45].all()
    assert not decoded.suspect[0, 25:45, 25:45].any()


def test_255_in_both_polarisations_is_missing_and_in_one_is_doubtful() -> None:
    counts = to_uint8(scene(np.random.default_rng(0)))
    counts[0:2, 3, 3] = NO_DATA_BYTE
    counts[2, 7, 7] = NO_DATA_BYTE
    decoded = decode(counts, BANDS, "byte-db")
    assert np.isnan(decoded.db[0:2, 3, 3]).all() and not decoded.suspect[0:2, 3, 3].any()
    assert np.isnan(decoded.db).sum() == 2
    assert decoded.suspect[2, 7, 7] and np.isfinite(decoded.db[2, 7, 7])


def test_a_band_that_is_all_missing_stays_missing() -> None:
    counts = to_uint8(scene(np.random.default_rng(0)))
    counts[0:2] = NO_DATA_BYTE
    decoded = decode(counts, BANDS, "byte-db")
    assert np.isnan(decoded.db[0:2]).all() and not decoded.suspect[0:2].any()


def test_encodings_are_recognised() -> None:
    db = scene(np.random.default_rng(0))
    assert recognise(db.astype(np.float32), "s1grd-2020") == "db"
    assert recognise(to_uint16(db), "s1grd-2020") == "whole-db"
    assert recognise(to_uint16(db).view(np.int16), "s1grd-2020") == "whole-db"
    assert recognise(to_uint8(db), "s1grd-2020") == "byte-db"
    assert recognise(np.zeros((1, 2, 2), np.uint16), "s1grd-2020") == "whole-db"  # all missing


@pytest.mark.parametrize(
    ("values", "dataset", "sentence"),
    [
        (np.full((1, 2, 2), 90, np.uint8), "esaworldcover-2020", "state its encoding"),
        (np.full((1, 2, 2), 1500, np.uint16), "s1grd-2020", "no whole decibels"),
        (np.full((1, 2, 2), -1234, np.int16), "s1grd-2020", "no whole decibels"),
        (np.full((1, 2, 2), 12, np.uint16), "s1grd-2020", "no whole decibels"),
        (np.full((1, 2, 2), 0.03, np.float32), "s1grd-2020", "linear power"),
        (np.full((1, 2, 2), 1j), "s1grd-2020", "type complex"),
        (np.full((1, 2, 2), 10**6, np.int32), "s1grd-2020", "beyond 16 bits"),
        (np.zeros((1, 0, 2), np.uint8), "s1grd-2020", "empty"),
    ],
)
def test_what_is_ambiguous_is_refused(values: NDArray[np.generic], dataset: str, sentence: str) -> None:
    with pytest.raises(SardinoError, match=sentence):
        recognise(values, dataset)


def test_decode_refuses_a_type_that_contradicts_the_encoding() -> None:
    with pytest.raises(SardinoError, match="not encoded as byte-db"):
        decode(np.zeros((1, 2, 2), np.int16), ["winter_vv"], "byte-db")
    with pytest.raises(SardinoError, match="do not describe"):
        decode(np.zeros((2, 2, 2), np.uint8), ["winter_vv"], "byte-db")


@given(st.lists(decibels, min_size=1, max_size=40))
def test_what_an_older_tool_kept_reads_as_its_cast_left_it(values: list[float]) -> None:
    """Wherever nothing wrapped, that is what `decode` finds, to the half of a count that it adds."""
    db = np.array([values, values[::-1], [0] * len(values)], np.float32)[..., None]
    channels = ("winter_vv", "winter_vh", "winter_vv-vh")
    whole, byte = (as_stored(db, channels, encoding) for encoding in ("whole-db", "byte-db"))
    np.testing.assert_array_equal(whole[:2], to_uint16(db[:2]).view(np.int16))
    np.testing.assert_allclose(byte[:2], to_uint8(db[:2].astype(float)) * COUNT_DB - 30, atol=1e-4)
    for kept in (whole, byte):
        np.testing.assert_allclose(kept[2], kept[0] - kept[1], atol=1e-4)
    assert as_stored(db, channels, "db") is db


def test_a_missing_pixel_reads_as_0_db_where_an_older_tool_kept_it() -> None:
    db = np.full((2, 1, 1), np.nan, np.float32)
    for encoding in ("whole-db", "byte-db"):
        np.testing.assert_allclose(as_stored(db, ("winter_vv", "winter_vh"), encoding), 0, atol=1e-5)
    with pytest.raises(SardinoError, match="no older tool"):
        as_stored(db, ("winter_vv", "winter_vh"), "int4")
