"""Records of finished runs with planted scores, for tables and claims."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sardino.evaluation.scores import miou
from sardino.reporting.rows import ENCODINGS, INITIALISATIONS, baseline_rows
from sardino.reporting.tables.paper import CellKey

TILES, CLASSES = 40, 4
BLOCKS = [tile // 4 for tile in range(TILES)]
Planted = Callable[[CellKey], float]


def planted_matrices(accuracy: float, seed: int) -> np.ndarray:
    """(TILES, CLASSES, CLASSES) int32: each class right at about this rate, else evenly wrong."""
    rng = np.random.default_rng(seed)
    rate = np.clip(accuracy + rng.normal(0, 0.004, TILES), 0.0, 1.0)
    wrong = (1 - rate)[:, None, None] / (CLASSES - 1)
    share = np.where(np.eye(CLASSES, dtype=bool), rate[:, None, None], wrong)
    return np.round(1000 * share).astype(np.int32)


def all_keys(arms: list[str], fractions: list[float]) -> list[CellKey]:
    """The keys of Tables 1 and 2."""
    keys = [CellKey(1, a, e, i, f) for a in arms for e in ENCODINGS for i in INITIALISATIONS for f in fractions]
    return keys + [
        CellKey(2, "", e, i, f) for e in ("unet", "unet+attention") for i in baseline_rows(e) for f in fractions
    ]


def write_runs(
    folder: Path,
    accuracy: Planted,
    *,
    arms: list[str] | None = None,
    fractions: list[float] | None = None,
    seeds: tuple[int, ...] = (0, 1),
    synthetic: bool = True,
) -> list[dict[str, Any]]:
    """Records, and their .npz files, of every fine-tuning and baseline run of a profile."""
    runs: dict[str, list[CellKey]] = {}
    for key in all_keys(arms or ["europe", "all"], fractions or [0.1, 1.0, 10.0]):
        runs.setdefault(key.run, []).append(key)
    records = []
    for name, keys in runs.items():
        arrays, cells = {}, []
        for key in keys:
            for seed in seeds:
                place = f"{key.fraction:g}_{seed}"
                arrays[place] = planted_matrices(accuracy(key), seed)
                cells.append(
                    {
                        "table": key.table,
                        "regions": key.regions or "europe",
                        "encoding": key.encoding,
                        "initialisation": key.initialisation,
                        "fraction": key.fraction,
                        "seed": seed,
                        "labelled_tiles": max(1, round(5 * key.fraction)),
                        "miou": float(miou(arrays[place].sum(0))),
                        "confusion_key": place,
                    }
                )
        np.savez(folder / f"{name}.npz", **arrays)
        results = {"cells": cells, "confusion_file": f"{name}.npz", "test_blocks": BLOCKS}
        results |= {"labels_name": "a legend", "derived": not synthetic}
        data = {"fingerprint": "f", "synthetic": synthetic}
        kind = "finetune" if name.startswith("finetune") else "baseline"
        records.append({"name": name, "kind": kind, "profile": "test", "data": data, "results": results})
    return records


@pytest.fixture()
def runs(tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """`write_runs` into the test's folder."""
    return lambda accuracy, **options: write_runs(tmp_path, accuracy, **options)
