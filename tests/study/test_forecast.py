"""Forecasts count what the real networks do, for every run of the plan, and follow its sizes."""

import csv
import io
import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from sardino.cli.app import app
from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.radiometry import CHANNELS
from sardino.dino.parallel import Parallel
from sardino.dino.recipe import Physics, Rates, find_recipe
from sardino.dino.runtime import precision_on
from sardino.dino.step import OBJECTIVES, Learner
from sardino.dino.vit import Architecture, build_vit
from sardino.errors import SardinoError
from sardino.reporting.record import write_record
from sardino.segmentation.segmenter import build_segmenter
from sardino.study.forecast import (
    DEVICES,
    Work,
    as_csv,
    compare,
    find_device,
    forecast,
    pretraining_tile,
    supervised_tile,
    together_h,
)
from sardino.study.plan import plan
from sardino.study.profile import Profile
from sardino.study.workspace import Workspace

SHAPE = Architecture(24, 2, 3, 8, 12, 32)
DEVICE = find_device("cpu-1")


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_pretraining_counts_what_a_real_step_does(objective):
    named = find_recipe("small" if objective == "dino" else objective)
    sizes = {"hidden": 16, "bottleneck": 8, "prototypes": 32, "masked": 0.5}
    recipe = named.changed(**{name: size for name, size in sizes.items() if name not in named.unread})
    learner = Learner(SHAPE, recipe, Parallel(torch.device("cpu")), seed=0)
    normalisation = Normalisation(tuple(CHANNELS), (0.0,) * 12, (1.0,) * 12)
    tiles = torch.randn(3, 12, 32, 32)
    views = learner.objective.views(normalisation, Physics(), lambda: tiles)
    given = views(tiles, views.draw(3, torch.Generator().manual_seed(0)))
    with FlopCounterMode(display=False) as counter:
        learner.step([given], 1, Rates.at(0, 10, 5, 3, recipe))
    tile = pretraining_tile(SHAPE, recipe)
    assert 3 * tile.operations == pytest.approx(counter.get_total_flops(), rel=0.01)
    assert tile.parameters == sum(p.numel() for p in learner.student.parameters()) == tile.trained


@pytest.mark.parametrize("encoding", ["attention", "tokens", "unet", "unet_attention"])
@pytest.mark.parametrize("frozen", [True, False])
def test_a_cell_counts_what_a_real_step_does(encoding, frozen):
    sizes = {"unet_width": 4, "unet_depth": 2, "decoder_width": 16}
    vit = None if encoding == "unet" else build_vit(SHAPE)
    model = build_segmenter(encoding, vit, channels=12, classes=11, frozen=frozen, **sizes)
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(2, 12, 32, 32)).sum().backward()
    tile = supervised_tile(encoding, frozen, SHAPE, 11, **sizes)
    assert 2 * tile.step.operations == counter.get_total_flops()
    assert tile.step.parameters == sum(p.numel() for p in model.parameters())
    assert tile.decode.matrix <= tile.step.matrix and tile.forward.convolution <= tile.step.convolution
    assert tile.step.kept > 0


@pytest.mark.parametrize("name", ["smoke", "real"])
def test_every_run_of_the_plan_has_a_row_in_order(name):
    profile = Profile.load(name)
    rows = forecast(profile, DEVICE)
    assert [row.name for row in rows] == [run.name for run in plan(profile)]
    assert all(row.hours > 0 and row.memory_gb > 0 and row.disk_gb > 0 for row in rows)
    trainings = [row for row in rows if row.name.startswith(("pretrain", "finetune", "baseline"))]
    assert all(row.tflop > 0 and row.arm and row.seeds for row in trainings)


def test_the_paper_is_forecast_without_building_it():
    """A frozen backbone costs less, the larger network more, and the store is what fills the disk."""
    rows = {row.name: row for row in forecast(Profile.load("paper"), find_device("h100"))}
    for arm in ("europe", "all"):
        for encoding in ("attention", "tokens"):
            frozen, trained = (rows[f"finetune-{arm}-{encoding}-{how}"].tflop for how in ("frozen", "unfrozen"))
            assert frozen < trained
    assert rows["pretrain-all"].hours > 10 * rows["pretrain-europe"].hours
    assert rows["data"].disk_gb > 1000 > sum(row.disk_gb for row in rows.values()) - rows["data"].disk_gb


