"""Floors: what simple models make of single pixels with the same labels, below which no network should stay.

The most frequent class, logistic regression and a random forest; on a pixel's channels alone, and on these with the
means of its surroundings at several scales and their standard deviation. They learn from the very tiles whose labels a
table's cells are granted, and are scored like the cells: one confusion matrix a test tile.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sardino.data.tiles.landcover import IGNORE, class_weights
from sardino.errors import SardinoError
from sardino.evaluation.scores import Confusion, confusion, miou

PIXELS = 10_000  # labelled pixels that a model learns from at most, drawn from all granted tiles
MEANS_PX, SPREAD_PX = (3, 5, 9), 7  # sides of the boxes about a pixel whose mean and whose deviation are told
TREES, LEAF = 40, 5  # of the forest: trees, and the fewest training pixels of a leaf
BATCH = 16  # test tiles whose features are held at once
# What a model is told of a pixel.
FEATURES = {
    "channels": "a pixel's channels",
    "surroundings": f"these, their means over boxes of {', '.join(map(str, MEANS_PX[:-1]))} and {MEANS_PX[-1]} pixels, "
    f"and their deviation in one of {SPREAD_PX}",
}
MODELS = {"majority": "most frequent class", "logistic": "logistic regression", "forest": "random forest"}

# TileStore.read: tile ids to backscatter (N, C, H, W) dB, NaN where missing, and labels (N, H, W).
Read = Callable[[Sequence[str]], tuple[NDArray[np.float32], NDArray[np.uint8]]]
Key = tuple[str, float, int]  # model, label fraction, draw


def floors(
    read: Read,
    granted: Mapping[float, Mapping[int, Sequence[str]]],
    test_ids: Sequence[str],
    classes: int,
    balance: float,
) -> tuple[list[dict[str, Any]], dict[str, Confusion]]:
    """Every model at every label fraction and draw, as cells that belong to no table.

    `granted`: per label fraction and draw the training tiles whose labels may be used. `balance`: of `class_weights`,
    by the pixels that are learnt from. Returns rows as a record holds cells, where the model stands for the encoding
    and what it is told for the initialisation; and by `confusion_key` one confusion matrix a test tile, (tiles, n, n).
    """
    rows, matrices = [], {}
    for features in FEATURES:
        trained: dict[Key, _Model] = {}
        for fraction, draws in granted.items():
            for draw, ids in draws.items():
                x, y = draw_pixels(read, ids, features, draw)
                for name, model in _models(draw, y, balance).items():
                    if name != "majority" or features == "channels":  # it looks at no feature
                        trained[name, fraction, draw] = _Model(model, x, y)
        for (name, fraction, draw), cell in _score(trained, features, read, test_ids, classes).items():
            told = "none" if name == "majority" else features
            key = f"confusion_{name}_{told}_{fraction:g}_{draw}"
            matrices[key] = cell
            row = {"table": 0, "regions": "", "encoding": name, "initialisation": told, "fraction": fraction}
            row |= {"draw": draw, "seed": draw, "labelled_tiles": len(granted[fraction][draw])}
            row |= {"pixels": trained[name, fraction, draw].pixels, "miou": float(miou(cell.sum(0)))}
            rows.append({**row, "confusion_key": key})
    return sorted(rows, key=lambda row: list(MODELS).index(row["encoding"])), matrices


def pixel_features(backscatter: NDArray[np.float32], features: str) -> NDArray[np.float32]:
    """What a model is told of each pixel: (N, C, H, W) dB to (N, F, H, W), NaN where nothing is known.

    `features`: "channels" (F = C), or "surroundings" (F = 5 C): then also the means of boxes of MEANS_PX pixels about
    it and the standard deviation in one of SPREAD_PX, of what is not missing there; at a tile's edge the tile is
    mirrored.
    """
    if features == "channels":
        return backscatter
    if features != "surroundings":
        raise SardinoError(f"pixels have no features '{features}', but {', '.join(FEATURES)}")
    known = np.isfinite(backscatter)
    whole, filled = known.all(), np.where(known, backscatter, 0).astype(np.float64)

    def mean(values: NDArray[np.float64], side: int) -> NDArray[np.float64]:
        size = (1, 1, side, side)
        if whole:
            return uniform_filter(values, size)
        share = np.round(uniform_filter(known.astype(np.float64), size) * side**2) / side**2
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(share > 0, uniform_filter(values, size) / share, np.nan)

    spread = np.sqrt(np.maximum(mean(filled**2, SPREAD_PX) - mean(filled, SPREAD_PX) ** 2, 0))
    told = [*(mean(filled, side) for side in MEANS_PX), spread]
    return np.concatenate([backscatter, *(each.astype(np.float32) for each in told)], axis=1)


def draw_pixels(
    read: Read, ids: Sequence[str], features: str, draw: int, most: int = PIXELS
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Features (P, F) and classes (P,) of labelled pixels of these tiles: all, or `most` of them drawn by number.

    Each tile gives an equal share, whatever the order of ids, so that thousands of tiles need no more memory than one.
    """
    rng = np.random.default_rng(draw)
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


def _models(seed: int, y: NDArray[np.uint8], balance: float) -> dict[str, Any]:
    """Untrained models; one process, because other runs use the other cores."""
    weights = {"class_weight": dict(enumerate(class_weights(np.bincount(y), balance).tolist()))}
    return {
        "majority": DummyClassifier(strategy="most_frequent"),
        "logistic": make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000, **weights)),
        "forest": RandomForestClassifier(TREES, min_samples_leaf=LEAF, random_state=seed, n_jobs=1, **weights),
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
