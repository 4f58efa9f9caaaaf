"""Scores of one land-cover map: sardino's confusion matrix and what is read from it, against torchmetrics.

    python benchmarks/metrics.py

One prediction and its reference of 448 x 448 pixels and 11 classes, 8-bit as maps are kept, some pixels unlabelled.
All sides give the confusion matrix, IoU per class, mean IoU, overall accuracy and macro F1. Torchmetrics is asked
twice, with its checks of the input off: its metrics as one collection, which counts once where its states allow it, and
its confusion matrix alone. Scikit-learn's functions stand beside. Every side sees arrays of its own kind and has one
thread; rounds of the contestants take turns, and medians over the rounds are reported.

However the pairs of classes are coded, NumPy still counts the codes: that count alone, of codes that are ready, is the
limit, and the share of it is told.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from row import Row, write_benchmark
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, jaccard_score
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassJaccardIndex,
)

from sardino.data.tiles.landcover import IGNORE
from sardino.evaluation.scores import accuracy, class_iou, confusion, macro_f1, miou, miou_all

Contestant = Callable[[], object]
COLLECTION, LIMIT = "torchmetrics, a collection", "NumPy's count of codes that are ready"
BAR = 5.0
"""Times torchmetrics' collection, at the paper's size."""
Map = NDArray[np.uint8]


def maps(px: int, classes: int) -> tuple[Map, Map]:
    """A reference in patches of 16 pixels, 2 % unlabelled, and a prediction that is right at 7 pixels of 10."""
    rng = np.random.default_rng(0)
    patches = rng.integers(classes, size=(-(-px // 16),) * 2).astype(np.uint8)
    reference = np.kron(patches, np.ones((16, 16), np.uint8))[:px, :px]
    other = rng.integers(classes, size=reference.shape).astype(np.uint8)
    prediction = np.where(rng.random(reference.shape) < 0.7, reference, other)
    return prediction, np.where(rng.random(reference.shape) < 0.02, np.uint8(IGNORE), reference)


def scores(prediction: Map, reference: Map, classes: int) -> tuple[object, ...]:
    """All of ours."""
    matrix = confusion(prediction, reference, classes)
    return matrix, class_iou(matrix), miou(matrix), miou_all(matrix), accuracy(matrix), macro_f1(matrix)


def torchmetrics_scores(prediction: Map, reference: Map, classes: int) -> tuple[Contestant, Contestant]:
    """Its collection of the same scores, and its confusion matrix alone; each makes its state anew, as ours does."""
    options = {"num_classes": classes, "ignore_index": IGNORE, "validate_args": False}
    collection = MetricCollection(
        {
            "confusion": MulticlassConfusionMatrix(**options),
            "iou": MulticlassJaccardIndex(average="none", **options),
            "miou": MulticlassJaccardIndex(average="macro", **options),
            "accuracy": MulticlassAccuracy(average="micro", **options),
            "f1": MulticlassF1Score(average="macro", **options),
        }
    )
    alone = MulticlassConfusionMatrix(**options)
    pair = torch.from_numpy(prediction)[None], torch.from_numpy(reference)[None]

    def run(metric: MetricCollection | MulticlassConfusionMatrix) -> Contestant:
        def work() -> object:
            metric.reset()
            metric.update(*pair)
            return metric.compute()

        return work

    return run(collection), run(alone)


def sklearn_scores(prediction: Map, reference: Map, classes: int) -> tuple[object, ...]:
    """Scikit-learn's, one function a score."""
    counted = reference != IGNORE
    pair, labels = (reference[counted], prediction[counted]), list(range(classes))
    options = {"labels": labels, "zero_division": 0}
    return (
        confusion_matrix(*pair, labels=labels),
        jaccard_score(*pair, average=None, **options),
        jaccard_score(*pair, average="macro", **options),
        accuracy_score(*pair),
        f1_score(*pair, average="macro", **options),
    )


def medians(contestants: dict[str, Contestant], rounds: int) -> dict[str, float]:
    """Milliseconds of each contestant, the median over rounds in which they take turns."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, work in contestants.items():
            started = time.perf_counter()
            work()
            if number:  # the first round warms up
                times[name].append(1e3 * (time.perf_counter() - started))
    return {name: statistics.median(each) for name, each in times.items()}


def measure(px: int, classes: int, rounds: int) -> list[Row]:
    """All scores and the confusion matrix alone; a row a peer, and one for the limit."""
    prediction, reference = maps(px, classes)
    codes = (reference.astype(np.int64) * classes + prediction).ravel()[reference.ravel() != IGNORE]
    collection, alone = torchmetrics_scores(prediction, reference, classes)
    works: dict[str, tuple[Contestant, dict[str, Contestant]]] = {
        "Confusion matrix and all scores": (
            lambda: scores(prediction, reference, classes),
            {
                COLLECTION: collection,
                "scikit-learn": lambda: sklearn_scores(prediction, reference, classes),
            },
        ),
        "Confusion matrix": (
            lambda: confusion(prediction, reference, classes),
            {"torchmetrics, MulticlassConfusionMatrix": alone, LIMIT: lambda: np.bincount(codes, minlength=classes**2)},
        ),
    }
    rows = []
    for name, (ours, peers) in works.items():
        took = medians({"ours": ours, **peers}, rounds)
        for peer in peers:
            bar = BAR if peer == COLLECTION and px == 448 else None
            what, kind = f"{name}, {px} x {px} x {classes}", "limit" if peer == LIMIT else "peer"
            rows.append(Row(what, took["ours"], "ms", peer, took[peer], took[peer] / took["ours"], bar, kind))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--px", type=int, default=448, help="side of the map")
    parser.add_argument("--classes", type=int, default=11, help="of the legend")
    parser.add_argument("--rounds", type=int, default=25, help="rounds of which the median is taken")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/metrics.json"), help="where the rows go")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(write_benchmark(measure(arguments.px, arguments.classes, arguments.rounds), arguments.out))


if __name__ == "__main__":
    sys.exit(main())
