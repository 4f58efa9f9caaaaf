"""The run at the paper's size, made minute: it needs no tile store, fills every cell and tells its time."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
BLOCKED = ("zarr", "geopandas", "rasterio", "rioxarray", "pydantic", "papermill", "pyarrow")
"""What the machine with the GPU lacks."""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of one run in a Python that cannot import the tile store's libraries."""
    folder = tmp_path_factory.mktemp("paper_size")
    site = folder / "site"
    site.mkdir()
    # Read at the start of every Python below, worker processes included.
    (site / "sitecustomize.py").write_text(f"import sys\nfor name in {BLOCKED!r}:\n    sys.modules[name] = None\n")
    size = ["--preset", "cpu-test", "--minutes", "5", "--fractions", "50", "--workers", "2"]
    done = subprocess.run(
        [sys.executable, "benchmarks/paper_size.py", *size, "--out", str(folder / "out")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "out"


@pytest.fixture(scope="module")
def result(out: Path) -> dict[str, Any]:
    return json.loads((out / "paper_size.json").read_text(encoding="utf-8"))


def numbers(value: Any) -> Iterator[float]:
    """Every number inside a JSON value."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from numbers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def test_every_stage_is_done_and_timed(result: dict[str, Any]) -> None:
    assert {name: s["status"] for name, s in result["stages"].items()} == dict.fromkeys(
        ("data", "probes", "pretrain-europe", "pretrain-all", "pretrain-europe-paper", "cells", "contrasts"), "done"
    )
    assert 0 < sum(s["seconds"] for s in result["stages"].values()) <= result["wall_s"]
    assert all(math.isfinite(number) for number in numbers(result))


def test_all_rows_of_both_tables_are_there(result: dict[str, Any]) -> None:
    rows = {(c["table"], c["regions"], c["encoding"], c["initialisation"]) for c in result["cells"]}
    inits = ("scratch", "frozen", "unfrozen")
    table1 = {(1, arm, enc, i) for arm in ("europe", "all") for enc in ("attention", "tokens") for i in inits}
    table2 = {(2, "europe", "unet_attention", i) for i in inits} | {(2, "europe", "unet", "scratch")}
    assert rows == table1 | table2 and len(result["cells"]) == 16 and result["skipped"] == []
    for cell in result["cells"]:
        assert cell["steps"] == result["stages"]["cells"]["steps"] and cell["labelled_tiles"] == 6
        assert 0 <= cell["low"] <= cell["high"] <= 1 and len(cell["class_iou"]) == 11
    assert len({cell["miou_majority"] for cell in result["cells"]}) == 1


def test_training_lowers_the_loss(result: dict[str, Any]) -> None:
    fell = [cell["loss_last"] < cell["loss_first"] for cell in result["cells"]]
    assert sum(fell) > 0.8 * len(fell)


def test_pretraining_starts_from_what_it_claims_and_scratch_does_not(result: dict[str, Any]) -> None:
    """A pre-trained start differs from a random one; the U-Net, which has none, is alone."""
    for arm in ("europe", "all"):
        cells = {c["initialisation"]: c for c in result["cells"] if (c["regions"], c["encoding"]) == (arm, "tokens")}
        assert cells["scratch"]["loss_first"] != cells["unfrozen"]["loss_first"]
        assert cells["frozen"]["parameters"] == cells["unfrozen"]["parameters"]
    assert len(result["contrasts"]) == 2 * 5 + 3


def test_pretraining_is_recorded_with_its_speed(result: dict[str, Any], out: Path) -> None:
    runs = result["pretraining"]
    assert [run["steps"] for run in runs.values()] == [8, 8, 8]
    assert [run["tiles"] for run in runs.values()] == [12, 18, 12]  # training tiles of Europe, of all, of Europe
    assert runs["pretrain-europe-paper"]["recipe"]["student_temperature"] == 0.03
    for run in runs.values():
        assert len(run["curves"]["loss"]) == len(run["curves"]["step"]) <= 60
        assert run["tflops"] == pytest.approx(run["tiles_per_s"] * run["flops_per_tile"] / 1e12)
    assert runs["pretrain-all"]["flops_per_tile"] > runs["pretrain-europe"]["flops_per_tile"] > 0
    rows = json.loads((out / "paper_size_rows.json").read_text(encoding="utf-8"))
    keys = {"name", "value", "unit", "peer", "peer_value", "ratio", "bar", "hardware", "revision", "date"}
    assert rows and all(set(row) == keys for row in rows)
    assert any(row["ratio"] and row["unit"] == "TFLOP/s" for row in rows)


def test_the_table_says_what_it_is(result: dict[str, Any], out: Path) -> None:
    text = (out / "paper_size.md").read_text(encoding="utf-8")
    assert text.startswith("# Paper-size run: synthetic world, one seed, 30 tiles, 8 + 8 + 8 pre-training steps, 10 ")
    assert result["synthetic"] is True and str(out.parent) not in text + json.dumps(result)
    assert sorted(path.name for path in out.iterdir()) == [
        "paper_size.json",
        "paper_size.md",
        "paper_size_rows.json",
    ]
