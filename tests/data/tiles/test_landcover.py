"""Legends: codes and indices are two things, and unknown codes are never a class."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from sardino.data.tiles.landcover import (
    IGNORE,
    RAREST,
    WORLDCOVER,
    LandCoverClass,
    Legend,
    class_weights,
    codes_in,
)
from sardino.errors import SardinoError

legends = st.lists(st.integers(0, 255), min_size=1, max_size=30, unique=True).map(
    lambda codes: Legend("any", tuple(LandCoverClass(code, f"class {code}", "#000000") for code in codes))
)


@given(legends, arrays(np.int32, array_shapes(min_dims=1, max_dims=3, max_side=6), elements=st.integers(-300, 600)))
def test_encoding_keeps_shape_and_names_only_known_codes(legend: Legend, codes: np.ndarray) -> None:
    index = legend.encode(codes)
    assert index.shape == codes.shape and index.dtype == np.uint8
    known = np.isin(codes, legend.codes)
    assert (index[~known] == IGNORE).all()
    assert (np.array(legend.codes)[index[known]] == codes[known]).all()


@given(legends, st.data())
def test_decoding_undoes_encoding(legend: Legend, data: st.DataObject) -> None:
    codes = np.array(data.draw(st.lists(st.sampled_from(legend.codes), min_size=1, max_size=20)), np.uint8)
    assert (legend.decode(legend.encode(codes)) == codes).all()


def test_the_nodata_code_of_worldcover_is_not_tree_cover() -> None:
    assert WORLDCOVER.encode(np.array([0, 10]))[0] == IGNORE
    assert WORLDCOVER.encode(np.array([0, 10]))[1] == 0


@given(legends)
def test_a_legend_survives_its_dictionary(legend: Legend) -> None:
    assert Legend.from_dict(legend.to_dict()) == legend


@pytest.mark.parametrize("codes", [[], [1, 1], [256], [-1]])
def test_a_legend_without_distinct_codes_is_refused(codes: list[int]) -> None:
    with pytest.raises(SardinoError, match="distinct class codes"):
        Legend("wrong", tuple(LandCoverClass(code, "", "") for code in codes))


TWO = Legend("two", (LandCoverClass(10, "Trees", "#006400"), LandCoverClass(80, "Water", "#0064C8")))


def test_codes_that_are_no_class_are_named_with_their_share() -> None:
    assert TWO.outside({10: 60, 80: 20, 11: 15, 0: 5}) == "0 in 5 %, 11 in 15 % of pixels"
    assert TWO.outside({10: 1}) == TWO.outside({}) == ""
    with pytest.raises(SardinoError, match=r"no label has a class of 'two' \(10, 80\), but 266 in 100 % of pixels"):
        TWO.outside({266: 4})


@pytest.mark.parametrize(
    ("bands", "kind"),
    [
        (np.eye(3, dtype=np.uint8)[np.arange(4) % 3].T.reshape(3, 2, 2), "one-hot labels, a band each of 3 classes"),
        (np.random.default_rng(0).dirichlet(np.ones(5), (4, 4)).transpose(2, 0, 1), "one-hot labels, a band each of 5"),
        (np.full((3, 2, 2), 180, np.uint8), "an RGB picture of its classes in 3 bands"),
        (np.full((2, 2, 2), 80), "labels in 2 bands"),
        (np.full((1, 2, 2), 44.5), "fractions, as averaging leaves them"),
    ],
)
def test_labels_of_another_kind_are_refused_by_name(bands: np.ndarray, kind: str) -> None:
    with pytest.raises(SardinoError, match=rf"labels\.tif holds {kind}.*: (write|warp)"):
        codes_in(bands, Path("labels.tif"))


def test_one_band_of_codes_is_taken_whatever_its_type() -> None:
    codes = np.array([[[10, np.nan], [80, 0]]])
    np.testing.assert_array_equal(codes_in(codes, Path("labels.tif")), codes[0])


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=12), st.floats(0, 1))
def test_rarer_classes_weigh_more_within_a_bound_and_pixels_one_on_average(counts: list[int], balance: float) -> None:
    pixels = np.array(counts)
    weights = class_weights(pixels, balance)
    assert weights.shape == pixels.shape and weights.dtype == np.float32
    if pixels.any():
        assert float((pixels * weights).sum() / pixels.sum()) == pytest.approx(1, rel=1e-4)
    assert (np.diff(weights[np.argsort(pixels)]) <= 1e-6 * weights.max()).all()
    assert weights.max() <= weights.min() * RAREST**-balance * (1 + 1e-5)


def test_without_balance_all_pixels_count_alike() -> None:
    assert class_weights(np.array([5, 0, 1000]), 0.0).tolist() == [1, 1, 1]
