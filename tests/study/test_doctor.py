"""The doctor states facts, and names each problem with its remedy."""

import dataclasses
import re
from pathlib import Path

import psutil
import pytest

from sardino.study.doctor import Machine, examine, problems, report


@pytest.fixture(scope="module")
def here() -> Machine:
    """This machine."""
    return examine(Path(__file__).parents[2])


@pytest.fixture()
def sound(here: Machine) -> Machine:
    """This machine with room to spare, whatever it really has."""
    return dataclasses.replace(
        here, drift={}, broken={}, memory_gib=16.0, disk_free_gib=50.0, read_only=[], cores=4, threads=4
    )


def test_report_describes_this_machine(here: Machine) -> None:
    rows = dict(report(here))
    assert len(rows) == len(report(here))
    assert all(value for value in rows.values())
    assert here.cores >= 1
    assert 0 < here.memory_free_gib <= here.memory_gib <= psutil.virtual_memory().total / 2**30
    assert rows["torch"] == here.packages["torch"]
    assert "match" in rows["torch and torchvision"]


def test_installed_environment_is_the_locked_one(here: Machine) -> None:
    assert here.drift == {}
    assert here.broken == {}
    assert None not in here.packages.values()


def test_a_sound_machine_has_no_problem(sound: Machine) -> None:
    assert problems(sound) == []


def test_what_is_optional_is_no_problem(sound: Machine) -> None:
    bare = dataclasses.replace(
        sound, accelerator=None, revision=None, checkout=False, home=None, absent=["earthengine", "tensorboard"]
    )
    assert problems(bare) == []
    rows = dict(report(bare))
    assert rows["accelerator"].startswith("none (fine") and rows["git revision"].startswith("none (fine")
    assert "temporary folder" in rows["home"] and "pip install '.[earthengine]'" in rows["extras"]
    assert "safe.directory" in dict(report(dataclasses.replace(bare, checkout=True)))["git revision"]


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({"python": (3, 10, 4)}, "install 3.11"),
        ({"memory_gib": 3.5}, "PROFILE=smoke"),
        ({"disk_free_gib": 0.2}, "SARDINO_BUILD"),
        ({"read_only": [Path("a [1]")]}, r"a \[1\] is read-only.*copy.*SARDINO_BUILD"),
        ({"threads": 64}, "OMP_NUM_THREADS=4"),
        ({"drift": {"numpy": ("1.26.0", "2.4.6")}}, r"numpy 1\.26\.0 \(lock: 2\.4\.6\).*remove \.venv"),
        ({"broken": {"rasterio": "libexpat.so.1: cannot open"}}, r"rasterio.*libexpat.*remove \.venv"),
        ({"torch_needed": "==1.0.0"}, r"torchvision asks for torch==1\.0\.0.*remove \.venv"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_each_problem_is_one_sentence_with_its_remedy(sound: Machine, change: dict, remedy: str) -> None:
    (sentence,) = problems(dataclasses.replace(sound, **change))
    assert sentence.endswith(".")
    assert re.search(remedy, sentence), sentence


def test_a_missing_package_is_named(sound: Machine) -> None:
    packages = {**sound.packages, "zarr": None}
    (sentence,) = problems(dataclasses.replace(sound, packages=packages))
    assert "zarr" in sentence
    assert dict(report(dataclasses.replace(sound, packages=packages)))["zarr"] == "not installed"


def test_build_counts_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SARDINO_BUILD", str(tmp_path / "b [1] c" / "later"))
    monkeypatch.setattr("sardino.study.doctor.os.access", lambda path, mode: False)
    machine = examine(Path(__file__).parents[2])
    assert machine.read_only == [machine.root, tmp_path]


def test_outside_a_checkout_it_still_reports(tmp_path: Path) -> None:
    machine = examine(tmp_path)
    assert machine.revision is None
    assert machine.drift == {}
    assert any("not the sardino project" in sentence for sentence in problems(machine))
