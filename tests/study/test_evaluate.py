"""`sardino evaluate`: scikit-learn's numbers, paired differences, and a store of other things is refused."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, jaccard_score
from typer.testing import CliRunner

from sardino.cli.app import app
from sardino.data.tiles.landcover import IGNORE, WORLDCOVER, LandCoverClass, Legend
from sardino.data.tiles.store import TileStore
from sardino.data.tiles.tile import Chip, tile_grid
from sardino.data.tiles.write_store import write_store
from sardino.mapping.model import load_landcover

sys.path.insert(0, str(Path(__file__).parents[1] / "mapping"))
from made import CHANNELS, ORIGIN, TRAINED_ON, UTM, backbone, backscatter, segmenter

SIDE, COLUMNS, ROWS = 32, 6, 3  # a column of tiles is a band: two of training, four of test
BARE = COLUMNS - 1  # number of a test tile without a label


def made_store(path: Path, side: int = SIDE, gsd_m: float = 10.0, **changed: object) -> Path:
    """A store that the random segmenters fit, but for what is changed."""

    def chip(number: int) -> Chip:
        label = np.random.default_rng(number).integers(0, 4, (2, 2)).repeat(side // 2, 0).repeat(side // 2, 1)
        label[:3] = IGNORE
        if number == BARE:
            label[:] = IGNORE
        values = backscatter(side, side, seed=number)[: len(facts["channels"])]
        return Chip(values, label.astype(np.uint8))

    grid = list(tile_grid("europe", UTM, ORIGIN, side, gsd_m, COLUMNS, ROWS))
    bands = [number % COLUMNS for number in range(len(grid))]
    facts = {"channels": CHANNELS, "legend": WORLDCOVER, "product": "made", "synthetic": True, "metadata": {}}
    facts |= {"splits": ["train" if band < 2 else "test" for band in bands], "chips": chip} | changed
    write_store(path, grid, bands=bands, **facts)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, two segmenters and a backbone."""
    folder = tmp_path_factory.mktemp("evaluate").resolve()
    made_store(folder / "store")
    segmenter(folder / "model")
    segmenter(folder / "other", "tokens", seed=1)
    backbone(folder / "backbone")
    return folder


