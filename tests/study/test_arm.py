"""An arm that learns by another objective than DINO, from its profile to what is shown of it."""

import pytest
import torch

from sardino.data.tiles.store import TileStore
from sardino.dino.recipe import DINO
from sardino.reporting.figures.curves import draw_pretraining
from sardino.reporting.tables.tables import table3
from sardino.study.arm import begin, first_crops, pretrain_arm
from sardino.study.forecast import find_device, forecast
from sardino.study.plan import plan
from sardino.study.workspace import Workspace
from sardino.weights.save import load_backbone

ARM = "europe"


@pytest.fixture(scope="module")
def space(minute: Workspace) -> Workspace:
    arm = minute.profile.arm(ARM).model_copy(update={"recipe": "filtered", "overrides": {"decoder_width": 32}})
    profile = minute.profile.model_copy(update={"pretraining": {ARM: arm}})
    return Workspace(profile, minute.reference, minute.root, minute.data, minute.build)


def test_its_record_its_card_and_its_pictures_say_so(space: Workspace) -> None:
    results = pretrain_arm(space, ARM, torch.device("cpu"))
    assert results["recipe"]["objective"] == "filtered" and results["recipe"]["decoder_width"] == 32
    assert results["curves"]["ln_k"] is None and len(results["curves"]["explained"]) == 2
    record = {"kind": "pretrain", "data": {"synthetic": True}, "results": results}
    assert "explained" in " ".join(axes.get_ylabel() for axes in draw_pretraining([record]).axes)
    assert len(table3([record], {}, DINO.to_dict()))
    store = TileStore.open(space.build / "store")
    _, card = load_backbone(space.pretrain(ARM, space.profile.seeds[0]), tuple(store.channels), store.unit, "teacher")
    assert card.recipe == {name: value for name, value in results["recipe"].items() if name != "learning_rate"}


def test_its_cost_is_forecast(space: Workspace, minute: Workspace) -> None:
    run = next(run for run in plan(space.profile) if run.kind == "pretrain")
    tflop = [forecast(each.profile, find_device("cpu-1"), [run])[0].tflop for each in (space, minute)]
    assert 0 < tflop[0] < tflop[1]


def test_the_notebook_shows_dinos_step_and_says_that_the_run_takes_another(
    space: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    store = TileStore.open(space.build / "store")
    student, teacher, _, centre = begin(space, ARM, store)
    assert "learns by 'filtered'" in capsys.readouterr().out
    _, large, small = first_crops(space, ARM, store, 2)
    assert student(large, small)[0].shape[1] == centre.shape[1] and teacher(large)[0].shape[0] == 4
