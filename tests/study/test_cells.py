"""From tiles to a table cell on a minute world: the science of notebooks 01 to 05 without the notebooks."""

import json
import shutil
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from minute_world import PROFILE
from safetensors.torch import load_file

from sardino.data.tiles.landcover import label_fraction
from sardino.data.tiles.store import describe, example_tiles
from sardino.dino.batches import StoreTiles, in_batches, open_tiles
from sardino.dino.vit import parameter_count
from sardino.errors import SardinoError
from sardino.evaluation.scores import miou
from sardino.reporting.record import read_record
from sardino.segmentation import finetune as finetune_module
from sardino.segmentation.finetune import Diverged, draw, finetune
from sardino.segmentation.kept_features import FeatureTiles
from sardino.study import kept
from sardino.study import row as cells_module
from sardino.study.arm import pretrain_arm
from sardino.study.attention import attention_maps, see
from sardino.study.preparation import open_or_prepare
from sardino.study.row import Experiment, choose_rate, record_row, train_cell
from sardino.study.run import OpenRun
from sardino.study.workspace import Workspace
from sardino.weights.save import load_segmenter

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def space(minute):
    for arm in ("europe", "all"):
        for seed in minute.profile.seeds:
            pretrain_arm(minute, arm, CPU, seed)
    return minute


def changed(space, **sections):
    """The same workspace with another profile."""
    return replace(space, profile=space.profile.model_copy(update=sections))


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
        ("hybrid", "frozen"),
    ],
)
def test_a_cell_is_trained_and_tested(space, encoding, initialisation):
    experiment = Experiment.open(space, "europe", encoding, initialisation, CPU)
    cell = train_cell(experiment, 10, 0, 0, 1e-2)
    again = train_cell(experiment, 10, 0, 0, 1e-2)
    assert cell.row["miou"] == again.row["miou"] and cell.losses == again.losses
    assert cell.row["miou"] == pytest.approx(float(miou(cell.confusions.sum(0))))
    assert cell.row["table"] == (1 if encoding in ("attention", "tokens") else 2)
    assert cell.confusions.shape == (len(experiment.test_ids), 11, 11)
    assert cell.confusions.sum() == len(experiment.test_ids) * 32 * 32
    assert cell.examples.shape == (2, 32, 32)
    assert [look["step"] for look in cell.row["curve"]] == [1, 2, 3, 4] and cell.row["steps"] == 4
    assert cell.row["curve"][-1]["val_miou"] == cell.row["val_miou"]
    assert (cell.row["backbone_lr"] is None) == (encoding == "unet" or initialisation == "frozen")
    assert 0 < cell.row["decoder_parameters"] <= cell.row["parameters"]


ARMS = [
    (arm, e, i) for arm in ("europe", "all") for e in ("attention", "tokens") for i in ("scratch", "frozen", "unfrozen")
]
ARMS += [("europe", "unet", "scratch")] + [("europe", "unet_attention", i) for i in ("scratch", "frozen", "unfrozen")]


def test_arms_differ_in_network_and_learning_rate_only(space, monkeypatch):
    """Same labels, same validation tiles, same batches in the same order, same settings: for each repetition."""
    seen, batches = [], []
    rates = ("lr", "lr_grid", "tokens_lr", "backbone_lr", "pretrained_lr")

    def labels(source):
        return source.read(range(len(source)))[1].numpy().tobytes()

    def note(model, train, validation, settings, **rest):
        batches.clear()
        result = finetune(model, train, validation, settings, **rest)
        alike = {name: value for name, value in settings if name not in rates}
        terms = (alike, rest["seed"], rest["classes"])
        seen.append((labels(train), labels(validation), terms, tuple(map(tuple, batches))))
        return result

    def noted(*arguments):
        batches.append(draw(*arguments))
        return batches[-1]

    monkeypatch.setattr(cells_module, "finetune", note)
    monkeypatch.setattr(finetune_module, "draw", noted)
    cells = []
    for number, arm in enumerate(ARMS):
        experiment = Experiment.open(space, *arm, CPU)
        cells.append([train_cell(experiment, f, s, s, 1e-3 * (1 + number % 3)) for f in (1, 10) for s in (0, 1)])
    rows = [seen[n : n + 4] for n in range(0, len(seen), 4)]
    assert len(rows) == len(ARMS) == 16 and all(row == rows[0] for row in rows)
    assert len({row[0] for row in rows[0]}) == 4, "each draw and fraction has labels of its own"
    assert len(rows[0][0][3]) == space.profile.finetuning.steps
    references = {tuple(cell.confusions.sum(-1).tobytes() for cell in row) for row in cells}
    assert len(references) == 1, "one test set"


