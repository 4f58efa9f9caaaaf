"""What trainings took: published records beside operations that are counted, and whose records a notebook shows."""

import shutil
from pathlib import Path

import pytest

from sardino.reporting.record import read_records
from sardino.reporting.tables.cells import read_cells
from sardino.reporting.tables.paper import CellKey
from sardino.study.costs import costs, shown_study
from sardino.study.forecast import CORE, forecast, one_training
from sardino.study.profile import Profile
from sardino.study.workspace import Workspace

LAPTOP = Path(__file__).parents[2] / "results" / "laptop" / "runs"


def test_each_published_cell_has_its_minutes_and_its_operations() -> None:
    space = Workspace.open("laptop")
    folder = space.results / "runs"
    records = read_records(folder)
    cells = read_cells(records, folder)
    trained, pretrained = costs(space.profile, cells, records)
    assert set(trained) == set(cells.arms)
    assert set(pretrained) == {key for key in cells.arms if key.initialisation != "scratch"}
    assert all(work.tflop > 0 and work.minutes > 0 for work in [*trained.values(), *pretrained.values()])
    of_run = {record["name"]: record["wall_s"] / 60 for record in records}
    europe = pretrained[CellKey(1, "europe", "tokens", "frozen", 1.0)]
    assert 0.5 * of_run["pretrain-europe"] < europe.minutes <= of_run["pretrain-europe"]
    row = [work.minutes for key, work in trained.items() if key.run == "baseline-unet-scratch"]
    assert 0.5 * of_run["baseline-unet-scratch"] < sum(row) <= of_run["baseline-unet-scratch"]


def test_one_training_is_what_a_row_repeats() -> None:
    profile = Profile.load("study")
    plain = profile.changed(finetuning=profile.finetuning.changed(lr_grid=[]))
    run = "baseline-unet-scratch"
    whole = {row.name: row.tflop for row in forecast(plain, CORE)}[run]
    each = {fraction: one_training(profile, fraction)[run] for fraction in profile.fractions}
    assert sum(each[fraction] * len(profile.repetitions(fraction)) for fraction in each) == pytest.approx(whole)


def test_the_study_is_shown_where_it_is_published_and_else_what_was_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path)
    found = []
    for place in ("build/smoke/runs", "results/laptop/runs", "results/study/runs"):
        (tmp_path / place).mkdir(parents=True)
        assert shown_study("smoke")[0].profile.name == (found[-1][0] if found else "smoke"), "a folder alone is nothing"
        shutil.copy(LAPTOP / "baseline-unet-scratch.json", tmp_path / place)
        space, records, folder = shown_study("smoke")
        found.append((space.profile.name, folder.relative_to(tmp_path).as_posix()))
        assert len(records) == 1
    assert found == [("smoke", "build/smoke/runs"), ("laptop", "results/laptop/runs"), ("study", "results/study/runs")]
