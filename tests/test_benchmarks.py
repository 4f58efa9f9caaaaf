"""Every benchmark runs from its one command and writes rows that its page can show; no figure is judged here."""

import importlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gate
import paper_size
import pytest
import torch
from row import FIRST, Row, read_benchmark

from sardino.reporting.record import TRAININGS
from sardino.study.plan import Run, plan
from sardino.study.profile import FOLDER
from sardino.study.workspace import Workspace

ROOT = Path(__file__).parents[1]
# As the command has it, whose warnings stop nothing; many are of the peers.
pytestmark = pytest.mark.filterwarnings("default")
Measure = Callable[..., tuple[list[dict[str, Any]], str]]


@pytest.fixture
def measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Measure:
    """Runs a benchmark's command in this process; its rows, and what it printed."""

    def measure(name: str, *options: str) -> tuple[list[dict[str, Any]], str]:
        out = tmp_path / f"{name}.json"
        monkeypatch.setattr(sys, "argv", [f"benchmarks/{name}.py", *options, "--out", str(out)])
        monkeypatch.chdir(ROOT)
        assert not importlib.import_module(name).main()
        return read_benchmark(out), capsys.readouterr().out

    return measure


def test_a_benchmark_is_one_command(tmp_path: Path) -> None:
    out = tmp_path / "metrics.json"
    command = [sys.executable, "benchmarks/metrics.py", "--px", "64", "--rounds", "1", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(read_benchmark(out)) == 4 and "| What | Here |" in done.stdout
    for path in (ROOT / "benchmarks").glob("*.py"):
        assert path.name == "row.py" or 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "options", "rows"),
    [
        ("world", ["--px", "64", "--tiles", "1"], 3),
        ("store", ["--tiles", "2", "--rounds", "1"], 6),
        ("reading", ["--px", "64", "--rounds", "1"], 9),
        ("ingest", ["--quick"], 4),
        ("crops", ["--px", "64", "--batch", "2", "--rounds", "1"], 9),
        ("metrics", ["--px", "64", "--rounds", "1"], 4),
        ("finetuning", ["--small", "--tiles", "8", "--rounds", "1"], (9, 19)),  # steps where the CPU has bfloat16
        ("attention", ["--px", "448", "--rounds", "1"], (3, 5)),
        ("scenes", ["--small", "--threads", "1"], (12, 22)),
        ("seams", ["--small", "--threads", "1"], 11),
        ("pretraining", ["--quick", "--rounds", "1"], (3, 8)),  # both precisions where the CPU has bfloat16
    ],
)
def test_a_benchmark_writes_its_rows(
    name: str, options: list[str], rows: int | tuple[int, ...], measure: Measure
) -> None:
    written, printed = measure(name, *options)
    assert len(written) in (rows if isinstance(rows, tuple) else (rows,)) and all(row["value"] > 0 for row in written)
    assert all((row["ratio"] is None) == (row["peer_value"] is None) for row in written)
    assert "| What | Here |" in printed
    if isinstance(rows, tuple) and len(written) == min(rows):
        return  # without bfloat16 a row that one asks for first may be missing
    for benchmark, *words in FIRST.values():  # but for the sizes, which are smaller here
        asked = [word for word in words if not re.search(r"\d", word)]
        assert benchmark != name or any(all(word in row["name"] for word in asked) for row in written)


def test_learning_is_measured_and_drawn(tmp_path: Path, measure: Measure) -> None:
    sizes = ["--profile", "smoke", "--seeds", "2", "--steps", "2", "--every", "2", "--threads", "1"]
    written, _ = measure("learning", *sizes, "--build", str(tmp_path), "--figures", str(tmp_path))
    assert len(written) == 12 and [row["kind"] for row in written].count("least") == 2  # one bar a seed
    assert all((tmp_path / f"learning.{suffix}").is_file() for suffix in ("csv", "png", "pdf"))


