"""One notebook: its parameters are checked, its environment is fixed, and a failure leaves its traceback, no record."""

import json

import nbformat
import pytest

from sardino.errors import SardinoError
from sardino.study.notebook import NotebookError, run_notebook
from sardino.study.workspace import Workspace

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
def space(tmp_path):
    return Workspace.open("smoke", root=tmp_path)


@pytest.fixture
def run(space):
    def execute(body="", **parameters):
        source = space.root / "toy.py"
        source.write_text(SOURCE.replace("BODY", body))
        record = space.record("toy")
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text("stale")
        parameters = {"record": str(record), **parameters}
        run_notebook(space, source, "toy", parameters, record, threads=3, environment={"EXTRA": "given"})
        return json.loads(record.read_text())

    return execute


def test_an_unknown_parameter_is_refused_with_the_known_ones(run, space):
    with pytest.raises(SardinoError, match=r"toy\.py has no parameter fractoin; it has fraction, record"):
        run(fractoin=2.0)
    assert not space.notebook("toy").exists()


def test_a_run_leaves_record_and_transcript_under_the_stated_environment(run, space):
    import sys

    record = run(fraction=10.0)
    assert record["interpreter"] == sys.executable
    notebook = nbformat.read(space.notebook("toy"), as_version=4)
    nbformat.validate(notebook)
    printed = [output.text for cell in notebook.cells for output in cell.get("outputs", [])]
    assert printed[0] == (
        "{'fraction': 10.0, 'PYTHONHASHSEED': '0', 'TZ': 'UTC', 'OMP_NUM_THREADS': '3', 'EXTRA': 'given'}\n"
    )
    assert printed[1] == "build\n" and str(space.root) not in nbformat.writes(notebook)
    assert not space.failed("toy").exists()


def test_a_failing_cell_leaves_its_traceback_and_no_record(run, space):
    with pytest.raises(NotebookError) as caught:
        run("steps = 0\n1 / steps")
    error = caught.value
    assert error.sentence == "ZeroDivisionError: division by zero"
    assert "1 / steps" in str(error) and str(error.path) in str(error)
    assert "ZeroDivisionError" in error.path.read_text()
    assert error.path.with_suffix(".txt").read_text().strip() == error.sentence
    assert not space.record("toy").exists() and not space.notebook("toy").exists()


def test_a_sardino_error_speaks_for_itself(run, space):
    with pytest.raises(NotebookError) as caught:
        run("from sardino.errors import SardinoError\nraise SardinoError('the store lacks vv: prepare it again')")
    assert str(caught.value) == "the store lacks vv: prepare it again"
    assert not space.record("toy").exists()


def test_a_notebook_that_writes_no_record_has_failed(run):
    with pytest.raises(NotebookError, match=r"without writing its record toy\.json"):
        run("record = ''")
