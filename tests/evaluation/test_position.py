"""A pattern that repeats is found, and one that does not is not, however few the tiles."""

import numpy as np
import pytest

from sardino.errors import SardinoError
from sardino.evaluation.attention_scores import others_mean, position_share

BANDS = np.repeat(np.arange(6), 4)


def maps(pattern: float, noise: float) -> np.ndarray:
    """(24, 2, 8, 8): head 1 is noise alone, head 2 has the pattern."""
    rng = np.random.default_rng(0)
    found = 3 + noise * rng.normal(size=(24, 2, 8, 8))
    found[:, 1] += pattern * rng.normal(size=(8, 8))
    return found


def test_the_share_is_that_of_the_variance() -> None:
    shares = position_share(maps(1, 1), BANDS, np.random.default_rng(0))
    assert shares[0, 0] == pytest.approx(0, abs=0.08) and shares[0, 0] < 0.01
    assert shares[1, 0] == pytest.approx(0.5, abs=0.12)
    assert (shares[:, 1] <= shares[:, 0]).all() and (shares[:, 0] <= shares[:, 2]).all()
    assert position_share(maps(1, 1e-6), BANDS, np.random.default_rng(0))[1, 0] == pytest.approx(1, abs=1e-6)


def test_a_flat_head_has_no_share() -> None:
    assert np.isnan(position_share(np.ones((24, 1, 4, 4)), BANDS, np.random.default_rng(0))).all()


def test_a_tile_and_its_band_have_no_part_in_what_predicts_it() -> None:
    attention = np.zeros((3, 1, 2, 2))
    attention[0], attention[1], attention[2] = 1, 2, 6
    np.testing.assert_array_equal(others_mean(attention, np.array([0, 0, 1]))[:, 0, 0, 0], [6, 6, 1.5])
    with pytest.raises(SardinoError, match="two bands"):
        others_mean(attention, np.zeros(3, int))