def test_the_gate_judges_a_candidate_once(tmp_path: Path, measure: Measure) -> None:
    options = ["--profile", "smoke", "--steps", "2", "--draws", "2", "--build", str(tmp_path), "--only"]
    written, told = measure("gate", *options, "dino, texture")
    weights = (tmp_path / "dino-texture" / "teacher.safetensors").stat().st_mtime_ns
    assert len(written) % 2 == 0 and all("dino, texture, 2 steps" in row["name"] for row in written)
    assert ("dino, texture: passes" in told) != ("dino, texture: does not pass" in told)
    again, _ = measure("gate", *options, "random")
    assert (tmp_path / "dino-texture" / "teacher.safetensors").stat().st_mtime_ns == weights
    names = {row["name"]: row["value"] for row in again}
    assert len(again) == 2 * len(written) and all(names[row["name"]] == row["value"] for row in written)


def test_a_candidate_passes_that_beats_the_line_or_adds_to_it_with_few_labels() -> None:
    def cell(low: float, beside: float) -> dict[str, Any]:
        return {"line": [40.0, 44.0], "beside": [beside, beside], "alone_gain": [low, 9.0]}

    many = cell(-9.0, 30.0)
    assert gate.passes({"cells": [cell(0.1, 40.0), cell(0.1, 40.0), many]})
    assert gate.passes({"cells": [cell(-1.0, 44.0), cell(-1.0, 44.0), many]})
    assert not gate.passes({"cells": [cell(0.1, 43.9), cell(-0.1, 44.0), many]})


def test_the_papers_sizes_are_measured_on_a_minute_profile(tmp_path: Path, measure: Measure) -> None:
    """Three pre-trainings with a map each, fourteen rows of tables, a map of each of their five kinds of network."""
    text = (FOLDER / "smoke.toml").read_text(encoding="utf-8")
    for old, new in (
        ("bands = 15", "bands = 5"),
        ("europe = [16, 10], conus = [5, 4], china = [5, 4]", "europe = [5, 3], conus = [5, 1], china = [5, 1]"),
        ('title = "Europe, CONUS, China"', 'title = "All"\nfinetune = false'),
        ("steps = 20\nbatch = 4", "steps = 2\nbatch = 2"),
    ):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "minute.toml").write_text(text, encoding="utf-8")
    profile = str(tmp_path / "minute.toml")
    written, printed = measure("paper_size", "--device", "cpu", "--batch", "4", "--profile", profile)
    units = [row["unit"] for row in written]
    assert "left out" not in printed and all(row["value"] > 0 for row in written)
    assert [units.count(unit) for unit in ("tiles/s", "s/step", "TFLOP/s", "GiB", "s", "Mpx/s")] == [4, 3, 3, 3, 14, 8]
    assert units.count("windows/s") in (8, 16)  # beside float32, and bfloat16 where the CPU has it


def test_a_stage_that_is_not_expected_to_end_in_time_is_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forecast hour takes 100 s of a pre-training and 10 s of a cell here, and the second pre-training has five."""
    clock = [0.0]

    class Stages(paper_size.Stages):
        def data(self) -> Iterator[Row]:
            yield Row("data", 1.0, "tiles/s")

        def pretraining(self, run: Run) -> Iterator[Row]:
            clock[0] += 100
            yield Row(run.name, 1.0, "tiles/s")

        def cell(self, run: Run) -> Iterator[Row]:
            clock[0] += 10
            yield Row(run.name, 1.0, "s")

    space = Workspace.open("paper-size", root=ROOT)
    runs = plan(space.profile)
    trained = sum(run.kind in TRAININGS for run in runs)
    hours = [SimpleNamespace(name=run.name, hours=5.0 if run.name == "pretrain-all" else 1.0) for run in runs]
    monkeypatch.setattr(paper_size, "Stages", Stages)
    monkeypatch.setattr(paper_size, "forecast", lambda profile, device: hours)
    monkeypatch.setattr(paper_size.time, "monotonic", lambda: clock[0])
    paper_size.measure(space, torch.device("cpu"), 140.0, tmp_path / "out.json")
    *measured, left = read_benchmark(tmp_path / "out.json")
    assert [row["name"].partition(",")[0] for row in measured][:2] == ["data", "pretrain-europe"]
    assert clock[0] == 140 and len(measured) == 6  # a pre-training, four cells
    assert "pretrain-all (the time left is too short)" in left["name"] and left["value"] == trained - 5