@settings_of_hypothesis(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.1, 100), min_size=2, max_size=5), st.integers(0, 1000))
def test_labels_of_a_smaller_fraction_are_among_those_of_a_larger(fractions, draw):
    ids = [f"tile{n}" for n in range(200)]
    subsets = [set(label_fraction(ids, fraction, draw)) for fraction in sorted(fractions)]
    assert all(small <= large for small, large in pairwise(subsets))
    assert label_fraction(ids, fractions[0], draw) == label_fraction(ids[::-1], fractions[0], draw)
    assert set(label_fraction(ids, 100, draw)) == set(ids)


def test_a_cell_starts_from_the_pretraining_with_its_seed(space):
    folders = [space.pretrain("europe", seed) for seed in (None, 0, 1)]
    assert [folder.name for folder in folders] == ["europe", "europe", "europe-seed1"]
    experiment = Experiment.open(space, "europe", "tokens", "frozen", CPU)
    weights = [experiment.segmenter(seed).vit.state_dict() for seed in (0, 1)]
    for folder, state in zip(folders[1:], weights, strict=True):
        saved = load_file(folder / "student.safetensors")
        assert all(torch.equal(saved[name], value) for name, value in state.items())
    assert not torch.equal(weights[0]["cls_token"], weights[1]["cls_token"])
    card = json.loads((folders[2] / "card.json").read_text())
    assert card["run"]["seed"] == 1
    with pytest.raises(SardinoError, match=r"europe-seed7 holds no finished pre-training"):
        experiment.segmenter(7)


@pytest.mark.parametrize("encoding", ["attention", "tokens", "unet_attention"])
def test_a_frozen_arm_gives_the_same_cell_with_and_without_kept_features(space, encoding):
    tuning = space.profile.finetuning.changed(precision="float32")
    cells = []
    for number, where in enumerate(changed(space, finetuning=tuning.changed(feature_cache_gb=n)) for n in (20, 0)):
        experiment = Experiment.open(where, "europe", encoding, "frozen", CPU)
        source = experiment.tiles(experiment.segmenter(0), experiment.test_ids, 0)
        assert isinstance(source, FeatureTiles) is (number == 0)
        cells.append(train_cell(experiment, 100, 0, 0, 1e-2))
    # Up to the rounding of float32: the size of a batch decides in which order a product is summed.
    assert cells[0].losses == pytest.approx(cells[1].losses, rel=1e-5)
    assert np.abs(cells[0].confusions - cells[1].confusions).sum() <= 1e-3 * cells[0].confusions.sum()
    assert cells[0].row["miou"] == pytest.approx(cells[1].row["miou"], abs=1e-3)
    assert (cells[0].examples == cells[1].examples).mean() > 0.999


def test_kept_features_are_shared_over_fractions_arms_and_runs(space, monkeypatch):
    shutil.rmtree(space.build / "features", ignore_errors=True)
    for encoding in ("attention", "unet_attention", "tokens"):
        experiment = Experiment.open(space, "europe", encoding, "frozen", CPU)
        for fraction, seed in ((1, 0), (100, 0), (10, 1)):
            train_cell(experiment, fraction, seed, seed, 1e-2)
    assert len(list((space.build / "features").iterdir())) == 8  # two seeds, maps and tokens, to train on and to test


