"""Records of finished runs with planted scores, and of floors, for tables and claims."""

from collections.abc import Callable, Sequence
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


FLOORS = [("majority", "none"), ("logistic", "channels"), ("forest", "surroundings")]


def write_runs(
    folder: Path,
    accuracy: Planted,
    *,
    arms: list[str] | None = None,
    fractions: list[float] | None = None,
    seeds: tuple[int, ...] = (0, 1),
    pairs: Callable[[float], list[tuple[int, int]]] | None = None,
    gain: Callable[[CellKey, int], float] | None = None,
    floor: Planted | None = None,
    more: Sequence[CellKey] = (),
    synthetic: bool = True,
) -> list[dict[str, Any]]:
    """Records, and their .npz files, of every fine-tuning and baseline run of a profile, and of its floors.

    `pairs` gives the (draw, seed) of a percentage of labels, by default one draw a seed; `gain` the gain of the last
    fifth of each repetition's steps, `floor` the planted score of a floor; `more` are cells that not all profiles have.
    """
    runs: dict[str, list[CellKey]] = {}
    wanted = fractions or [0.1, 1.0, 10.0]
    keys = [*all_keys(arms or ["europe", "all"], wanted), *more]
    keys += [CellKey(0, "", *model, fraction) for model in FLOORS for fraction in wanted] if floor else []
    for key in keys:
        runs.setdefault(key.run, []).append(key)
    records = []
    for name, keys in runs.items():
        arrays, cells = {}, []
        for key in keys:
            told = pairs(key.fraction) if pairs else [(seed, seed) for seed in seeds]
            if not key.table:  # one for each draw
                told = [(draw, draw) for draw in dict.fromkeys(draw for draw, _ in told)]
            for number, (draw, seed) in enumerate(told):
                place = f"{key.encoding}_{key.initialisation}_{key.fraction:g}_{draw}_{seed}"
                planted = accuracy(key) if key.table else floor(key)
                arrays[place] = planted_matrices(planted, 100 * draw + seed)
                cells.append(
                    {
                        "table": key.table,
                        "regions": key.regions or "europe" * (key.table > 0),
                        "encoding": key.encoding,
                        "initialisation": key.initialisation,
                        "fraction": key.fraction,
                        "seed": seed,
                        "draw": draw,
                        **({"pixels": 9} if not key.table else _training(gain(key, number)) if gain else {}),
                        "labelled_tiles": max(1, round(5 * key.fraction)),
                        "miou": float(miou(arrays[place].sum(0))),
                        "confusion_key": place,
                    }
                )
        np.savez(folder / f"{name}.npz", **arrays)
        results = {"cells": cells, "confusion_file": f"{name}.npz", "test_blocks": BLOCKS}
        results |= {"labels_name": "a legend", "derived": not synthetic}
        data = {"fingerprint": "f", "synthetic": synthetic}
        kind = name.partition("-")[0]
        records.append({"name": name, "kind": kind, "profile": "test", "data": data, "results": results})
    return records


def _training(gained: float) -> dict[str, Any]:
    """What a cell's record says of its training."""
    curve = [{"step": step, "val_miou": 0.3 + step / 1000} for step in (20, 40, 60, 80)]
    curve.append({"step": 100, "val_miou": 0.38 + gained})
    return {"steps": 100, "curve": curve, "gain_last_fifth": gained, "parameters": 9000, "decoder_parameters": 1000}


@pytest.fixture(scope="session")
def write() -> Callable[..., list[dict[str, Any]]]:
    """`write_runs`, for fixtures that many tests share."""
    return write_runs


@pytest.fixture()
def runs(tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """`write_runs` into the test's folder."""
    return lambda accuracy, **options: write_runs(tmp_path, accuracy, **options)
