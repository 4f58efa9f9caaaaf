"""LaTeX tables are whole: balanced, escaped, as many columns as heads, and every number is in them."""

import re
from pathlib import Path

import pytest

from sardino.reporting.tables import render
from sardino.reporting.tables.cells import read_cells
from sardino.reporting.tables.render import escaped
from sardino.reporting.tables.tables import table1, table2, table3

FRACTIONS = [0.1, 1.0, 10.0]
TITLES = {"europe": "Europe", "all": "Europe, CONUS & China_50%"}


def body(text: str) -> list[list[str]]:
    """Rows of the tabular, split at columns; checks what every table needs."""
    begun, ended = re.findall(r"\\begin{(\w+)}", text), re.findall(r"\\end{(\w+)}", text)
    assert sorted(begun) == sorted(ended) == ["minipage", "table", "tabular"]
    bare = re.sub(r"\\[{}%]|%\n", "", text)
    assert bare.count("{") == bare.count("}")
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 1
    assert not re.search(r"(?<!\\)[%_#$]", text.split("\n", 1)[1].replace("%\n", "\n"))
    columns = len(re.search(r"\\begin{tabular}{(l+)}", text)[1])
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    split = [re.split(r"(?<!\\)&", row) for row in rows]
    assert {len(row) for row in split} == {columns}
    return split


@pytest.fixture()
def cells(runs, tmp_path: Path):
    return read_cells(runs(lambda key: 0.6), tmp_path)


def test_tables_1_and_2_hold_every_cell_beside_the_papers(cells) -> None:
    first, second = table1(cells, TITLES, FRACTIONS), table2(cells, FRACTIONS)
    for frame, text, rows in (
        (first, render.table1(first, cells, "latex"), 12),
        (second, render.table2(second, cells, "latex"), 4),
    ):
        assert len(body(text)) == 1 + rows
        assert "synthetic world" in text and "Student" in text and text.count(r"\midrule") == 1
        for row in frame.itertuples():
            assert f"{row.miou:.3f} [{row.low:.3f}, {row.high:.3f}] ({row.paper_miou:.3f})" in text
    assert r"CONUS \& China\_50\%" in render.table1(first, cells, "latex")


def test_floors_stand_below_a_rule_of_their_own_and_marks_are_printed(runs, tmp_path: Path) -> None:
    cells = read_cells(runs(lambda key: 0.6, gain=lambda key, number: 0.02, floor=lambda key: 0.4), tmp_path)
    first, second = table1(cells, TITLES, FRACTIONS), table2(cells, FRACTIONS)
    for text, arms in ((render.table1(first, cells, "latex"), 12), (render.table2(second, cells, "latex"), 4)):
        assert len(body(text)) == 1 + arms + 3
        above, below = text.split(r"\midrule")[1:]
        assert above.count(r"\textuparrow{}") == 3 * arms and "*" not in above
        assert below.split(r"\bottomrule")[0].count("* [") == 3 and "Logistic regression & Channels" in below


def test_an_arm_that_is_not_the_papers_says_so(runs, tmp_path: Path) -> None:
    cells = read_cells(runs(lambda key: 0.6, arms=["mars"], synthetic=False), tmp_path)
    text = render.table1(table1(cells, {"mars": "Mars"}, FRACTIONS), cells, "latex")
    assert len(body(text)) == 1 + 6 and "a different task" in text and "derived labels" in text


def test_table_3_has_its_notes_below() -> None:
    frame = table3([], {"tiny": {"recipe": {"hidden": 2048}}}, {"hidden": 2048})
    text = render.table3(frame, "somewhere", "latex")
    assert len(body(text)) == 1 + len(frame)
    notes = {note for note in frame["difference"] if note}
    assert text.count(r"\par ") == len(notes) > 0


def test_special_characters() -> None:
    assert escaped(r"a_b & 5 % {x} \ ~ ^ < > #$") == (
        r"a\_b \& 5 \% \{x\} \textbackslash{} \textasciitilde{} \textasciicircum{} "
        r"\textless{} \textgreater{} \#\$"
    )