def test_the_learning_rate_is_chosen_on_validation_with_the_test_tiles_out_of_reach(space, monkeypatch):
    given = space.profile.finetuning.changed(lr_grid=[1e-4, 1e-2, 1e-1], lr_fraction=100, grid_share=1)
    experiment = Experiment.open(changed(space, finetuning=given), "europe", "tokens", "unfrozen", CPU)
    tuning, middle = experiment.tuning, experiment.tuning.lr_grid[1]
    reachable = replace(experiment, test_ids=[])
    search = choose_rate(reachable)
    assert (search.fraction, search.seed) == (100, 0) and list(search.scores) == tuning.lr_grid
    assert search.usual == tuning.lr and search.intervals.keys() == {*tuning.lr_grid} - {middle}
    assert search.chosen == search.usual or search.intervals[search.chosen][0] > 0
    assert search.scores[middle] == train_cell(experiment, 100, 0, 0, middle).row["val_miou"]
    record = search.to_dict()
    assert [score["lr"] for score in record["scores"]] == tuning.lr_grid and f"{search.chosen:g}" in str(search)
    row = train_cell(experiment, 1, 1, 1, search.chosen).row
    assert row["backbone_lr"] / row["lr"] == pytest.approx(tuning.pretrained_lr / tuning.lr)
    short = changed(space, finetuning=given.changed(grid_share=0.5))
    assert choose_rate(Experiment.open(short, "europe", "tokens", "unfrozen", CPU)).scores != search.scores


def test_a_rate_that_diverges_is_passed_over_once_and_no_grid_is_no_search(space, monkeypatch, tmp_path):
    tried = []

    def train(experiment, fraction, draw, seed, settings):
        tried.append(settings.lr)
        if settings.lr > 1e-3:
            raise Diverged("the loss is nan")
        return None, None

    counts = np.tile([[1, 1], [1, 1]], (len(Experiment.open(space, "europe", "unet", "scratch", CPU).judged_ids), 1, 1))
    monkeypatch.setattr(cells_module, "_train", train)
    monkeypatch.setattr(cells_module, "_confusions", lambda *given: counts)
    monkeypatch.setenv(kept.CELLS, str(tmp_path))
    for grid, outcome in (([1e-3, 1e-2], 1e-3), ([], 1e-2), ([1e-2, 1e-1], None)):
        tuning = space.profile.finetuning.model_copy(update={"lr_grid": grid})
        experiment = Experiment.open(changed(space, finetuning=tuning), "europe", "unet", "scratch", CPU)
        if outcome is None:
            with pytest.raises(SardinoError, match="diverged with every learning rate of the grid"):
                choose_rate(experiment)
            continue
        search = choose_rate(experiment)
        assert search.chosen == outcome and search.scores == ({1e-3: 1 / 3, 1e-2: None} if grid else {})
        assert choose_rate(experiment) == search, "as it was kept"
        assert ("diverged" if grid else "no search") in str(search)
    assert tried == [1e-3, 1e-2, 1e-1]


