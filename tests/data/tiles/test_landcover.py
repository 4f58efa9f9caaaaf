"""Legends: codes and indices are two things, and unknown codes are never a class."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from sardino.data.tiles.landcover import IGNORE, WORLDCOVER, LandCoverClass, Legend
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
