"""Every benchmark runs from its one command and writes rows that the README can show; no figure is judged here."""

import subprocess
import sys
from pathlib import Path

import pytest
from row import read_benchmark

from sardino.study.profile import FOLDER

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("name", "options", "rows"),
    [
        ("world", ["--tiles", "1"], 3),
        ("store", ["--tiles", "2", "--rounds", "1"], 6),
        ("ingest", ["--quick"], 4),
        ("crops", ["--px", "64", "--batch", "2", "--rounds", "1"], 9),
        ("metrics", ["--px", "64", "--rounds", "1"], 3),
        ("finetuning", ["--small", "--tiles", "8", "--rounds", "1"], (9, 16)),  # steps where the CPU has bfloat16
        ("attention", ["--px", "448", "--rounds", "1"], (2, 3)),
        ("scenes", ["--small", "--threads", "1"], 16),
        ("pretraining", ["--quick", "--rounds", "1"], (3, 6)),  # both precisions where the CPU has bfloat16
    ],
)
def test_a_benchmark_writes_its_rows(
    name: str, options: list[str], rows: int | tuple[int, ...], tmp_path: Path
) -> None:
    out = tmp_path / f"{name}.json"
    command = [sys.executable, f"benchmarks/{name}.py", *options, "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    written = read_benchmark(out)
    assert len(written) in (rows if isinstance(rows, tuple) else (rows,)) and all(row["value"] > 0 for row in written)
    assert all((row["ratio"] is None) == (row["peer_value"] is None) for row in written)
    assert "| What | Here |" in done.stdout


def test_learning_is_measured_and_drawn(tmp_path: Path) -> None:
    sizes = ["--profile", "smoke", "--seeds", "2", "--steps", "2", "--every", "2", "--threads", "1"]
    places = ["--build", str(tmp_path), "--out", str(tmp_path / "learning.json"), "--figures", str(tmp_path)]
    command = [sys.executable, "benchmarks/learning.py", *sizes, *places]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    written = read_benchmark(tmp_path / "learning.json")
    assert len(written) == 13 and [row["bar"] for row in written].count(1.0) == 2  # one bar a seed
    assert all((tmp_path / f"learning.{suffix}").is_file() for suffix in ("csv", "png", "pdf"))


def test_the_papers_sizes_are_measured_on_a_minute_profile(tmp_path: Path) -> None:
    """Two pre-trainings with a map each, ten rows of tables, a map of each of their four kinds of network."""
    text = (FOLDER / "smoke.toml").read_text(encoding="utf-8")
    for old, new in (
        ("bands = 10", "bands = 5"),
        ("europe = [10, 6], conus = [5, 4], china = [5, 4]", "europe = [5, 3], conus = [5, 1], china = [5, 1]"),
        ('title = "Europe, CONUS, China"', 'title = "All"\nfinetune = false'),
        ("steps = 20\nbatch = 4", "steps = 2\nbatch = 2"),
    ):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "minute.toml").write_text(text, encoding="utf-8")
    out = tmp_path / "paper_size.json"
    options = ["--device", "cpu", "--batch", "4", "--profile", str(tmp_path / "minute.toml"), "--out", str(out)]
    command = [sys.executable, "benchmarks/paper_size.py", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    written = read_benchmark(out)
    units = [row["unit"] for row in written]
    assert "left out" not in done.stdout and all(row["value"] > 0 for row in written)
    assert [units.count(unit) for unit in ("tiles/s", "s/step", "TFLOP/s", "GiB", "s", "Mpx/s")] == [3, 2, 2, 2, 10, 6]
    assert units.count("windows/s") in (6, 12)  # beside float32, and bfloat16 where the CPU has it
