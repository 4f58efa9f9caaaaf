"""From tiles to a table cell on a minute world: the science of notebooks 01 to 05 without the notebooks."""

import json

import numpy as np
import pytest
import torch

from sardino.errors import SardinoError
from sardino.evaluation.confusion import miou
from sardino.tiles.description import describe
from sardino.tiles.examples import example_tiles
from sardino.tiles.splits import label_fraction
from sardino.training.source import in_batches
from sardino.training.store_tiles import StoreTiles, open_tiles
from sardino.workflow.attention import attention_of
from sardino.workflow.backbone import physics_of, pretrain_arm
from sardino.workflow.cells import Experiment, save_confusions, train_cell
from sardino.workflow.preparation import open_or_prepare, prepare
from sardino.workflow.workspace import Workspace

CPU = torch.device("cpu")
PROFILE = """
name = "minute"
title = "A minute world"
synthetic = true
hardware = "any"
expected_minutes = 1
seeds = [0]
fractions = [1, 10]
examples = 2
[data]
source = "world"
tile_px = 32
bands = 10
band_angle_deg = 30
regions = { europe = [6, 5], china = [5, 4] }
[architectures]
tiny = { width = 24, depth = 2, heads = 3, patch = 8 }
[pretraining.europe]
title = "Europe"
architecture = "tiny"
regions = ["europe"]
steps = 3
batch = 4
recipe = "small"
overrides = { hidden = 32, bottleneck = 16, prototypes = 32, local_crops = 1 }
[pretraining.all]
title = "Europe, China"
architecture = "tiny"
regions = ["europe", "china"]
steps = 3
batch = 4
recipe = "small"
overrides = { hidden = 32, bottleneck = 16, prototypes = 32, local_crops = 1 }
[finetuning]
steps = 4
batch = 2
lr = 1e-2
backbone_lr = 1e-3
validate_every = 2
unet_width = 4
unet_depth = 2
decoder_width = 16
"""


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    (root / "minute.toml").write_text(PROFILE)
    space = Workspace.open(str(root / "minute.toml"), root=root)
    prepare(space)
    for arm in ("europe", "all"):
        pretrain_arm(space, arm, CPU)
    return space


def test_the_store_holds_all_regions_split_by_bands(space):
    store = open_or_prepare(space)["store"]
    assert store.regions == ["europe", "china"] and len(store) == 50
    bands = store.index.groupby(["region", "band"])["split"].nunique()
    assert (bands == 1).all()
    shares = store.index["split"].value_counts(normalize=True)
    assert shares["train"] == pytest.approx(0.6, abs=0.05)
    assert describe(store)["synthetic"] is True and "synthetic" in describe(store)["labels"]


def test_pretraining_reads_training_tiles_of_its_regions_only(space):
    results = pretrain_arm(space, "all", CPU)
    store = open_or_prepare(space)["store"]
    assert results["tiles"] == len(store.ids("train", ["europe", "china"])) == 30
    assert np.isfinite(results["curves"]["loss"]).all()


@pytest.mark.parametrize("arm", ["europe", "all"])
def test_all_arms_test_on_the_first_region(space, arm):
    experiment = Experiment.open(space, arm, "tokens", "frozen", CPU)
    assert {experiment.store.tile(i).region for i in experiment.test_ids} == {"europe"}
    assert not set(experiment.train_ids) & set(experiment.test_ids)
    assert len(experiment.test_blocks) == len(experiment.test_ids)


@pytest.mark.parametrize(
    ("encoding", "initialisation"),
    [
        ("attention", "unfrozen"),
        ("tokens", "frozen"),
        ("tokens", "scratch"),
        ("unet", "scratch"),
        ("unet_attention", "frozen"),
    ],
)
def test_a_cell_is_trained_tested_and_saved(space, tmp_path, encoding, initialisation):
    experiment = Experiment.open(space, "europe", encoding, initialisation, CPU)
    cell = train_cell(experiment, 10, seed=0)
    again = train_cell(experiment, 10, seed=0)
    assert cell.row["miou"] == again.row["miou"] and cell.losses == again.losses
    assert cell.row["miou"] == pytest.approx(float(miou(cell.confusions.sum(0))))
    assert cell.row["table"] == (1 if encoding in ("attention", "tokens") else 2)
    assert cell.confusions.shape == (len(experiment.test_ids), 11, 11)
    assert cell.confusions.sum() == len(experiment.test_ids) * 32 * 32
    assert cell.examples.shape == (2, 32, 32)
    save_confusions(tmp_path / "run.npz", [cell])
    with np.load(tmp_path / "run.npz", allow_pickle=False) as saved:
        np.testing.assert_array_equal(saved[cell.row["confusion_key"]], cell.confusions)


def test_arms_of_one_seed_learn_from_the_same_tiles(space):
    first = Experiment.open(space, "europe", "unet", "scratch", CPU)
    second = Experiment.open(space, "all", "tokens", "frozen", CPU)
    assert label_fraction(first.train_ids, 10, 3) == label_fraction(second.train_ids, 10, 3)


def test_tiles_on_disk_are_the_tiles_in_memory(space, monkeypatch):
    store = open_or_prepare(space)["store"]
    normalisation = Experiment.open(space, "europe", "unet", "scratch", CPU).normalisation
    ids = store.ids("val")
    held = open_tiles(store, ids, normalisation)
    read = StoreTiles(store, ids, normalisation)
    for (x, y), (u, v) in zip(in_batches(held, 3), in_batches(read, 3), strict=True):
        assert torch.equal(x, u) and torch.equal(y, v)


def test_examples_follow_a_rule_that_sees_labels_only(space):
    store = open_or_prepare(space)["store"]
    chosen = example_tiles(store, store.ids("test"), 3)
    assert chosen == example_tiles(store, list(reversed(store.ids("test"))), 3) and len(chosen) == 3


def test_attention_of_an_arm(space):
    store = open_or_prepare(space)["store"]
    maps = attention_of(space, "europe", store, store.read(store.ids("test")[:2])[0])
    assert maps.shape == (2, 3, 4, 4) and np.isfinite(maps).all()


def test_unknown_arms_are_refused(space):
    with pytest.raises(SardinoError, match="there is no arm 'token'"):
        Experiment.open(space, "europe", "token", "frozen", CPU)
    with pytest.raises(SardinoError, match="no arm 'asia'"):
        Experiment.open(space, "asia", "tokens", "frozen", CPU)


def test_other_training_tiles_than_the_backbones_are_refused(space):
    path = space.pretrain("europe") / "card.json"
    text = path.read_text()
    card = json.loads(text)
    card["normalisation"]["mean"][0] += 1
    path.write_text(json.dumps(card))
    try:
        with pytest.raises(SardinoError, match="was trained on other tiles"):
            Experiment.open(space, "europe", "tokens", "frozen", CPU).backbone()
    finally:
        path.write_text(text)


def test_a_misspelt_view_of_a_profile_is_named(space, tmp_path):
    text = PROFILE.replace("[pretraining.all]", "physics = { loooks = 4 }\n[pretraining.all]")
    (tmp_path / "wrong.toml").write_text(text)
    with pytest.raises(SardinoError, match=r"pretraining\.europe\.physics has no loooks; it has .*looks"):
        physics_of(Workspace.open(str(tmp_path / "wrong.toml"), root=tmp_path), "europe")
