"""What every objective owes to the step: it learns, in parts as in one, is watched, stops and goes on bit for bit."""

from pathlib import Path

import pytest
import torch
from fake_gpu import fake_gpu
from test_pretrain import Interrupting, made_tiles, read_log, same

from sardino.data.tiles.normalisation import Normalisation
from sardino.dino.batches import MemoryTiles
from sardino.dino.health import columns_of
from sardino.dino.parallel import Parallel
from sardino.dino.pretrain import Stopped, pretrain
from sardino.dino.recipe import READS, RECIPES, Recipe, Run, find_recipe
from sardino.dino.session import Pretrained
from sardino.dino.step import OBJECTIVES, Learner
from sardino.dino.vit import Architecture, build_vit
from sardino.errors import SardinoError
from sardino.weights.card import measured_at_end

ARCHITECTURE = Architecture(width=24, depth=2, heads=3, patch=8, channels=2, tile_px=32)
NORMALISATION = Normalisation(("winter_vv", "summer_vv"), (0.0, 0.0), (1.0, 1.0))
IDS = [f"tile-{number}" for number in range(12)]
SMALLER = {"hidden": 32, "bottleneck": 16, "prototypes": 64, "local_crops": 2, "masked": 0.5, "decoder_width": 32}
SMALLER |= {"unet_width": 4}
CPU = Parallel(torch.device("cpu"))
each_objective = pytest.mark.parametrize("objective", OBJECTIVES)


def recipe(objective: str, **changes: object) -> Recipe:
    chosen = find_recipe("small" if objective == "dino" else objective)
    return chosen.changed(**{name: value for name, value in SMALLER.items() if name not in chosen.unread}, **changes)


def run(
    objective: str, folder: Path | None = None, tiles: object = None, drop_path: float = 0.2, **changes: object
) -> Pretrained:
    options = Run(**{"steps": 6, "batch": 4, "watch_every": 1, "precision": "float32", **changes})
    chosen = recipe(objective, drop_path=drop_path)
    return pretrain(tiles or made_tiles(), IDS, NORMALISATION, ARCHITECTURE, chosen, options, CPU, folder=folder)


@each_objective
def test_stopped_and_run_again_it_ends_with_the_same_bits(objective: str, tmp_path: Path) -> None:
    whole = run(objective, tmp_path / "whole")
    with pytest.raises(Stopped):
        run(objective, tmp_path, Interrupting(at=4))
    resumed = run(objective, tmp_path)
    assert same(resumed, whole) and resumed.history.to_dict().keys() == whole.history.to_dict().keys()
    for name in ("loss", "feature_std", "effective_rank", "gradient_norm", "distance"):
        assert resumed.history.columns[name] == whole.history.columns[name]
    assert [line["step"] for line in read_log(tmp_path) if "loss" in line] == list(range(6))


@pytest.mark.parametrize("objective", sorted(OBJECTIVES.keys() - {"dense"}))  # whose batch norms see a part
def test_parts_are_one_batch_but_for_rounding(objective: str) -> None:
    plain, parts = (run(objective, accumulate=number, drop_path=0.0).history for number in (1, 2))
    for name in {"loss", "explained", "teacher_entropy"} & plain.columns.keys():
        first, second = (torch.tensor(history.columns[name]) for history in (plain, parts))
        torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-3)


@each_objective
def test_what_is_watched_is_finite_and_told_on_the_card(objective: str) -> None:
    result = run(objective)
    history = result.history
    assert list(history.columns) == columns_of(history.ln_k)
    assert all(torch.tensor(values).isfinite().all() for values in history.columns.values())
    assert min(history.effective_rank) > 1 and min(history.feature_std) > 0
    assert any("explained" in name for name in measured_at_end(history)) == (history.ln_k is None)
    vit = build_vit(ARCHITECTURE)
    for weights in (result.teacher, result.student):
        vit.load_state_dict(weights, strict=True)


@each_objective
def test_memory_is_saved_at_no_change(objective: str) -> None:
    plain, saved = (run(objective, checkpointing=flag, steps=1).history for flag in (False, True))
    torch.testing.assert_close(torch.tensor(plain.loss), torch.tensor(saved.loss))
    torch.testing.assert_close(torch.tensor(plain.gradient_norm), torch.tensor(saved.gradient_norm))


@pytest.mark.parametrize("objective", ["pixels", "filtered", "dense"])
def test_smooth_tiles_are_told_from_what_is_seen_of_them(objective: str) -> None:
    coarse = torch.randn(12, 2, 2, 2, generator=torch.Generator().manual_seed(3))
    images = torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear")
    tiles = MemoryTiles(images, torch.zeros(12, 32, 32, dtype=torch.uint8))
    explained = run(objective, tiles=tiles, steps=60, batch=12).history.explained
    assert explained[-1] > max(0.02, explained[0])


@each_objective
def test_it_runs_on_a_gpu(objective: str) -> None:
    with fake_gpu() as gpu:
        options = Run(steps=1, batch=4, accumulate=2)
        chosen = recipe(objective)
        made = pretrain(made_tiles(), IDS, NORMALISATION, ARCHITECTURE, chosen, options, Parallel(gpu))
        assert len(made.history.loss) == 1


def test_each_has_its_recipe_and_its_options() -> None:
    assert OBJECTIVES.keys() == READS.keys() == {each.objective for each in RECIPES.values()}
    assert "prototypes" not in recipe("filtered").to_dict() and "masked" not in recipe("dino").to_dict()
    with pytest.raises(SardinoError, match="'filtered' does not read prototypes"):
        find_recipe("filtered", prototypes=8)
    with pytest.raises(SardinoError, match="'dino' does not read masked"):
        find_recipe("small", masked=0.2)
    assert recipe("filtered").fitted(100, 10).momentum == 0.9


@pytest.mark.parametrize("objective", ["pixels", "filtered"])
def test_a_decoder_that_tells_the_mean_is_told(objective: str) -> None:
    learner = Learner(ARCHITECTURE, recipe(objective), CPU, seed=0)
    torch.nn.init.zeros_(learner.student.tell.weight)
    torch.nn.init.zeros_(learner.student.tell.bias)
    views = learner.objective.views(NORMALISATION, Run(steps=1, batch=2).physics, lambda: made_tiles().inputs)
    given = views(made_tiles().inputs, views.draw(12, torch.Generator().manual_seed(0)))
    part = learner.objective.learn(learner.student, learner.teacher, given, None)
    torch.testing.assert_close(part.loss.detach(), part.means["blank"])
