"""The command line teaches its verbs, is quick, and ends faults of the input in one sentence."""

import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from sardino.cli.app import app

RUNNER = CliRunner()


def test_help_names_the_verbs_and_loads_nothing_heavy():
    code = (
        "import sys; from sardino.cli.app import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'pandas', 'papermill', 'snakemake', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 5
    verbs = (
        "reproduce",
        "plan",
        "show",
        "verify",
        "report",
        "notebook",
        "world",
        "import",
        "doctor",
        "autopsy",
        "embed",
    )
    for verb in verbs:
        assert f"\n  {verb} " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["plan", "nope"], "no profile 'nope'"),
        (["plan", "smoke", "--device", "abacus"], "no device is named 'abacus'"),
        (["reproduce", "real"], "terramesh): give --data FOLDER with it"),
        (["reproduce", "real", "--data", "nowhere"], "nowhere does not exist"),
        (["show", "smoke"], "has no results yet"),
        (["verify", "smoke"], "nobody has published results of profile 'smoke'"),
        (["notebook", "nope"], "no run or notebook is named 'nope'"),
        (["notebook", "data", "--set", "seed"], "--set takes name=value"),
        (["notebook", "data", "--set", "sede=3"], "has no parameter sede; it has data, profile"),
        (["world", "out", "--tiles", "8"], "--tiles takes columns x rows"),
        (["world", "out", "--region", "mars"], "no region 'mars'"),
        (["import", "nope", ".", "out"], "no folder spec 'nope'"),
        (["import", "los-angeles", "nowhere", "out"], "there is no folder nowhere"),
    ],
)
def test_a_fault_of_the_input_is_one_sentence_and_exit_code_2(project, monkeypatch, arguments, sentence):
    monkeypatch.chdir(project.root)
    done = RUNNER.invoke(app, arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ") and sentence in done.stderr
    assert done.stderr.count("\n") == 1


def test_show_prints_tables_and_places(project, monkeypatch):
    monkeypatch.chdir(project.root)
    for path, text in {"results/laptop/summary.txt": "Table 1\n", "figures/laptop/fig1.png": ""}.items():
        (project.root / path).parent.mkdir(parents=True)
        (project.root / path).write_text(text)
    done = RUNNER.invoke(app, ["show", "laptop"])
    assert done.exit_code == 0
    assert "Table 1" in done.stdout and "figures/laptop/ (fig1)" in done.stdout


def test_a_failing_notebook_is_exit_code_1_with_the_sentence_alone(project, monkeypatch):
    monkeypatch.chdir(project.root)
    project.notebook(
        "01_data_preparation", body="from sardino.errors import SardinoError; raise SardinoError('no chips')"
    )
    done = RUNNER.invoke(app, ["notebook", "data"])
    assert (done.exit_code, done.stderr) == (1, "error: no chips\n")


def test_a_world_becomes_a_store(tmp_path):
    from sardino.data.tiles.store import TileStore

    out = tmp_path / "store"
    arguments = ["world", str(out), "--tiles", "3x2", "--tile-px", "16", "--bands", "5", "--region", "conus"]
    done = RUNNER.invoke(app, arguments)
    assert done.exit_code == 0, done.output
    store = TileStore.open(out)
    assert len(store) == 6 and store.synthetic and len(store.ids("train")) > 0
    turned = ["world", str(tmp_path / "turned"), *arguments[2:], "--direction", "90"]
    assert RUNNER.invoke(app, turned).exit_code == 0
    assert TileStore.open(tmp_path / "turned").fingerprint != store.fingerprint
