"""The paper's numbers are all there, and its own text is checked against them."""

import pytest

from sardino.reporting.tables.claims import paper_side
from sardino.reporting.tables.contrasts import CLAIMS, OPTIONS, PLACE
from sardino.reporting.tables.paper import CellKey, paper, paper_arm, paper_cells

INCONSISTENT = {"tokens-gain-few-labels", "large-vit-attention-gain", "large-vit-tokens-gain"}


def test_tables_hold_36_and_12_cells() -> None:
    tables = [key.table for key in paper_cells()]
    assert (tables.count(1), tables.count(2)) == (36, 12)
    assert all(0.1 < value < 0.5 for value in paper_cells().values())


def test_cells_stand_in_their_column() -> None:
    cells = paper_cells()
    assert cells[CellKey(1, "europe", "tokens", "scratch", 0.1)] == 0.248
    assert cells[CellKey(1, "all", "attention", "frozen", 1.0)] == 0.324
    assert cells[CellKey(2, "", "unet", "scratch", 10.0)] == 0.475
    assert CellKey(2, "", "unet", "frozen", 10.0) not in cells
    assert max(cells.values()) == cells[CellKey(2, "", "unet+attention", "scratch", 10.0)] == 0.480


def test_table_3_has_the_papers_nine_rows() -> None:
    assert sum(row["stated"] == "Table 3" for row in paper()["table3"]) == 9


def test_unknown_arms_stand_beside_europe() -> None:
    assert [paper_arm(arm) for arm in ("europe", "all", "los-angeles")] == ["europe", "all", "europe"]


def test_claims_have_distinct_ids_and_known_cells() -> None:
    assert len({claim.id for claim in CLAIMS}) == len(CLAIMS)
    assert {key for claim in CLAIMS for contrast in claim.contrasts for key in contrast.keys} <= set(paper_cells())
    assert all(claim.contrasts or claim.measured for claim in CLAIMS)


def test_nothing_that_the_file_says_of_a_claim_is_left_unread() -> None:
    known = {
        "id",
        "section",
        "claim",
        "says",
        "partial",
        "measured",
        "label",
        "each",
        "cells",
        "parts",
        *PLACE,
        *OPTIONS,
    }
    for told in paper()["claims"]:
        for part in (told, *told.get("parts", ())):
            assert part.keys() <= known and set(part.get("each", ())) <= set(PLACE)
            assert all(cell.keys() <= set(PLACE) for cell in part.get("cells", ()))


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_text_and_tables_disagree_where_they_do(claim) -> None:
    assert paper_side(claim)[2] is (None if claim.measured else claim.id not in INCONSISTENT)


def test_percentages_are_recomputed_from_the_tables() -> None:
    values = {claim.id: paper_side(claim)[1] for claim in CLAIMS}
    assert "+10.9 %" in values["tokens-gain-few-labels"]
    assert "+4.8 %" in values["tokens-gain-few-labels"]
    assert "+0.2 %" in values["large-vit-tokens-gain"]
    assert "-13.9 % at 0.1 %" in values["large-vit-attention-gain"]
    assert values["large-vit-needs-labels"] == "+0.031 mIoU"
