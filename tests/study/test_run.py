"""A run that is opened bears the name that the plan gave it; its record says what it was given."""

import json

import pandas as pd
import pytest

from sardino.errors import SardinoError
from sardino.files import write_json
from sardino.reporting.record import read_record
from sardino.study.plan import plan, planned_records
from sardino.study.profile import Profile
from sardino.study.run import open_run


@pytest.fixture
def there(small_world, monkeypatch):
    monkeypatch.chdir(small_world)
    return small_world


def test_names_and_seeds_are_the_plans(there):
    text = (there / "minute.toml").read_text().replace("seeds = [0, 1]", "seeds = [4, 1]")
    (there / "seeds.toml").write_text(text.replace('name = "minute"', 'name = "seeds"'))
    for run in plan(Profile.load(there / "seeds.toml")):
        parameters = dict(run.parameters)
        if run.kind == "baseline":
            del parameters["regions"]  # Table 2 has one backbone
        opened = open_run(run.kind, str(there / "seeds.toml"), **parameters)
        assert opened.name == run.name and opened.space.record(opened.name).stem == run.name
        one = {
            "pretrain": [parameters.get("seed", 4)],
            "attention": [4],
            "data": [0],
            "realism": [0],
            "quickstart": [0],
        }
        assert list(opened.seeds) == one.get(run.kind, [4, 1])


def test_a_record_tells_what_the_run_was_given(there):
    run = open_run("pretrain", "minute.toml", arm="all", seed=None)
    record = run.record({"loss": 1.0}, data={"source": "none"})
    assert record == read_record(run.space.record("pretrain-all"))
    assert record["parameters"] == {"profile": "minute.toml", "data": "", "arm": "all", "seed": 0}
    assert (record["kind"], record["seeds"], record["profile"]) == ("pretrain", [0], "minute")
    with pytest.raises(SardinoError, match="there is no tile store"):
        _ = run.store


def test_records_come_in_the_plans_order_and_strangers_are_left(there):
    run = open_run("floors", "minute.toml")
    for name in ("baseline-unet-scratch", "finetune-europe-tokens-frozen", "finetune-europe-tokens-nowhere"):
        kind = name.partition("-")[0]
        content = {"format": "sardino-run", "version": 1, "name": name, "kind": kind, "profile": "minute"}
        write_json({**content, "parameters": {}, "data": {}, "results": {}}, run.space.record(name))
    found = [record["name"] for record in planned_records(run.space, "baseline", "finetune")]
    assert found == ["finetune-europe-tokens-frozen", "baseline-unet-scratch"]


def test_tables_texts_and_records_are_published(there):
    run = open_run("floors", "minute.toml")
    record = run.record({"n": 1}, data={})
    run.publish({"floors.csv": pd.DataFrame({"a": [0.5]}), "floors.md": "# Floors\n"}, [record])
    assert (run.space.results / "floors.csv").read_text() == "a\n0.500000\n"
    assert (run.space.results / "floors.md").read_text() == "# Floors\n"
    assert json.loads((run.space.results / "runs" / "floors.json").read_text()) == record
