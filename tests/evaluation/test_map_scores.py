"""Scores of maps are scikit-learn's and SciPy's, ties and missing patches included."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, jaccard_score, mutual_info_score, roc_auc_score

from sardino.errors import SardinoError
from sardino.evaluation.map_scores import amount_scores, attention_mask, class_scores

MAPS, REFERENCES, PATCHES = 4, 5, 40


@pytest.fixture()
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("levels", [5, 1000])
def test_scores_of_classes_are_scikit_learns(rng: np.random.Generator, levels: int) -> None:
    """With 5 levels most values are tied."""
    maps = rng.integers(1, levels, (MAPS, PATCHES)).astype(float)
    positive, counted = rng.random((REFERENCES, PATCHES)) < 0.3, rng.random((REFERENCES, PATCHES)) < 0.8
    found = class_scores(maps, positive, counted)
    for m in range(MAPS):
        for r in range(REFERENCES):
            truth, score = positive[r, counted[r]], maps[m, counted[r]]
            assert found["auc"][m, r] == pytest.approx(roc_auc_score(truth, score))
            assert found["separation"][m, r] == pytest.approx(abs(2 * roc_auc_score(truth, score) - 1))
            assert found["average_precision"][m, r] == pytest.approx(average_precision_score(truth, score))
            mask = attention_mask(maps[m])[counted[r]]
            assert found["jaccard"][m, r] == pytest.approx(jaccard_score(truth, mask))


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_scores_of_amounts_are_scipys_and_scikit_learns(rng: np.random.Generator, missing: float) -> None:
    maps, amounts = rng.random((MAPS, PATCHES)), rng.random((REFERENCES, PATCHES)).round(1)
    amounts[rng.random(amounts.shape) < missing] = np.nan
    found = amount_scores(maps, amounts)
    for m in range(MAPS):
        for r in range(REFERENCES):
            known = np.isfinite(amounts[r])
            assert found["spearman"][m, r] == pytest.approx(spearmanr(maps[m, known], amounts[r, known]).statistic)
    whole = amount_scores(maps, np.stack([np.arange(PATCHES), maps[0]]))["mutual_information"]
    quarters = [np.argsort(np.argsort(each)) * 4 // PATCHES for each in (*maps, np.arange(PATCHES))]
    assert whole[1, 0] == pytest.approx(mutual_info_score(quarters[1], quarters[-1]))
    assert whole[0, 1] == pytest.approx(np.log(4))


def test_what_cannot_be_scored_is_nan() -> None:
    maps = np.array([[1.0, 2, 3, 4], [1, 1, 1, 1]])
    none, every = np.zeros((1, 4), bool), np.ones((1, 4), bool)
    for positive, counted in ((none, every), (every, every), (every, none)):
        assert all(np.isnan(each).all() for each in class_scores(maps, positive, counted).values())
    found = amount_scores(maps, np.array([[1.0, 2, 3, 5], [2, 2, 2, 2], [np.nan] * 4]))
    assert found["spearman"][0, 0] == pytest.approx(1)
    assert np.isnan(found["spearman"]).sum() == 5 and np.isnan(found["mutual_information"]).sum() == 5


def test_a_mask_is_the_fewest_patches_that_hold_the_mass() -> None:
    np.testing.assert_array_equal(attention_mask(np.array([[1.0, 5, 1, 3]])), [[False, True, False, True]])
    assert attention_mask(np.ones((1, 10))).sum() == 6
    assert attention_mask(np.array([[9.0, 1, 0]])).sum() == 1


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(SardinoError, match="same patches"):
        class_scores(np.ones((1, 4)), np.ones((1, 5), bool), np.ones((1, 5), bool))
    with pytest.raises(SardinoError, match="same patches"):
        amount_scores(np.ones((1, 4)), np.ones(4))
