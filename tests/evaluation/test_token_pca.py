"""Colours of tokens: the main directions first, the same each time, one scale for all tiles."""

import numpy as np
import pytest

from sardino.errors import SardinoError
from sardino.evaluation.patches import token_pca


@pytest.fixture()
def tokens() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(size=(6, 5, 5, 8)) * [9, 1, 5, 1, 3, 1, 1, 1] + 7


def test_the_main_directions_are_found_in_order(tokens: np.ndarray) -> None:
    found = token_pca(tokens)
    assert list(np.abs(found.components).argmax(1)) == [0, 2, 4]
    assert (np.diff(found.explained) < 0).all() and 0.9 < found.explained.sum() < 1
    scores = ((tokens - found.mean) @ found.components.T).reshape(-1, 3)
    np.testing.assert_allclose(scores.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(np.cov(scores.T), np.diag(np.var(scores, axis=0, ddof=1)), atol=1e-9)


def test_signs_and_order_of_tiles_do_not_matter(tokens: np.ndarray) -> None:
    found, turned = token_pca(tokens), token_pca(tokens[::-1])
    np.testing.assert_allclose(found.components, turned.components, atol=1e-9)
    assert (found.components[np.arange(3), np.abs(found.components).argmax(1)] > 0).all()
    np.testing.assert_allclose(token_pca(tokens - 100).colours(tokens - 100), found.colours(tokens), atol=1e-9)


def test_colours_fill_the_range_whatever_one_token_does(tokens: np.ndarray) -> None:
    tokens[0, 0, 0] = 1e3
    colours = token_pca(tokens).colours(tokens)
    assert colours.shape == (6, 5, 5, 3) and colours.min() == 0 and colours.max() == 1
    assert np.ptp(np.percentile(colours.reshape(-1, 3), [10, 90], axis=0), axis=0).min() > 0.2


def test_tokens_that_have_no_three_directions_are_refused(tokens: np.ndarray) -> None:
    with pytest.raises(SardinoError, match="too few"):
        token_pca(tokens[..., :3])
    with pytest.raises(SardinoError, match="three directions"):
        token_pca(np.ones_like(tokens))
    tokens[0, 0, 0, 0] = np.nan
    with pytest.raises(SardinoError, match="finite"):
        token_pca(tokens)
