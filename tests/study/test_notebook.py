"""One notebook: its parameters are checked, its environment is fixed, and a failure leaves its traceback, no record."""

import json

import nbformat
import pytest

from sardino.errors import SardinoError
from sardino.study.notebook import NotebookError, run_notebook

SOURCE = """# %% [markdown]
# # Toy

# %% tags=["parameters"]
fraction = 1.0
record = ""

# %%
import os, sys, json
from pathlib import Path
print({"fraction": fraction, **{k: os.environ[k] for k in ("PYTHONHASHSEED", "TZ", "OMP_NUM_THREADS", "EXTRA")}})
print(os.getcwd() + "/build", file=sys.stderr)

# %%
BODY
if record:
    Path(record).write_text(json.dumps({"interpreter": sys.executable, "hash": hash("sardino")}))
"""


@pytest.fixture
def run(tmp_path):
    def execute(body="", **parameters):
        source = tmp_path / "toy.py"
        source.write_text(SOURCE.replace("BODY", body))
        record = tmp_path / "runs" / "toy.json"
        record.parent.mkdir(exist_ok=True)
        record.write_text("stale")
        parameters = {"record": str(record), **parameters}
        run_notebook(
            source,
            parameters,
            tmp_path / "out" / "toy.ipynb",
            root=tmp_path,
            failed=tmp_path / "failed" / "toy.ipynb",
            record=record,
            threads=3,
            environment={"EXTRA": "given"},
        )
        return json.loads(record.read_text())

    return execute


def test_an_unknown_parameter_is_refused_with_the_known_ones(run, tmp_path):
    with pytest.raises(SardinoError, match=r"toy\.py has no parameter fractoin; it has fraction, record"):
        run(fractoin=2.0)
    assert not (tmp_path / "out").exists()


def test_a_run_leaves_record_and_transcript_under_the_stated_environment(run, tmp_path):
    import sys

    record = run(fraction=10.0)
    assert record["interpreter"] == sys.executable
    notebook = nbformat.read(tmp_path / "out" / "toy.ipynb", as_version=4)
    nbformat.validate(notebook)
    printed = [output.text for cell in notebook.cells for output in cell.get("outputs", [])]
    assert printed[0] == (
        "{'fraction': 10.0, 'PYTHONHASHSEED': '0', 'TZ': 'UTC', 'OMP_NUM_THREADS': '3', 'EXTRA': 'given'}\n"
    )
    assert printed[1] == "build\n" and str(tmp_path) not in nbformat.writes(notebook)
    assert not (tmp_path / "failed").exists()


def test_a_failing_cell_leaves_its_traceback_and_no_record(run, tmp_path):
    with pytest.raises(NotebookError) as caught:
        run("steps = 0\n1 / steps")
    error = caught.value
    assert error.sentence == "ZeroDivisionError: division by zero"
    assert "1 / steps" in str(error) and str(error.path) in str(error)
    assert "ZeroDivisionError" in error.path.read_text()
    assert error.path.with_suffix(".txt").read_text().strip() == error.sentence
    assert not (tmp_path / "runs" / "toy.json").exists() and not (tmp_path / "out" / "toy.ipynb").exists()


def test_a_sardino_error_speaks_for_itself(run, tmp_path):
    with pytest.raises(NotebookError) as caught:
        run("from sardino.errors import SardinoError\nraise SardinoError('the store lacks vv: prepare it again')")
    assert str(caught.value) == "the store lacks vv: prepare it again"
    assert not (tmp_path / "runs" / "toy.json").exists()


def test_a_notebook_that_writes_no_record_has_failed(run):
    with pytest.raises(NotebookError, match=r"without writing its record toy\.json"):
        run("record = ''")