def test_work_grows_with_seeds_and_steps():
    profile = Profile.load("smoke")
    tuning = profile.finetuning.model_copy(update={"lr_grid": []})
    searched, profile = profile, profile.model_copy(update={"finetuning": tuning})
    twice = profile.model_copy(update={"seeds": [0, 1]})
    arms = {name: arm.model_copy(update={"steps": 2 * arm.steps}) for name, arm in profile.pretraining.items()}
    longer = profile.model_copy(update={"pretraining": arms})
    one, two, long = ({row.name: row.tflop for row in forecast(asked, DEVICE)} for asked in (profile, twice, longer))
    assert two["baseline-unet-scratch"] == pytest.approx(2 * one["baseline-unet-scratch"])
    assert long["pretrain-all"] == pytest.approx(2 * one["pretrain-all"])
    search = {row.name: row.tflop for row in forecast(searched, DEVICE)}
    rows = {name for name in one if name.startswith(("finetune", "baseline"))}
    assert {name for name in rows if search[name] > one[name]} == {name for name in rows if "self-trained" not in name}


def test_a_frozen_arm_costs_less_and_takes_disk_where_its_features_are_kept():
    profile = Profile.load("smoke")
    none = profile.finetuning.model_copy(update={"feature_cache_gb": 0.0})
    rows, without = (
        {row.name: row for row in forecast(asked, DEVICE)}
        for asked in (profile, profile.model_copy(update={"finetuning": none}))
    )
    for name, row in rows.items():
        if name.endswith("-frozen"):
            assert row.tflop < without[name].tflop and row.disk_gb > without[name].disk_gb
        else:
            assert row == without[name]


def test_a_device_is_known_by_name_and_an_unknown_one_is_refused():
    assert all(device.source and device.seconds(Work(1e12, 1e12)) > 0 for device in DEVICES)
    with pytest.raises(SardinoError, match="no device is named 'abacus': there are here, cpu-1"):
        find_device("abacus")


def test_runs_side_by_side_wait_for_what_they_need():
    rows = forecast(Profile.load("smoke"), find_device("cpu-8"))
    assert rows == forecast(Profile.load("smoke"), DEVICE), "a run alone is no faster on more cores"
    alone, chain = {row.name: row.hours for row in rows}, dict.fromkeys([""], 0.0)
    for row in rows:
        chain[row.name] = row.hours + max(chain[name] for name in row.needs.split(" "))
    assert together_h(rows, 1) == pytest.approx(sum(alone.values()))
    assert max(chain.values()) <= together_h(rows, 8) < together_h(rows, 2) < sum(alone.values())
    assert together_h(rows, len(rows)) == pytest.approx(max(chain.values()))


def test_this_machine_is_measured():
    threads = torch.get_num_threads()
    here = find_device("here")
    assert here.matrix_gflops > 0 and here.convolution_gflops > 0 and torch.get_num_threads() == threads
    assert f"measured now in {precision_on(torch.device('cpu'))}" in here.source


def test_the_table_is_printed_and_written(tmp_path):
    out = tmp_path / "grid.csv"
    done = CliRunner().invoke(app, ["plan", "--profile", "smoke", "--device", "cpu-1", "--csv", str(out)])
    assert done.exit_code == 0, done.output
    row = next(line for line in done.stdout.splitlines() if line.startswith("finetune-all-tokens-frozen"))
    assert "03_finetuning" in row and "data pretrain-all" in row and "0.1 1 10" in row
    written = list(csv.DictReader(io.StringIO(out.read_text())))
    assert [line["name"] for line in written] == [run.name for run in plan(Profile.load("smoke"))]
    rows = forecast(Profile.load("smoke"), DEVICE)
    assert written == list(csv.DictReader(io.StringIO(as_csv(rows))))


def test_predictions_stand_beside_what_runs_took(project, monkeypatch, tmp_path):
    """Times are printed, and written where one asks for it: published files do not change with them."""
    monkeypatch.chdir(project.root)
    asked = ["plan", "smoke", "--device", "cpu-1", "--compare"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 2 and "has no record to compare with" in done.stderr
    space = Workspace.open("smoke", root=project.root)
    write_record(
        space.results / "runs/data.json", kind="data", profile="smoke", parameters={}, seeds=[0], data={}, results={},
        started=0.0,
    )  # fmt: skip
    out = tmp_path / "compared.csv"
    done = CliRunner().invoke(app, [*asked, "--csv", str(out)])
    assert done.exit_code == 0, done.output
    (line,) = csv.DictReader(io.StringIO(out.read_text()))
    took = json.loads((space.results / "runs/data.json").read_text())["wall_s"]
    assert line["name"] == "data" and float(line["took_s"]) == pytest.approx(took, rel=1e-3)
    (found,) = compare(space, forecast(space.profile, DEVICE)).itertuples()
    assert found.ratio == pytest.approx(found.took_s / found.predicted_s)
    assert [path.name for path in space.results.iterdir()] == ["runs"]
