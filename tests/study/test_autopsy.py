"""The experiment of notebook 11: cells beside their controls, kept as they end, made anew where anything changes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.store import TileStore
from sardino.dino.probe import ProbeTiles, linear_probe, tokens_of
from sardino.dino.step import Learner
from sardino.dino.vit import Architecture, build_vit
from sardino.errors import SardinoError
from sardino.evaluation.patches import patch_classes
from sardino.study import autopsy
from sardino.study.arm import architecture_of
from sardino.study.autopsy import treated
from sardino.study.factors import Factorial
from sardino.study.profile import Profile

FACTORS = [
    {"name": "rate", "levels": [{"name": "0", "recipe": {"base_learning_rate": 1e-6}}, {"name": "1"}]},
    {"name": "input", "levels": [{"name": name, "stored": name} for name in ("db", "whole-db", "byte-db")]},
    {"name": "patch", "levels": [{"name": "16", "patch": 16}, {"name": "8", "patch": 8}]},
    {"name": "views", "levels": [{"name": "crops"}, {"name": "seasons", "physics": {"seasons_as_views": True}}]},
]


@pytest.fixture(scope="module")
def space(minute):
    design = Factorial(percent=10, factors=FACTORS, generators=["ABC"])
    return replace(minute, profile=minute.profile.changed(autopsy=design))


@pytest.fixture(scope="module")
def cells(space):
    return autopsy.run_cells(space, workers=1)


def test_every_cell_stands_beside_the_backbone_that_it_began_as(space, cells):
    assert len(cells) == 16 and sorted(set(cells["input"])) == ["byte-db", "db", "whole-db"]
    assert set(cells.loc[cells["seed"] == 0, "input"]) == {"db", "whole-db"}
    alike = cells.groupby(["input", "patch", "seed"])[["probe_before", "miou_before"]].nunique()
    assert (alike == 1).all(axis=None) and len(list((space.build / "autopsy").glob("*.json"))) == 16 + len(alike)
    slow, fast = (cells.loc[cells["rate"] == rate, "moved_percent"] for rate in "01")
    assert 0 < slow.max() < fast.min() / 10


def test_a_control_is_what_its_pretraining_begins_with(space, monkeypatch):
    """Both draw the same weights from a seed, so that a gain is that of pre-training alone."""
    cell = autopsy.cells_of(space)[0]
    begun = {}

    def only_begin(tiles, ids, normalisation, architecture, recipe, run, parallel, **options):
        begun.update(Learner(architecture, recipe, parallel, seed=run.seed).student.backbone.state_dict())
        raise SardinoError("enough")

    monkeypatch.setattr(autopsy, "pretrain", only_begin)
    with pytest.raises(SardinoError, match="enough"):
        autopsy.measure(space, cell)
    there = replace(space, profile=treated(space.profile, cell.levels))
    torch.manual_seed(cell.seed)
    vit = build_vit(architecture_of(there, "europe", TileStore.open(space.store)))
    assert all(torch.equal(value, begun[name]) for name, value in vit.state_dict().items())


def test_what_is_kept_is_not_made_again_and_what_is_torn_or_other_is(space, cells, monkeypatch):
    made = []
    monkeypatch.setattr(autopsy, "measure", lambda _, cell: made.append(cell) or {"probe": 0.5, "miou": 0.25})
    again = autopsy.run_cells(space, workers=1)
    assert again.equals(cells) and not made
    torn = min((space.build / "autopsy").glob("*.json"))
    before = json.loads(torn.read_text())
    torn.write_text(torn.read_text()[:40])
    autopsy.run_cells(space, workers=1)
    assert len(made) == 1 and json.loads(torn.read_text())["made_from"] == before["made_from"]
    tuned = space.profile.finetuning.changed(lr=2e-2)
    autopsy.run_cells(replace(space, profile=space.profile.changed(finetuning=tuned)), workers=1)
    assert len(made) == 1 + 16 + 8


def test_where_the_profile_says_so_cells_are_kept_to_be_committed(space, cells, monkeypatch, tmp_path):
    def measured(there, _):
        assert there.profile.keep
        return {"probe": 0.5, "miou": 0.25}

    monkeypatch.setattr(autopsy, "measure", measured)
    autopsy.run_cells(replace(space, root=tmp_path, profile=space.profile.changed(keep=True)), workers=1)
    kept = {path.name for path in (tmp_path / "results" / space.profile.name / "kept").glob("*.json")}
    assert len(kept) == 16 + 8 and kept <= {path.name for path in (space.build / "autopsy").glob("*.json")}


def test_the_published_experiment_can_be_run_and_its_paper_is_the_reference():
    profile = Profile.load("autopsy")
    design = profile.autopsy
    levels = [factor.levels[0] for factor in design.factors]
    plan = treated(profile, levels).arm("europe")
    paper = {"base_learning_rate": 1e-6, "student_temperature": 0.03, "teacher_temperature": 0.001}
    paper |= {"warmup_teacher_temperature": 0.01, "teacher_warmup_epochs": 5, "centre_momentum": 0.99}
    assert paper.items() <= plan.overrides.items() and plan.physics.off
    assert treated(profile, levels).architecture("europe").patch == 16
    assert {len(design.cells(n)) for n, _ in enumerate(profile.repetitions(1))} == {32}
    reached = {level.name for n in range(2) for run in design.cells(n) for level in run}
    assert reached == {level.name for factor in design.factors for level in factor.levels}


def test_backbones_of_large_patches_are_probed_on_small_ones(space):
    store = TileStore.open(space.store)
    probe = ProbeTiles(store, ["europe"], Normalisation.of_store(store, store.ids("train", ["europe"])), "test")
    vit = build_vit(Architecture(24, 2, 3, 16, channels=12, tile_px=32))
    sides = []
    for side in probe.sides:
        images, labels = side.read(range(len(side)))
        tokens = np.kron(tokens_of(vit, images), np.ones((1, 2, 2, 1), np.float32))
        sides.append((tokens, patch_classes(labels.numpy(), 8, probe.classes)))
    assert probe(vit, 8)["linear"] == linear_probe(*sides, probe.classes).miou
    assert probe(vit) == probe(vit, 16)


def test_a_profile_without_an_experiment_is_told_so(minute):
    with pytest.raises(SardinoError, match=r"no \[autopsy\]: choose autopsy or smoke"):
        autopsy.cells_of(minute)
