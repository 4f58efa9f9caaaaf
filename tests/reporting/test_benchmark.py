"""Benchmark rows: what is written is read, carries its machine and commit, and reaches the README."""

import json
from pathlib import Path

import pytest
from readme import rendered
from row import Row, read_benchmark, write_benchmark

from sardino.errors import SardinoError

ROWS = [
    Row("Store", 3000.0, "tiles/s", "memory map", 4000.0, 0.75, 0.4),
    Row("Alone", 12.5, "tiles/s"),
]


def test_rows_come_back_with_their_evidence(tmp_path: Path) -> None:
    write_benchmark(ROWS, tmp_path / "store.json")
    rows = read_benchmark(tmp_path / "store.json")
    assert [row["name"] for row in rows] == ["Store", "Alone"]
    assert rows[0]["ratio"] == 0.75 and rows[0]["bar"] == 0.4 and rows[1]["peer_value"] is None
    for row in rows:
        assert row["hardware"]["cores"] >= 1 and row["revision"] and row["date"].count("-") == 2


def test_the_readme_shows_every_benchmark_of_the_results(tmp_path: Path) -> None:
    text = "# x\n<!-- sardino:benchmarks -->\nold\n<!-- /sardino:benchmarks -->\n"
    assert "_Not run yet._" in rendered(text, tmp_path)
    write_benchmark(ROWS, tmp_path / "results" / "benchmarks" / "store.json")
    shown = rendered(text, tmp_path)
    assert "| Store | 3000 tiles/s | memory map | 4000 tiles/s | 0.75 | 0.4 |" in shown and "old" not in shown
    assert "| Alone | 12.5 tiles/s | - | - | - | - |" in shown and "benchmarks/store.py" in shown


@pytest.mark.parametrize("content", ["", "{}", "[1]", json.dumps([{"name": "x"}])])
def test_a_file_that_is_no_benchmark_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "store.json").write_text(content)
    with pytest.raises(SardinoError, match=r"store\.json cannot be read"):
        read_benchmark(tmp_path / "store.json")
