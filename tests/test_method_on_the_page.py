"""The method that notebooks show in a few lines is the method that the package runs."""

from types import SimpleNamespace
from typing import Any

import jupytext
import pytest
import torch
from test_notebooks import NOTEBOOKS

from sardino.dino import unet
from sardino.dino.parallel import Parallel
from sardino.dino.recipe import Rates
from sardino.dino.step import Learner
from sardino.dino.vit import encode
from sardino.segmentation.token_decoder import TokenDecoder
from sardino.study import attention
from sardino.study.arm import architecture_of, begin, first_crops, pretrain_arm, recipe_of
from sardino.study.preparation import open_or_prepare
from sardino.study.row import Experiment
from sardino.study.workspace import Workspace

CPU, ARM, SEED = torch.device("cpu"), "europe", 5
LIVELY = {"drop_path": 0.2, "student_temperature": 0.03, "clip": 0.05, "momentum": 0.9, "base_learning_rate": 1e-3}
"""Numbers of a recipe under which a wrong line would show."""


@pytest.fixture(scope="module")
def space(minute: Workspace) -> Workspace:
    pretrain_arm(minute, ARM, CPU)
    return minute


def run_cells(notebook: str, tag: str, names: dict[str, Any]) -> dict[str, Any]:
    """Execute a notebook's cells of a tag, as they stand, among these names."""
    cells = [cell for cell in jupytext.read(NOTEBOOKS / f"{notebook}.py").cells if tag in cell.metadata.get("tags", ())]
    assert cells, f"{notebook} has no cell tagged {tag}"
    for cell in cells:
        torch.manual_seed(SEED)  # of dropped layers
        exec(cell.source, names)
    return names


@pytest.mark.parametrize("changes", [{}, LIVELY, {**LIVELY, "teacher_temperature": 0.001}])
def test_one_step_of_dino_is_the_step_that_a_run_takes(space: Workspace, changes: dict[str, float]) -> None:
    arm = space.profile.arm(ARM)
    arm = arm.model_copy(update={"overrides": {**arm.overrides, **changes}})
    profile = space.profile.model_copy(update={"pretraining": {ARM: arm}})
    space = Workspace(profile, space.reference, space.root, space.data, space.build)
    store = open_or_prepare(space)["store"]
    recipe = recipe_of(space, ARM, store)
    _, large, small = first_crops(space, ARM, store, 4)
    given = {"run": SimpleNamespace(space=space), "arm": ARM, "store": store, "recipe": recipe, "begin": begin}
    page = run_cells("02_pretraining", "one-step", {**given, "torch": torch, "large": large, "small": small})

    learner = Learner(architecture_of(space, ARM, store), recipe, Parallel(CPU), seed=0, precision="float32")
    start = [w.clone() for w in learner.teacher.parameters()]
    rates = Rates(
        learning_rate=recipe.learning_rate(arm.batch),
        weight_decay=recipe.weight_decay,
        momentum=recipe.momentum,
        teacher_temperature=recipe.teacher_temperature,
        prototypes_frozen=False,
    )
    torch.manual_seed(SEED)
    seen = learner.step([(large, small)], 1, rates)

    torch.testing.assert_close(page["loss"].detach(), seen.loss)
    torch.testing.assert_close(page["c"], learner.objective.moving["centre"])
    for network in ("student", "teacher"):
        for ours, theirs in zip(page[network].parameters(), getattr(learner, network).parameters(), strict=True):
            torch.testing.assert_close(ours, theirs)
    assert any(not torch.equal(a, b) for a, b in zip(start, page["teacher"].parameters(), strict=True))
    assert page["c"].abs().max() > 0


def test_attention_on_the_page_is_the_attention_that_is_scored(space: Workspace) -> None:
    store = open_or_prepare(space)["store"]
    backscatter, _ = store.read(store.ids("test")[:2])
    names = {"attention": attention, "space": space, "arm": ARM, "store": store}
    page = run_cells("05_attention", "attention", {**names, "backscatter": backscatter})
    torch.testing.assert_close(page["weights"].sum(-1), torch.ones(page["weights"].shape[:-1]))
    seen = torch.from_numpy(attention.see(space, ARM, store, backscatter).attention)
    torch.testing.assert_close(page["class_token"], seen[0].flatten(1), rtol=1e-4, atol=1e-5)


def test_decoders_on_the_page_are_those_of_the_rows(space: Workspace) -> None:
    experiment = Experiment.open(space, ARM, "tokens", "scratch", CPU)
    names = {"experiment": experiment, "store": experiment.store, "tuning": space.profile.finetuning, "torch": torch}
    names |= {"encode": encode, "unet": unet, "TokenDecoder": TokenDecoder, "run": SimpleNamespace(seeds=[0])}
    page = run_cells("03_finetuning", "decoders", names)
    for name, (decoder, encoded) in page["decoders"].items():
        row = Experiment.open(space, ARM, name, "scratch", CPU).segmenter(0)
        shapes = {key: value.shape for key, value in row.decoder.state_dict().items()}
        assert {key: value.shape for key, value in decoder.state_dict().items()} == shapes
        assert decoder(encoded).shape == row(page["x"]).shape
