"""Which tiles get pixels: as many as asked, by hash, tests in whole bands, and more of them never fewer of the same."""

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from sardino.data.places.splits import splits_of_bands
from sardino.data.tiles.choice import choose_tiles, whole_bands


def region(bands: int, tiles: int, unlabelled: int = 0) -> pd.DataFrame:
    """So many bands of so many tiles; of the last ones nothing is labelled."""
    band = np.repeat(np.arange(bands), tiles)
    share = np.where(np.arange(len(band)) < len(band) - unlabelled, 1.0, 0.0)
    ids = [f"tile{number}" for number in range(len(band))]
    return pd.DataFrame({"id": ids, "split": splits_of_bands(band), "band": band, "labelled_share": share})


number = st.none() | st.integers(0, 60)


@given(st.integers(5, 30), st.integers(1, 6), st.integers(0, 20), number, number, number)
def test_as_many_are_chosen_as_are_asked_for(bands, tiles, granted, pool, validation, test):
    table = region(bands, tiles)
    ids = {split: set(table.loc[table["split"] == split, "id"]) for split in ("train", "val", "test")}
    labelled = set(sorted(ids["train"])[:granted])
    chosen = choose_tiles(table, labelled, pool, validation, test)
    assert labelled <= chosen
    for split, besides, asked in (("train", labelled, pool), ("val", set(), validation)):
        there = ids[split] - besides
        assert len(chosen & there) == (len(there) if asked is None else min(asked, len(there)))
    tested = table[table["id"].isin(chosen & ids["test"])]
    assert len(tested) == len(ids["test"]) or (test is not None and test <= len(tested) < test + tiles)
    assert (tested.groupby("band").size() == tiles).all(), "whole bands"
    more = choose_tiles(table, labelled, *(None if n is None else n + 7 for n in (pool, validation)), test)
    assert chosen <= more


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.integers(0, 120), st.randoms())
def test_bands_are_whole_few_and_evenly_spaced(sizes, least, random):
    band = np.repeat(np.arange(len(sizes)) * 5 + 4, sizes)
    random.shuffle(band)
    inside = whole_bands(band, least)
    chosen = sorted(set(band[inside].tolist()))
    assert inside.sum() == np.isin(band, chosen).sum() >= min(least, len(band))
    gaps = np.diff(chosen) // 5
    assert not len(gaps) or gaps.max() - gaps.min() <= 1
    assert len(chosen) <= max(least, 0), "none is taken in vain"


def test_all_are_taken_where_no_number_is_given_and_the_unlabelled_judge_nothing():
    table = region(10, 4, unlabelled=4)
    assert choose_tiles(table) == set(table["id"])
    assert choose_tiles(table, test=5) == set(table["id"][:-4]), "its last band is of test tiles"
