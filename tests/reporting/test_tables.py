"""Tables have the paper's cells, numbers follow from the confusion matrices, and gaps are named."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sardino.errors import SardinoError
from sardino.evaluation.scores import miou
from sardino.files import write_csv
from sardino.reporting.record import publish_records
from sardino.reporting.tables import render
from sardino.reporting.tables.cells import read_cells
from sardino.reporting.tables.paper import CellKey
from sardino.reporting.tables.tables import table1, table2, table3

TITLES = {"europe": "Europe", "all": "Europe, CONUS, China"}
FRACTIONS = [0.1, 1.0, 10.0]


def rising(key) -> float:
    """More labels are better, pre-training helps, frozen hurts."""
    return (
        0.5 + 0.05 * np.log10(key.fraction * 10) + {"scratch": 0, "frozen": -0.1, "unfrozen": 0.05}[key.initialisation]
    )


def test_tables_have_the_papers_shape_and_numbers(runs, tmp_path: Path) -> None:
    cells = read_cells(runs(rising), tmp_path)
    first, second = table1(cells, TITLES, FRACTIONS), table2(cells, FRACTIONS)
    assert (len(first), len(second)) == (36, 12)
    assert first["paper_miou"].notna().all() and second["paper_miou"].notna().all()
    assert (first["low"] <= first["miou"]).all() and (first["miou"] <= first["high"]).all()
    assert (first["seeds"] == 2).all() and first["synthetic"].all()
    row = first[(first.regions == "all") & (first.encoding == "tokens") & (first.fraction == 1)].iloc[0]
    assert row.paper_miou == 0.354
    with np.load(tmp_path / "finetune-all-tokens-scratch.npz") as arrays:
        by_seed = [float(miou(arrays[f"tokens_scratch_1_{seed}_{seed}"].astype(np.int64).sum(0))) for seed in (0, 1)]
    assert row.miou == pytest.approx(np.mean(by_seed))
    assert by_seed[0] != by_seed[1]


def test_one_arm_gives_18_rows_beside_europe(runs, tmp_path: Path) -> None:
    cells = read_cells(runs(rising, arms=["los-angeles"], synthetic=False), tmp_path)
    frame = table1(cells, {"los-angeles": "Los Angeles"}, FRACTIONS)
    assert len(frame) == 18
    assert frame["paper_miou"].iloc[0] == 0.278
    for text in (render.table1(frame, cells), render.table1(frame, cells, "markdown")):
        assert "derived labels" in text.splitlines()[0]
        assert "different task" in text


def test_a_fraction_the_paper_lacks_has_no_counterpart(runs, tmp_path: Path) -> None:
    cells = read_cells(runs(rising, fractions=[5.0]), tmp_path)
    frame = table1(cells, TITLES, [5.0])
    assert frame["paper_miou"].isna().all()
    assert "(-)" in render.table1(frame, cells)


def test_rendered_tables_hold_every_cell_and_say_what_they_are(runs, tmp_path: Path) -> None:
    cells = read_cells(runs(rising, seeds=(0,)), tmp_path)
    first, second = table1(cells, TITLES, FRACTIONS), table2(cells, FRACTIONS)
    rendered = [
        (first, render.table1(first, cells)),
        (first, render.table1(first, cells, "markdown")),
        (second, render.table2(second, cells)),
        (second, render.table2(second, cells, "markdown")),
    ]
    for frame, text in rendered:
        assert "synthetic" in text.splitlines()[0]
        assert "Floors: not recorded" in text and "validation tiles: not recorded" in text
        assert "One draw of the labels and one seed" in text
        for row in frame.itertuples():
            assert f"{row.miou:.3f} [{row.low:.3f}, {row.high:.3f}] ({row.paper_miou:.3f})" in text
    grids = [text.split("Each cell:")[0] for text in (rendered[0][1], rendered[2][1])]
    assert max(len(line) for grid in grids for line in grid.splitlines()) <= 120
    assert render.table2(second, cells, "markdown").count("\n| ") == 2 + 4


def test_majority_class_of_even_classes(runs, tmp_path: Path) -> None:
    """Four equally frequent classes: one has IoU 1/4, three have 0."""
    assert read_cells(runs(rising), tmp_path).miou_majority == pytest.approx(1 / 16, abs=1e-3)


def test_missing_cell_names_its_run(runs, tmp_path: Path) -> None:
    records = [record for record in runs(rising) if record["name"] != "baseline-unet_attention-frozen"]
    with pytest.raises(SardinoError, match="run baseline-unet_attention-frozen"):
        table2(read_cells(records, tmp_path), FRACTIONS)
    records = [record for record in records if record["name"] != "finetune-all-tokens-scratch"]
    with pytest.raises(SardinoError, match="run finetune-all-tokens-scratch"):
        table1(read_cells(records, tmp_path), TITLES, FRACTIONS)


def test_runs_that_cannot_be_compared_are_refused(runs, tmp_path: Path) -> None:
    for part, name, value in (("data", "fingerprint", "g"), ("results", "test_blocks", [0] * 40)):
        records = runs(rising)
        records[3][part][name] = value
        with pytest.raises(SardinoError, match=f"{records[3]['name']}.*differ in {name}"):
            read_cells(records, tmp_path)


def test_a_seed_too_few_and_a_cell_twice_are_refused(runs, tmp_path: Path) -> None:
    records = runs(rising)
    dropped = records[2]["results"]["cells"].pop()
    with pytest.raises(SardinoError, match=r"has \(draw, seed\) \[\(0, 0\)\], others have"):
        read_cells(records, tmp_path)
    records[2]["results"]["cells"] += [dropped, dropped]
    with pytest.raises(SardinoError, match="two records"):
        read_cells(records, tmp_path)


def test_matrices_that_are_not_the_records_are_refused(runs, tmp_path: Path) -> None:
    records = runs(rising)
    records[0]["results"]["cells"][0]["miou"] += 0.01
    with pytest.raises(SardinoError, match="does not give the mIoU of its record"):
        read_cells(records, tmp_path)
    (tmp_path / records[0]["results"]["confusion_file"]).write_bytes(b"no zip")
    with pytest.raises(SardinoError, match="missing or damaged"):
        read_cells(records, tmp_path)


def test_no_record_at_all(tmp_path: Path) -> None:
    with pytest.raises(SardinoError, match="run those notebooks first"):
        read_cells([], tmp_path)


def test_table_3_shows_what_ran_and_a_dash_where_nothing_is_known() -> None:
    results = {"arm": "europe", "steps": 300, "architecture": {"width": 96, "parameters": 1234567}, "recipe": {}}
    frame = table3([{"kind": "pretrain", "results": results}], {"tiny": {"architecture": {"width": 192}}})
    by_name = frame.set_index("parameter")
    assert by_name.loc["Embedding dimension", "ours: europe"] == "96"
    assert by_name.loc["Embedding dimension", "this code at paper size: ViT Tiny"] == "192"
    assert by_name.loc["Model parameters", "ours: europe"] == "1,234,567"
    assert by_name.loc["Student temperature", "ours: europe"] == "-"
    assert by_name.loc["Student temperature", "paper: ViT Base"] == "0.03"
    assert by_name.loc["Prototypes K", "paper: ViT Tiny"] == "-"
    assert "synthetic world" in render.table3(frame, "synthetic world", "markdown").splitlines()[0]


def test_table_3_names_what_the_paper_leaves_out() -> None:
    frame = table3([]).set_index("parameter")
    for name in ("Prototypes K", "Head hidden width", "Head bottleneck", "Teacher momentum", "Weight decay"):
        assert frame.loc[name, "stated"] == "not stated" and frame.loc[name, "paper: ViT Base"] == "-"
    assert {"Batch (tiles)", "Gradient clip (norm of a tensor)", "Drop path"} <= set(frame.index)


def test_notes_of_table_3_stand_once_below_it() -> None:
    """In the CSV beside each row, in the page numbered; every number in the table has its note."""
    built = {"tiny": {"recipe": {"hidden": 2048, "bottleneck": 256, "local_scale": [0.05, 0.4]}}}
    frame = table3([], built, {"hidden": 2048, "bottleneck": 256})
    for text in (render.table3(frame, "somewhere", "markdown"), render.table3(frame, "somewhere")):
        used = {int(number) for number in re.findall(r"\[(\d+)\]", text)}
        assert (
            used
            == {int(number) for number in re.findall(r"^(\d+)\. ", text, re.MULTILINE)}
            == set(range(1, 1 + max(used)))
        )
        assert text.count("the reference implementation's") == 1
        assert "difference" not in text and "0.05 to 0.4" in text
    assert (frame["difference"] == "The paper does not say; this code takes the reference implementation's.").sum() == 2
    assert "1." not in render.table3(frame.assign(difference=""), "somewhere", "markdown").splitlines()[-1]


def test_csv_round_trips_and_leaves_no_partial_file(runs, tmp_path: Path) -> None:
    frame = table2(read_cells(runs(rising), tmp_path), FRACTIONS)
    path = write_csv(frame, tmp_path / "out" / "table2.csv")
    told = frame.dropna(axis="columns", how="all")  # what older records lack is empty
    pd.testing.assert_frame_equal(pd.read_csv(path)[told.columns], told, atol=1e-6, check_dtype=False)
    assert [file.name for file in path.parent.iterdir()] == ["table2.csv"]


def test_records_are_published_with_their_matrices(runs, tmp_path: Path) -> None:
    records = runs(rising)
    for record in records:
        (tmp_path / f"{record['name']}.json").write_text(json.dumps(record))
    written = publish_records(records, tmp_path, tmp_path / "published")
    assert {path.suffix for path in written} == {".json", ".npz"}
    assert len(list((tmp_path / "published").iterdir())) == len(written) == 2 * len(records)
    assert set(read_cells(records, tmp_path / "published").facts(CellKey(2, "", "unet", "scratch", 1.0))) > {"draws"}


def test_a_published_record_that_says_the_same_stays_as_it_is(runs, tmp_path: Path) -> None:
    record = {
        "format": "sardino-run",
        "version": 1,
        "profile": "laptop",
        "parameters": {},
        "data": {},
        **runs(rising)[0],
    }
    source, path = tmp_path / f"{record['name']}.json", tmp_path / "published" / f"{record['name']}.json"
    source.write_text(json.dumps(record))
    publish_records([record], tmp_path, path.parent)
    first = path.read_bytes()
    later = {**record, "finished": "later", "wall_s": 9.0}
    source.write_text(json.dumps(later))
    publish_records([later], tmp_path, path.parent)
    assert path.read_bytes() == first
    other = {**later, "results": {**record["results"], "loss": "another"}}
    source.write_text(json.dumps(other))
    publish_records([other], tmp_path, path.parent)
    assert json.loads(path.read_text())["results"]["loss"] == "another"
