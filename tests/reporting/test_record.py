"""A record returns as written, carries its evidence, and takes no value that JSON would bend."""

import json
import math
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sardino.errors import SardinoError
from sardino.reporting.record import _plain, read_record, read_records, write_record


def write(path, **changes):
    content = {
        "kind": "finetune",
        "profile": "smoke",
        "parameters": {"regions": "europe"},
        "seeds": [0, 1],
        "data": {"fingerprint": "abc", "synthetic": True},
        "results": {"cells": [{"miou": 0.25, "class_iou": [0.5, None]}]},
        "started": time.time() - 3,
    }
    return write_record(path, **{**content, **changes})


def test_a_record_returns_as_written_with_its_evidence(tmp_path):
    path = tmp_path / "runs" / "finetune-europe.json"
    record = write(path)
    assert read_record(path) == record
    assert record["name"] == "finetune-europe"
    assert 3 <= record["wall_s"] < 60
    assert record["peak_memory_mb"] > 10
    assert set(record["code"]) == {"revision", "dirty"}
    assert record["hardware"]["cores"] >= 1 and record["torch"] != "unknown"
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_run_id_names_the_experiment_not_the_execution(tmp_path):
    first, again = write(tmp_path / "a.json"), write(tmp_path / "a.json", started=time.time() - 9)
    other = write(tmp_path / "a.json", seeds=[0])
    assert first["run_id"] == again["run_id"] != other["run_id"]


@pytest.mark.parametrize("value", [math.nan, math.inf, np.float32("nan"), np.array([1.0, -np.inf])])
def test_a_number_that_does_not_exist_is_refused_by_its_place(tmp_path, value):
    with pytest.raises(SardinoError, match=r"results\.cells\[0\]\.miou.*None"):
        write(tmp_path / "a.json", results={"cells": [{"miou": value}]})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x", 1j])
def test_an_unknown_type_is_refused_by_its_place(tmp_path, value):
    with pytest.raises(SardinoError, match=r"results\.x"):
        write(tmp_path / "a.json", results={"x": value})
    with pytest.raises(SardinoError, match="not a text"):
        write(tmp_path / "a.json", results={"x": {1: 2}})


def test_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(SardinoError, match="kind is one of"):
        write(tmp_path / "a.json", kind="finetuning")


def test_a_failed_write_leaves_the_record_before_it(tmp_path):
    path = tmp_path / "a.json"
    before = write(path)
    with pytest.raises(SardinoError):
        write(path, results={"x": math.nan})
    assert read_record(path) == before


def test_absolute_paths_of_parameters_do_not_reach_a_record(tmp_path):
    record = write(tmp_path / "a.json", parameters={"data": str(tmp_path / "chips"), "encoding": "tokens"})
    assert record["parameters"] == {"data": "chips", "encoding": "tokens"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "not a record"),
        ('{"format": "other"}', "not a record"),
        ('{"format": "sardino-run", "version": 99}', "version 99"),
        ('{"format": "sardino-run", "version": 1}', "lacks name"),
    ],
)
def test_a_foreign_or_damaged_file_is_refused(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(SardinoError, match=message):
        read_record(path)


def test_a_missing_record_names_the_remedy(tmp_path):
    with pytest.raises(SardinoError, match="run its notebook first"):
        read_record(tmp_path / "none.json")


def test_records_of_a_folder_come_by_name(tmp_path):
    for name in ("b", "a"):
        write(tmp_path / f"{name}.json")
    assert [record["name"] for record in read_records(tmp_path)] == ["a", "b"]
    assert read_records(tmp_path / "none") == []


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_plain_values_survive_json_unchanged(value):
    assert json.loads(json.dumps(_plain(value, "x"))) == value


def test_numpy_values_become_their_plain_equals():
    plain = _plain({"a": np.int64(3), "b": np.float32(0.5), "c": np.arange(3), "d": (np.bool_(True),)}, "")
    assert plain == {"a": 3, "b": 0.5, "c": [0, 1, 2], "d": [True]}
    assert type(plain["a"]) is int and type(plain["d"][0]) is bool


def test_records_load_without_torch():
    code = "import sys, sardino.reporting.record as r; r.hardware(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_dirty_flag_watches_code_and_not_prose(tmp_path, monkeypatch):
    """A checkout of its own, so that the test does not depend on the state of ours."""
    from sardino.reporting import record

    (tmp_path / "sardino").mkdir()
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "sardino" / "a.py").write_text("x = 1\n")

    def git(*arguments):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True)

    git("init")
    assert record._code(tmp_path) == {"revision": "unknown", "dirty": "unknown"}
    git("add", ".")
    git("commit", "-m", "x")
    (tmp_path / "README.md").write_text("prose")
    clean = record._code(tmp_path)
    assert len(clean["revision"]) == 40 and clean["dirty"] is False
    (tmp_path / "sardino" / "a.py").write_text("x = 2\n")
    assert record._code(tmp_path) == {"revision": clean["revision"], "dirty": True}
    assert record._code(None) == {"revision": "unknown", "dirty": "unknown"}


def test_a_checkout_of_another_user_is_read_where_its_code_is_running(tmp_path, monkeypatch):
    from sardino.reporting import record

    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    assert record.git(tmp_path, "status", "--porcelain") is None
    monkeypatch.setattr(record.sardino, "__file__", str(tmp_path / "sardino" / "__init__.py"))
    assert record.git(tmp_path, "status", "--porcelain") == ""
