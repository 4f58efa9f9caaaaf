"""Floors: what simple models make of single pixels with the same labels, below which no network should stay.

The most frequent class, logistic regression and a random forest; on a pixel's channels alone, and on these with the
mean and the standard deviation of its surroundings. They learn from the very tiles whose labels a table's cells are
granted, and are scored like the cells: one confusion matrix a test tile, bands resampled.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sardino.data.tiles.landcover import IGNORE
from sardino.errors import SardinoError
from sardino.evaluation.bootstrap import interval
from sardino.evaluation.scores import Confusion, accuracy, confusion, miou

PIXELS = 10_000  # labelled pixels that a model learns from at most, drawn from all granted tiles
BOX_PX = 7  # side of a pixel's surroundings
TREES, LEAF = 40, 5  # of the forest: trees, and the fewest training pixels of a leaf
BATCH = 16  # test tiles whose features are held at once
# What a model is told of a pixel.
FEATURES = {"channels": "a pixel's channels", "surroundings": f"and mean and spread of {BOX_PX} x {BOX_PX} pixels"}
MODELS = {"majority": "most frequent class", "logistic": "logistic regression", "forest": "random forest"}
COLUMNS = ["model", "features", "fraction", "labelled_tiles", "pixels", "seeds", "miou", "low", "high", "accuracy"]

# TileStore.read: tile ids to backscatter (N, C, H, W) dB, NaN where missing, and labels (N, H, W).
Read = Callable[[Sequence[str]], tuple[NDArray[np.float32], NDArray[np.uint8]]]
Key = tuple[str, float, int]  # model, label fraction, seed


def floors(
    read: Read,
    granted: Mapping[float, Mapping[int, Sequence[str]]],
    test_ids: Sequence[str],
    blocks: NDArray[np.integer],
    classes: int,
) -> pd.DataFrame:
    """Every model at every label fraction, one row each (COLUMNS).

    Args:
        granted: per label fraction and seed the training tiles whose labels may be used.
        blocks: (test tiles,) geographic band of each, the unit that intervals resample.

    Returns:
        mIoU over all test tiles, averaged over seeds, with its 95 % interval (sardino.evaluation.bootstrap).
    """
    rows = []
    for features in FEATURES:
        trained: dict[Key, _Model] = {}
        for fraction, draws in granted.items():
            for seed, ids in draws.items():
                x, y = draw_pixels(read, ids, features, seed)
                for name, model in _models(seed).items():
                    if name != "majority" or features == "channels":  # it looks at no feature
                        trained[name, fraction, seed] = _Model(model, x, y)
        matrices = _score(trained, features, read, test_ids, classes)
        for name, fraction in dict.fromkeys(key[:2] for key in trained):
            seeds = list(granted[fraction])
            cell = np.stack([matrices[name, fraction, seed] for seed in seeds])
            low, high = interval(cell, np.asarray(blocks))
            rows.append(
                {
                    "model": name,
                    "features": "none" if name == "majority" else features,
                    "fraction": fraction,
                    "labelled_tiles": len(granted[fraction][seeds[0]]),
                    "pixels": max(trained[name, fraction, seed].pixels for seed in seeds),
                    "seeds": len(seeds),
                    "miou": float(miou(cell.sum(1)).mean()),
                    "low": low,
                    "high": high,
                    "accuracy": float(accuracy(cell.sum(1)).mean()),
                }
            )
    order = list(MODELS)
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return frame.sort_values("model", key=lambda column: column.map(order.index), kind="stable", ignore_index=True)


def pixel_features(backscatter: NDArray[np.float32], features: str) -> NDArray[np.float32]:
    """What a model is told of each pixel: (N, C, H, W) dB to (N, F, H, W), NaN where nothing is known.

    Args:
        features: "channels" (F = C), or "surroundings" (F = 3 C): then the mean and the standard deviation of a box of
            BOX_PX pixels about it, of what is not missing there; at a tile's edge the tile is mirrored.
    """
    if features == "channels":
        return backscatter
    if features != "surroundings":
        raise SardinoError(f"pixels have no features '{features}', but {', '.join(FEATURES)}")
    known = np.isfinite(backscatter)
    filled = np.where(known, backscatter, 0).astype(np.float64)
    size = (1, 1, BOX_PX, BOX_PX)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.round(uniform_filter(known.astype(np.float64), size) * BOX_PX**2) / BOX_PX**2
        mean = uniform_filter(filled, size) / share
        square = uniform_filter(filled**2, size) / share
    spread = np.sqrt(np.maximum(square - mean**2, 0))
    gaps = share == 0
    mean[gaps], spread[gaps] = np.nan, np.nan
    return np.concatenate([backscatter, mean.astype(np.float32), spread.astype(np.float32)], axis=1)


def draw_pixels(
    read: Read, ids: Sequence[str], features: str, seed: int, most: int = PIXELS
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Features (P, F) and classes (P,) of labelled pixels of these tiles: all, or `most` of them drawn by the seed.

    Each tile gives an equal share, whatever the order of ids, so that thousands of tiles need no more memory than one.
    """
    rng = np.random.default_rng(seed)
    share = -(-most // len(ids))
    values, labels = [], []
    for tile in sorted(ids):
        backscatter, label = read([tile])
        told = pixel_features(backscatter, features)[0].reshape(-1, label[0].size)
        labelled = np.flatnonzero(label[0].ravel() != IGNORE)
        chosen = np.sort(rng.permutation(labelled)[:share])
        values.append(told[:, chosen].T)
        labels.append(label[0].ravel()[chosen])
    return np.concatenate(values), np.concatenate(labels)


def _models(seed: int) -> dict[str, Any]:
    """Untrained models; one process, because other runs use the other cores."""
    return {
        "majority": DummyClassifier(strategy="most_frequent"),
        "logistic": make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)),
        "forest": RandomForestClassifier(TREES, min_samples_leaf=LEAF, random_state=seed, n_jobs=1),
    }


class _Model:
    """A trained model that fills what is missing by the training pixels' mean."""

    def __init__(self, model: Any, x: NDArray[np.float32], y: NDArray[np.uint8]) -> None:
        self.pixels, known = len(y), np.isfinite(x)
        self.fill = np.where(known, x, 0).sum(0) / np.maximum(known.sum(0), 1)
        # A single class leaves nothing to learn, and scikit-learn refuses it.
        one_class = len(np.unique(y)) == 1
        self.model = (DummyClassifier(strategy="most_frequent") if one_class else model).fit(self._filled(x), y)

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.uint8]:
        return np.asarray(self.model.predict(self._filled(x)), np.uint8)

    def _filled(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.where(np.isfinite(x), x, self.fill).astype(np.float32)


def _score(
    models: Mapping[Key, _Model], features: str, read: Read, test_ids: Sequence[str], classes: int
) -> dict[Key, Confusion]:
    """Per model one confusion matrix a test tile, (tiles, n, n)."""
    found: dict[Key, list[Confusion]] = {key: [] for key in models}
    for start in range(0, len(test_ids), BATCH):
        backscatter, label = read(test_ids[start : start + BATCH])
        told = np.moveaxis(pixel_features(backscatter, features), 1, -1)
        for key, model in models.items():
            maps = model.predict(told.reshape(-1, told.shape[-1])).reshape(label.shape)
            found[key] += [confusion(p, t, classes) for p, t in zip(maps, label, strict=True)]
    return {key: np.stack(matrices) for key, matrices in found.items()}
