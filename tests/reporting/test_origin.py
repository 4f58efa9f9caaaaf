"""Where numbers come from: a difference between runs, or an uncommitted change, cannot go unseen."""

import copy

import pytest

from sardino.errors import SardinoError
from sardino.reporting.pages import facts, runs

RECORD = {
    "name": "data",
    "seeds": [0, 1],
    "data": {"source": "a world", "fingerprint": "f" * 64, "labels": "Labels", "derived": False},
    "code": {"revision": "a" * 40, "dirty": False},
    "lock_sha256": "b" * 64,
    "hardware": {"cpu": "A processor", "cores": 2, "gpu": None, "memory_gb": 8.0, "platform": "Linux x86_64"},
    "python": "3.11.7",
    "torch": "2.0",
    "wall_s": 60.0,
    "peak_memory_mb": 2048.0,
    "finished": "2026-01-02T03:04:05+00:00",
}


def changed(**values):
    record = copy.deepcopy(RECORD)
    for key, value in values.items():
        record[key] = {**record[key], **value} if isinstance(value, dict) else value
    return record


def row(text, head):
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {head} |")]
    return line


def test_what_all_runs_share_is_said_once():
    text = facts([RECORD, changed(name="tables")])
    assert row(text, "Code revision") == f"| Code revision | `{'a' * 10}` |"
    assert row(text, "Seeds").endswith("| 0, 1 |") and "of 2 runs" not in text
    assert "| 2.0 GB |" in row(text, "Most memory of one run") and "None" not in text


def test_each_difference_is_counted_and_a_dirty_checkout_named():
    dirty = changed(name="tables", code={"revision": "c" * 40, "dirty": True}, data={"derived": True})
    text = facts([RECORD, RECORD, dirty])
    assert f"`{'a' * 10}` (2 of 3 runs); `{'c' * 10}` **with uncommitted changes** (1 of 3 runs)" in text
    assert "Labels (derived from an image, no product) (1 of 3 runs)" in row(text, "Reference labels")


def test_runs_side_by_side_take_less_than_the_sum():
    text = facts([RECORD, changed(name="tables", finished="2026-01-02T03:04:35+00:00", wall_s=80.0)])
    # From 03:03:05, when the first began, to 03:04:35.
    assert row(text, "First start to last end").endswith("| 2 min |")
    assert row(text, "Time of all runs, added").endswith("| 2 min |")
    assert row(facts([RECORD]), "First start to last end").endswith("| 60 s |")


def test_a_run_links_its_notebook_only_where_there_is_one():
    records = [RECORD, changed(name="tables", data={"fingerprint": None})]
    text = runs(records, {"data": "01_data_preparation", "tables": "06_tables"}, {"06_tables"})
    assert "[`06_tables`](06_tables.ipynb)" in row(text, "`tables`") and "| - |" in row(text, "`tables`")
    assert "(01_data" not in text and "2026-01-02 03:04" in row(text, "`data`")


def test_no_record_is_refused():
    with pytest.raises(SardinoError, match="run `sardino reproduce`"):
        facts([])