def test_a_row_is_recorded_with_its_loss_and_how_its_rate_was_chosen(space):
    tuning = space.profile.finetuning.model_copy(update={"loss": "one-vs-rest", "lr_grid": [1e-3, 1e-2]})
    other = changed(space, finetuning=tuning)
    experiment = Experiment.open(other, "europe", "unet", "scratch", CPU)
    search = choose_rate(experiment)
    cells = [train_cell(experiment, 10, 0, seed, search.chosen) for seed in (0, 1)]
    plain = train_cell(Experiment.open(space, "europe", "unet", "scratch", CPU), 10, 0, 0, search.chosen)
    assert cells[0].losses[0] != plain.losses[0]
    run = OpenRun(other, "baseline", "baseline-unet-scratch", {"encoding": "unet"}, other.profile.seeds, 0.0)
    record = record_row(run, experiment, search, cells)
    assert read_record(space.record("baseline-unet-scratch")) == record and record["kind"] == "baseline"
    assert record["results"]["loss"] == "one-vs-rest" and record["seeds"] == [0, 1]
    assert record["results"]["learning_rates"] == search.to_dict()
    with np.load(space.runs / record["results"]["confusion_file"], allow_pickle=False) as saved:
        assert len(saved.files) == 4
        np.testing.assert_array_equal(saved[cells[1].row["confusion_key"]], cells[1].confusions)


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
    ids = store.ids("test")[:2]
    seen = see(space, "europe", store, store.read(ids)[0])
    assert (
        seen.attention.shape == (2, 3, 4, 4) and seen.rollout.shape == (2, 4, 4) and seen.tokens.shape[:3] == (2, 4, 4)
    )
    trained, untrained = attention_maps(space, "europe", store, ids)
    np.testing.assert_allclose(trained, seen.attention, rtol=1e-5)
    assert untrained.shape == trained.shape and not np.allclose(untrained, trained, rtol=1e-3)
    np.testing.assert_array_equal(attention_maps(space, "europe", store, ids)[1], untrained)


def test_the_wide_u_net_is_a_plain_one_of_its_own_width(space, tmp_path):
    wide = changed(space, wide_unet_width=5)
    experiment = Experiment.open(wide, "europe", "wide", "scratch", CPU)
    cell = train_cell(experiment, 10, 0, 0, 1e-2, tmp_path)
    assert (cell.row["table"], cell.row["encoding"], cell.row["backbone_lr"]) == (2, "wide", None)
    model, card = load_segmenter(tmp_path)
    assert card.encoding == "unet" and card.decoder["unet_width"] == 5
    plain = train_cell(Experiment.open(space, "europe", "unet", "scratch", CPU), 10, 0, 0, 1e-2)
    assert cell.row["parameters"] == parameter_count(model) > plain.row["parameters"]
    with pytest.raises(SardinoError, match="there is no arm 'wide'"):
        Experiment.open(space, "europe", "wide", "scratch", CPU)


def test_a_self_trained_cell_learns_from_the_tiles_without_labels_too(space, tmp_path):
    sure = space.profile.finetuning.changed(confidence=0.01)  # of four steps nothing is sure
    own = changed(space, self_trained={"unet": 3}, finetuning=sure)
    experiment = Experiment.open(own, "europe", "unet", "self-trained", CPU)
    labelled = {*experiment.labelled_ids(10, 0)}
    others = experiment.without_labels(10, 0)
    assert labelled and not labelled & {*others.ids} and {*others.ids} < {*experiment.store.ids("train", ["europe"])}
    assert choose_rate(experiment).why == "as given; no search"
    cell = train_cell(experiment, 10, 0, 0, 1e-2, tmp_path)
    plain = train_cell(Experiment.open(space, "europe", "unet", "scratch", CPU), 10, 0, 0, 1e-2)
    assert (cell.row["initialisation"], cell.row["steps"]) == ("self-trained", plain.row["steps"])
    assert cell.losses[0] == plain.losses[0] and cell.losses != plain.losses
    assert load_segmenter(tmp_path)[1].training["unlabelled"] == 3
    for encoding in ("unet", "tokens"):
        with pytest.raises(SardinoError, match="there is no arm"):
            Experiment.open(space if encoding == "unet" else own, "europe", encoding, "self-trained", CPU)


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
            Experiment.open(space, "europe", "tokens", "frozen", CPU).backbone(0)
    finally:
        path.write_text(text)


def test_a_misspelt_view_of_a_profile_is_named(space, tmp_path):
    text = PROFILE.replace("[pretraining.all]", "physics = { loooks = 4 }\n[pretraining.all]")
    (tmp_path / "wrong.toml").write_text(text)
    with pytest.raises(SardinoError, match=r"'pretraining\.europe\.physics\.loooks' is not a known key"):
        Workspace.open(str(tmp_path / "wrong.toml"), root=tmp_path)