@pytest.fixture
def run(place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(place)
    return lambda words: CliRunner().invoke(app, ["evaluate", *words.split(), "--device", "cpu"])


def predicted(model: Path, ids: list[str], store: TileStore) -> tuple[np.ndarray, np.ndarray]:
    """Reference and prediction of the labelled pixels, by torch alone."""
    loaded = load_landcover(model)
    images, labels = store.read(ids)
    with torch.no_grad():
        found = loaded.network(torch.from_numpy(loaded.normalisation.apply(images))).argmax(1).numpy()
    return labels[labels != IGNORE], found[labels != IGNORE]


def test_the_scores_are_those_of_scikit_learn_and_files_say_what_was_judged(run, place):
    done = run("model store -o out --precision float32")
    assert done.exit_code == 0, done.output
    store = TileStore.open(place / "store")
    reference, found = predicted(place / "model", store.ids("test"), store)
    scores = pd.read_csv(place / "out/scores.csv").set_index(["score", "class"])
    overall = scores[scores.index.get_level_values("class").isna()].droplevel("class")
    known = np.unique(reference)
    average = {"average": "macro", "labels": known, "zero_division": 0}
    assert overall.value["miou"] == pytest.approx(jaccard_score(reference, found, **average), abs=1e-6)
    assert overall.value["macro_f1"] == pytest.approx(f1_score(reference, found, **average), abs=1e-6)
    assert overall.value["accuracy"] == pytest.approx(accuracy_score(reference, found), abs=1e-6)
    each = jaccard_score(reference, found, average=None, labels=range(11), zero_division=0)
    occurs = np.isin(range(11), [*reference, *found])
    np.testing.assert_allclose(scores.loc["iou"].value[WORLDCOVER.names], np.where(occurs, each, np.nan), atol=1e-6)
    assert scores.loc["iou"].reference_pixels.sum() == overall.reference_pixels["miou"] == len(reference)
    told = scores.dropna(subset=["low"])
    assert len(told) >= 5 and (told.low <= told.value).all() and (told.value <= told.high).all()
    facts = scores.iloc[0]
    assert (facts.model, facts.split, facts.tiles, facts.blocks) == ("model", "test", 4 * ROWS - 1, 4)
    assert facts.weights == load_landcover(place / "model").sha256 and facts.synthetic
    matrix = pd.read_csv(place / "out/confusion.csv")
    expected = confusion_matrix(reference, found, labels=range(11))
    np.testing.assert_array_equal(matrix.pixels.to_numpy().reshape(11, 11), expected)
    assert {path.name for path in (place / "out").iterdir()} == {
        "scores.csv", "confusion.csv", "confusion.png", "confusion.pdf"
    }  # fmt: skip
    assert "model on the test tiles of store (synthetic world)" in done.stdout
    assert re.search(rf"\nmIoU +{overall.value['miou']:.3f} \[0", done.stdout) and "IoU Tree cover" in done.stdout
    assert "over 4 geographic blocks of 11 test tiles" in " ".join(done.stdout.split())
    assert "1 more test tiles have no label" in done.stdout and "11/11" in done.stderr


def test_a_model_beside_itself_differs_by_nothing_and_another_by_its_scores(run, place):
    done = run("model store -o itself --against model")
    assert done.exit_code == 0, done.output
    itself = pd.read_csv(place / "itself/scores.csv")
    told = itself.dropna(subset=["value"])
    assert len(told) >= 7 and not told[["difference", "difference_low", "difference_high"]].fillna(0).to_numpy().any()
    assert run("model store -o pair --against other").exit_code == 0
    pair = pd.read_csv(place / "pair/scores.csv")
    np.testing.assert_allclose(pair.difference, pair.value - pair.other, atol=2e-6)
    np.testing.assert_allclose(pair.value, itself.value)
    np.testing.assert_allclose(pair.low, itself.low)
    assert pair.difference.abs().max() > 0.01 and pair.against[0] == "other"


def test_other_tiles_are_judged_where_asked_and_training_tiles_with_a_warning(run, place):
    store = TileStore.open(place / "store")
    trained = {**TRAINED_ON, "fingerprint": store.fingerprint}
    segmenter(place / "seen", trained_on=trained)
    done = run("seen store --split train --region europe")
    assert done.exit_code == 0 and "may have been learnt from" in done.stdout, done.output
    assert pd.read_csv(place / "seen/evaluation-train/scores.csv").tiles[0] == 2 * ROWS


def test_one_block_has_no_interval(run, place):
    made_store(place / "one", splits=["test" if n % COLUMNS == 3 else "train" for n in range(COLUMNS * ROWS)])
    done = run("model one -o alone --against other")
    assert done.exit_code == 0 and "lie in one geographic block" in " ".join(done.stdout.split()), done.output
    scores = pd.read_csv(place / "alone/scores.csv")
    assert scores[["low", "high", "difference_low", "difference_high"]].isna().all(axis=None)
    assert scores.difference.abs().max() > 0 and "nan" not in done.stdout


WATER = LandCoverClass(1, "Water", "#0000FF")
SWAPPED = Legend("Swapped", (*WORLDCOVER.classes[1::-1], *WORLDCOVER.classes[2:]))


@pytest.mark.parametrize(
    ("changed", "words", "told"),
    [
        ({"legend": replace(WORLDCOVER, classes=(*WORLDCOVER.classes[:-1], WATER))}, "model changed",
         "only the model has 100 Moss and lichen; only the store has 1 Water"),
        ({"legend": SWAPPED}, "model changed", "in another order"),
        ({"channels": CHANNELS[:2]}, "model changed", "channels winter_vv, winter_vh, winter_vv-vh, and .* holds"),
        ({"unit": "amplitude"}, "model changed", "backscatter in dB, and changed holds amplitude"),
        ({"side": 16}, "model changed", "tiles of 32 px, and changed holds tiles of 16 px"),
        ({"gsd_m": 20.0}, "model changed", "pixels of 10 m, and changed holds 20 m"),
        ({"legend": SWAPPED}, "model store --against changed", "holds no trained segmenter"),
        (None, "model store --split val", "it has no val tile"),
        (None, "model store --split fall", "no split 'fall'"),
        (None, "model store --region mars", "no region mars"),
        (None, "backbone store", "a backbone, which tells no classes"),
        (None, "model nowhere", "no tile store nowhere"),
        (None, "model store -o store/tiles.parquet/out", "choose another name"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_sentence(run, place, tmp_path, changed, words, told):
    if changed:
        made_store(tmp_path / "changed", **changed)
    done = run(words.replace("changed", str(tmp_path / "changed")))
    error = done.stderr.replace(f"{tmp_path}/", "")
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert done.exit_code == 2 and len(lines) == 1 and re.search(told, lines[0]), done.output
    assert not (place / "model/evaluation-test").exists()


def test_a_store_without_labels_is_refused(run, place, tmp_path):
    def bare(number: int) -> Chip:
        return Chip(backscatter(SIDE, SIDE, number), np.full((SIDE, SIDE), IGNORE, np.uint8))

    made_store(tmp_path / "bare", chips=bare)
    done = run(f"model {tmp_path / 'bare'}")
    assert done.exit_code == 2 and "none of its 12 test tiles has a label: import labels" in done.stderr
