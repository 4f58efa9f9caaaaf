"""What others published stays known while own runs write over it, and each score of the two is compared."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from sardino.cli.app import app
from sardino.errors import SardinoError
from sardino.files import write_json
from sardino.study.run import open_run
from sardino.study.verify import in_a_line, passes, verify
from sardino.study.workspace import Workspace, own_file, published_file

ROOT = Path(__file__).parents[2]
CELL = {"table": 1, "regions": "europe", "encoding": "tokens", "initialisation": "frozen"}
FLOOR = {"table": 0, "regions": "", "encoding": "forest", "initialisation": "channels", "fraction": 1}
FLOOR |= {"miou": 0.2, "miou_low": 0.1, "miou_high": 0.3}


def run_here(*scores: float, loss: float = 2.5) -> Workspace:
    """A pre-training and tables: cells of 1, 2, ... % of the labels, with intervals of 0.05 to either side; a floor."""
    run = open_run("pretrain", "minute.toml", arm="europe")
    record = run.record({"loss_first": loss, "weights_sha256": f"{loss}", "steps": 3}, data={"fingerprint": "ab"})
    cells = [
        {**CELL, "fraction": n, "miou": score, "miou_low": score - 0.05, "miou_high": score + 0.05}
        for n, score in enumerate(scores, 1)
    ]
    run.publish({"metrics.csv": pd.DataFrame([*cells, FLOOR])}, [record])
    return run.space


def by_others(space: Workspace) -> None:
    """What lies in results/ came from elsewhere: another processor made it, and nothing was run here."""
    for path in (space.results / "runs").glob("*.json"):
        record = json.loads(path.read_text())
        record["hardware"]["cpu"] = "an abacus"
        write_json(record, path)
    shutil.rmtree(space.build)


@pytest.fixture
def published(small_world, monkeypatch) -> Workspace:
    """Two cells and a floor, as others have published them."""
    monkeypatch.chdir(small_world)
    for name in ("build", "results"):
        shutil.rmtree(small_world / name, ignore_errors=True)
    space = run_here(0.3, 0.4)
    by_others(space)
    return space


def test_the_same_run_is_equal_to_the_last_digit_and_no_reason_is_sought(published):
    found, reasons = verify(run_here(0.3, 0.4))
    assert [each[:3] for each in found] == [
        ("cells", "europe tokens frozen, 1 %", "equal"),
        ("cells", "europe tokens frozen, 2 %", "equal"),
        ("floors", "forest channels, 1 %", "equal"),
        ("tables", "metrics.csv", "equal"),
        ("records", "pretrain-europe", "equal"),
    ]
    assert passes(found, exact=True)
    line = in_a_line(found, reasons)
    assert "1 of 1 records equal" in line and "2 of 2 cells equal" in line and "abacus" not in line


def test_a_score_that_moved_is_within_its_interval_or_not(published):
    found, reasons = verify(run_here(0.34, 0.4, loss=2.625))
    verdicts = {name: verdict for _, name, verdict, *_ in found}
    assert verdicts == {
        "pretrain-europe": "differs",
        "forest channels, 1 %": "equal",
        "metrics.csv": "differs",
        "europe tokens frozen, 1 %": "within",
        "europe tokens frozen, 2 %": "equal",
    }
    assert passes(found) and not passes(found, exact=True)
    assert ("records", "pretrain-europe", "differs", "2.625", "2.5") in found
    assert ("cells", "europe tokens frozen, 1 %", "within", "0.340000", "0.300000 [0.250000, 0.350000]") in found
    assert in_a_line(found, reasons).count("an abacus there") == 1
    found, _ = verify(run_here(0.36, 0.4))
    assert not passes(found) and [name for _, name, verdict, *_ in found if verdict == "outside"] == [
        "europe tokens frozen, 1 %"
    ]


def test_a_cell_that_was_not_made_here_is_missing(published):
    found, reasons = verify(run_here(0.3))
    assert [each for each in found if each[2] == "missing"] == [
        ("cells", "europe tokens frozen, 2 %", "missing", "", "0.400000 [0.350000, 0.450000]")
    ]
    assert not passes(found) and "1 of 2 cells equal, 1 missing" in in_a_line(found, reasons)


def test_what_was_published_outlives_own_runs_and_an_update_of_it_takes_its_place(published):
    before = (published.results / "metrics.csv").read_bytes()
    for score in (0.31, 0.32, 0.33):
        space = run_here(score, 0.4)
        assert published_file(space, "metrics.csv").read_bytes() == before
        assert own_file(space, "metrics.csv").read_bytes() == (space.results / "metrics.csv").read_bytes() != before
    updated = before.replace(b"0.3", b"0.6")
    (space.results / "metrics.csv").write_bytes(updated)  # as `git pull` brings it
    assert published_file(space, "metrics.csv").read_bytes() == updated
    run_here(0.33, 0.4)
    assert published_file(space, "metrics.csv").read_bytes() == updated


def test_without_a_publication_or_a_run_one_sentence_says_so(published):
    with pytest.raises(SardinoError, match="no run of profile 'minute' was made here: run `sardino reproduce"):
        verify(published)
    shutil.rmtree(published.results)
    space = run_here(0.3)
    with pytest.raises(SardinoError, match="nobody has published results of profile 'minute'"):
        verify(space)


def test_the_command_tells_what_is_not_equal_and_ends_as_asked(published):
    def ends(*options: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["verify", "minute.toml", *options])
        return done.exit_code, done.stdout

    run_here(0.3, 0.4)
    code, told = ends("--exact")
    assert code == 0 and told.count("\n") == 1
    run_here(0.34, 0.4)
    assert ends()[0] == 0
    code, told = ends("--exact")
    assert code == 1 and "within" in told and "other processor (" in told.splitlines()[-1]
    run_here(0.5, 0.4)
    assert ends()[0] == 1


def test_published_results_of_this_project_are_equal_to_themselves_and_told_where_one_cell_moves(tmp_path):
    """The records and tables of `laptop`, as a reader has them who ran it with the same result."""
    space = Workspace.open("laptop", root=tmp_path)
    shutil.copytree(ROOT / "results" / "laptop", space.results)
    shutil.copytree(space.results / "runs", space.runs)
    for folder in ("made", "published"):
        shutil.copytree(space.results, space.build / folder)
    found, _ = verify(space)
    kinds = [kind for kind, *_ in found]
    assert passes(found, exact=True) and kinds.count("cells") == 48 and kinds.count("records") > 16
    path = own_file(space, "metrics.csv")
    table = pd.read_csv(path)
    table.loc[0, "miou"] += 0.5
    table.to_csv(path, index=False, float_format="%.6f")
    found, _ = verify(space)
    assert not passes(found) and [verdict for kind, _, verdict, *_ in found if kind == "cells"].count("outside") == 1
