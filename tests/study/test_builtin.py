"""The weights that come with the package: taken by validation alone, whole, small, and honest about what they saw."""

import time
from dataclasses import replace

import built_in
import pytest
import torch
from built_in import best_segmenter, make_builtin, make_one_date

from sardino.data.tiles.radiometry import CHANNELS
from sardino.data.tiles.store import TileStore, describe
from sardino.data.tiles.write_store import merge_stores
from sardino.errors import SardinoError
from sardino.files import sha256_of
from sardino.reporting.record import write_record
from sardino.study.arm import pretrain_arm
from sardino.study.plan import plan
from sardino.study.row import Experiment, train_cell
from sardino.weights.components import FILE, Components
from sardino.weights.save import load_backbone, load_segmenter

CPU = torch.device("cpu")
BEST = "baseline-unet-scratch"


@pytest.fixture(scope="module")
def space(minute):
    """A pre-training, one trained cell, and records of the others that say that they did worse."""
    data = describe(TileStore.open(minute.store))
    common = {"profile": "minute", "parameters": {}, "seeds": [0], "data": data, "started": time.time()}
    results = pretrain_arm(minute, "europe", CPU)
    write_record(minute.record("pretrain-europe"), kind="pretrain", results=results, **common)
    train_cell(Experiment.open(minute, "europe", "unet", "scratch", CPU), 100, 0, 0, 1e-2)
    for run in plan(minute.profile):
        if run.kind in ("finetune", "baseline"):
            good = 0.9 if run.name == BEST else 0.1
            # Another fraction or the test tiles may say otherwise: neither counts.
            cells = [(100, good, 1 - good), (10, 1 - good, 1 - good)]
            arm = {"regions": "europe", "encoding": "unet+attention", "initialisation": "unfrozen"}
            rows = [{"fraction": f, "seed": 0, "val_miou": v, "miou": t, **arm} for f, v, t in cells]
            results = {"cells": rows, "learning_rates": {"chosen": 3e-3}}
            write_record(minute.record(run.name), kind=run.kind, results=results, **common)
    return minute


def test_the_best_on_validation_tiles_is_taken_with_its_card(space, tmp_path):
    assert best_segmenter(space) == BEST
    made = make_builtin(space, tmp_path / "pretrained")
    assert [path.name for path in made] == ["world-backbone", "world-segmenter"]
    vit, card = load_backbone(made[0], CHANNELS, "dB", "teacher")
    assert card.trained_on["synthetic"] is True and card.trained_on["gsd_m"] == 10 and vit.embed_dim == 24
    assert not (made[0] / "student.safetensors").exists()
    kept = Components.read(made[0] / FILE, sha256_of(made[0] / "teacher.safetensors"))
    assert kept.about["tiles"] == card.trained_on["tiles"]
    model, described = load_segmenter(made[1])
    assert described.encoding == "unet" and set(described.measured) >= {"mIoU on the test tiles"}
    assert model(torch.zeros(1, 12, 32, 32)).shape == (1, 11, 32, 32)


def test_it_can_be_trained_for_longer(space, tmp_path):
    before = {path: path.read_bytes() for path in space.segmenter(BEST).iterdir()}
    made = make_builtin(space, tmp_path / "pretrained", steps=7)
    _, described = load_segmenter(made[1])
    assert described.encoding == "unet_attention"  # as the record says of the run
    said = {"steps": 7, "fraction": 100, "lr": 3e-3, "initialisation": "unfrozen"}
    assert {name: described.training[name] for name in said} == said
    assert described.trained_on["labelled_tiles"] == len(TileStore.open(space.store).ids("train", ["europe"]))
    assert before == {path: path.read_bytes() for path in space.segmenter(BEST).iterdir()}


def test_what_was_there_is_replaced_whole_or_not_at_all(space, tmp_path, monkeypatch):
    folder = tmp_path / "pretrained"
    make_builtin(space, folder)
    (folder / "old").mkdir()
    monkeypatch.setattr(built_in, "MOST_BYTES", 10)
    with pytest.raises(SardinoError, match="more than 15"):
        make_builtin(space, folder)
    assert (folder / "old").is_dir()
    monkeypatch.undo()
    make_builtin(space, folder)
    assert not (folder / "old").exists() and (folder / "world-backbone" / "card.json").is_file()


def test_those_for_one_image_are_trained_beside_the_others(space, tmp_path):
    folder = tmp_path / "pretrained"
    before = {path: (path / "README.md").read_bytes() for path in make_builtin(space, folder)}
    one = replace(space, build=tmp_path / "one-date")
    merge_stores([TileStore.open(space.store)], one.store, one_date=True)
    made = make_one_date(one, folder, steps=5, backbone_steps=2, device=CPU)
    assert [path.name for path in made if path not in before] == ["one-date-backbone", "one-date-segmenter"]
    assert all((path / "README.md").read_bytes() == page for path, page in before.items())
    _, card = load_backbone(folder / "one-date-backbone", ("vv", "vh"), "dB", "teacher", 32)
    assert card.run["steps"] == 2 and card.trained_on["product"].endswith("one season a tile")
    assert (folder / "one-date-backbone" / FILE).is_file()
    model, described = load_segmenter(folder / "one-date-segmenter")
    assert described.training["steps"] == 5 and described.training["initialisation"] == "unfrozen"
    assert model(torch.zeros(1, 2, 32, 32)).shape == (1, 11, 32, 32)
