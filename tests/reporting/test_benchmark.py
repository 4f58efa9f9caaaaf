"""Benchmark rows: what is written is read, carries its machine and commit, and reaches the page of benchmarks."""

import json
from pathlib import Path

import pytest
from readme import rendered
from row import FIRST, Row, answer, read_benchmark, write_benchmark

from sardino.errors import SardinoError

ROOT = Path(__file__).parents[2]
ROWS = [
    Row("Store, 448 px", 3000.0, "tiles/s", "GeoTIFF", 100.0, 30.0, 5.0),
    Row("Store", 3000.0, "tiles/s", "memory map", 4000.0, 0.75, 0.8, "limit"),
    Row("Alone", 12.5, "tiles/s"),
    Row("Again", 16.5, "s", bar=15, kind="most"),
    Row("Gain", 5.25, "points", bar=4, kind="least"),
]
SHOWN = """| Store, 448 px | 3000 tiles/s | GeoTIFF | 100 tiles/s | 30.00 × | 5 × |
| Store | 3000 tiles/s | limit: memory map | 4000 tiles/s | 75 % | 80 %, missed |
| Alone | 12.5 tiles/s | - | - | - | - |
| Again | 16.5 s | - | - | - | at most 15 s, missed |
| Gain | 5.25 points | - | - | - | at least 4 points |"""


def test_rows_come_back_with_their_evidence(tmp_path: Path) -> None:
    write_benchmark(ROWS, tmp_path / "store.json")
    rows = read_benchmark(tmp_path / "store.json")
    assert [Row(**{name: row[name] for name in vars(ROWS[0])}) for row in rows] == ROWS
    for row in rows:
        assert row["hardware"]["cores"] >= 1 and row["revision"] and row["date"].count("-") == 2


def test_a_page_shows_what_one_asks_first_and_every_benchmark_of_the_results(tmp_path: Path) -> None:
    kinds = ("first_benchmarks", "benchmarks")
    first, every = (f"<!-- sardino:{kind} -->\nold\n<!-- /sardino:{kind} -->" for kind in kinds)
    assert rendered(f"{first}\n{every}", tmp_path).count("_Not run yet._") == 2
    write_benchmark(ROWS, tmp_path / "results" / "benchmarks" / "store.json")
    write_benchmark(ROWS[2:], tmp_path / "results" / "benchmarks" / "world.json")
    shown = rendered(every, tmp_path)
    assert SHOWN in shown and "benchmarks/store.py" in shown and "benchmarks/world.py" in shown and "old" not in shown
    *_, only, _ = rendered(first, tmp_path).splitlines()
    assert only == SHOWN.splitlines()[0].replace("| Store", "| **Reading tiles to train on**: Store")


def test_a_row_without_a_kind_as_older_ones_are_stands_beside_a_peer(tmp_path: Path) -> None:
    path = tmp_path / "store.json"
    write_benchmark(ROWS[:1], path)
    (row,) = json.loads(path.read_text())
    assert row.pop("kind") == "peer"
    path.write_text(json.dumps([row]))
    assert read_benchmark(path) == [{**row, "kind": "peer"}]


def test_every_question_that_one_asks_first_has_its_published_row() -> None:
    """Of a benchmark that was published since rows have a kind; an older one may have had other rows."""
    assert len(FIRST) == 10
    for question, (name, *_) in FIRST.items():
        path = ROOT / "results/benchmarks" / f"{name}.json"
        old = '"kind"' not in path.read_text(encoding="utf-8")
        assert old or answer(question, read_benchmark(path)), question


@pytest.mark.parametrize("content", ["", "{}", "[1]", json.dumps([{"name": "x"}])])
def test_a_file_that_is_no_benchmark_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "store.json").write_text(content)
    with pytest.raises(SardinoError, match=r"store\.json cannot be read"):
        read_benchmark(tmp_path / "store.json")
