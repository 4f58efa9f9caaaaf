"""The outcome and the reasons repeat what is published, and hide no disagreement."""

import pandas as pd
import pytest

from sardino.errors import SardinoError
from sardino.reporting.pages import outcome, reasons, tables

CELL = {"encoding": "unet+attention", "initialisation": "scratch", "fraction": 0.1, "low": 0.1, "high": 0.3}
CLAIM = {"claim": "More is better.", "paper_text_value": "+4 %", "paper_table_value": "+2 %", "why": "Because."}


@pytest.fixture
def folder(tmp_path):
    cells = pd.DataFrame([{**CELL, "miou": 0.2, "paper_miou": 0.4}, {**CELL, "miou": 0.1, "paper_miou": None}])
    cells.assign(regions_title="Europe").to_csv(tmp_path / "table1.csv")
    floors = pd.DataFrame([{**CELL, "encoding": "forest", "miou": 0.5}, {**CELL, "encoding": "logistic", "miou": 0.6}])
    pd.concat([floors, cells.iloc[::-1]]).to_csv(tmp_path / "table2.csv")
    claims = [
        {**CLAIM, "paper_consistent": False, "verdict": "undecided"},
        {**CLAIM, "paper_consistent": True, "verdict": "supported", "paper_text_value": None},
        {**CLAIM, "paper_consistent": None, "verdict": "undecided"},
    ]
    pd.DataFrame(claims).to_csv(tmp_path / "claims.csv")
    return tmp_path


def test_the_outcome_is_the_best_cell_and_the_verdicts(folder):
    first, second, third = outcome(folder).splitlines()
    assert "Table 1: highest mIoU 0.200 [0.100, 0.300] (U-Net (SAR + attention maps), from scratch, 0.1 %" in first
    assert first.endswith("backbone of Europe); the paper has 0.400 there.") and "backbone" not in second
    assert "highest mIoU 0.200" in second and second.endswith("; the strongest floor has 0.600.")
    assert third == "- Of the paper's 3 claims: 2 undecided, 1 supported."


def test_reasons_say_where_text_and_tables_disagree(folder):
    first, second, third = reasons(folder).splitlines()
    assert first == (
        "- **More is better.** *Undecided.* The paper's text: +4 %; its tables: +2 % (text and tables disagree). "
        "Here: Because."
    )
    assert "The paper's text: none stated;" in second and "disagree" not in second + third


def test_what_is_missing_is_named_with_the_command_that_makes_it(folder):
    with pytest.raises(SardinoError, match=r"table1\.md does not exist: run `sardino reproduce"):
        tables(folder)
    (folder / "table2.csv").unlink()
    with pytest.raises(SardinoError, match=r"table2\.csv cannot be read"):
        outcome(folder)
