"""Verdicts follow planted effects; a claim that was not run stays open."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sardino.errors import SardinoError
from sardino.evaluation.bootstrap import bounds, copies
from sardino.evaluation.floors import MODELS
from sardino.evaluation.scores import miou
from sardino.reporting.rows import baseline_rows
from sardino.reporting.tables.cells import read_cells
from sardino.reporting.tables.claims import COLUMNS, claims_table, render_claims
from sardino.reporting.tables.contrasts import CLAIMS, MARGIN, OURS, all_of, gain, judge
from sardino.reporting.tables.paper import CellKey, paper_cells
from sardino.study.plan import plan
from sardino.study.profile import Profile

ARMS, FRACTIONS = ["europe", "all"], [0.1, 1.0, 10.0]
AS_IN_PAPER_TABLES = {
    "attention-gain-few-labels": "supported",
    "attention-no-gain-10": "supported",
    "frozen-worst-all": "supported",
    "more-labels-better": "supported",
    "scratch-wins-large-vit-0.1": "supported",
    "large-vit-needs-labels": "supported",
    "unet-wins-few-labels": "supported",
    "unet-equals-large-vit-10": "supported",
    "unet-generally-wins": "supported",
}


def papers(key: CellKey) -> float:
    """The accuracy whose mIoU, for even errors, is the paper's: IoU = a / (2 - a)."""
    iou = paper_cells()[key]
    return 2 * iou / (1 + iou)


def mirrored(key: CellKey) -> float:
    """The paper's cells with every difference turned round."""
    return 0.9 - papers(key)


def verdicts(frame: pd.DataFrame) -> dict[str, str]:
    return dict(zip(frame["id"], frame["verdict"], strict=True))


def test_planting_the_papers_tables_supports_what_they_support(runs, tmp_path: Path) -> None:
    frame = claims_table(read_cells(runs(papers), tmp_path), ARMS, FRACTIONS)
    assert list(frame.columns) == COLUMNS
    assert len(frame) == len(CLAIMS)
    found = verdicts(frame)
    assert {name: found[name] for name in AS_IN_PAPER_TABLES} == AS_IN_PAPER_TABLES
    ours = frame.set_index("id").loc["attention-gain-few-labels"]
    assert ours.ours == pytest.approx(0.012, abs=0.002)
    assert ours.low < ours.ours < ours.high


def test_planting_the_opposite_refutes(runs, tmp_path: Path) -> None:
    found = verdicts(claims_table(read_cells(runs(mirrored), tmp_path), ARMS, FRACTIONS))
    for name in ("attention-gain-few-labels", "more-labels-better", "frozen-worst-all", "unet-generally-wins"):
        assert found[name] == "not supported", name


def test_no_effect_is_undecided_or_the_same(runs, tmp_path: Path) -> None:
    found = verdicts(claims_table(read_cells(runs(lambda key: 0.6), tmp_path), ARMS, FRACTIONS))
    assert found["unet-equals-large-vit-10"] == found["attention-no-gain-10"] == "supported"
    assert found["attention-gain-few-labels"] == found["more-labels-better"] == "undecided"


def test_models_that_learnt_nothing_support_nothing(runs, tmp_path: Path) -> None:
    frame = claims_table(read_cells(runs(lambda key: 0.05), tmp_path), ARMS, FRACTIONS)
    assert set(frame["verdict"]) == {"undecided"}
    assert frame["why"].str.contains("majority-class").sum() == len(frame) - 1


def test_one_arm_leaves_the_others_claims_open(runs, tmp_path: Path) -> None:
    cells = read_cells(runs(lambda key: 0.6, arms=["los-angeles"], seeds=(0,), synthetic=False), tmp_path)
    frame = claims_table(cells, ["los-angeles"], FRACTIONS).set_index("id")
    for name in ("large-vit-tokens-gain", "frozen-worst-all", "unet-equals-large-vit-10"):
        assert frame.loc[name, "verdict"] == "undecided"
        assert "Not run in this profile: arm 'all'" in frame.loc[name, "why"]
        assert np.isnan(frame.loc[name, "ours"])
    assert np.isfinite(frame.loc["attention-no-gain-10", "ours"])
    assert frame.loc["attention-no-gain-10", "why"].endswith("One draw of the labels and one seed.")
    assert "arm 'all'" in frame.loc["more-labels-better", "why"]


def test_a_fraction_that_was_not_run_is_named(runs, tmp_path: Path) -> None:
    frame = claims_table(read_cells(runs(lambda key: 0.6, fractions=[1.0, 10.0]), tmp_path), ARMS, [1.0, 10.0])
    why = frame.set_index("id").loc["tokens-gain-few-labels", "why"]
    assert why == "Not run in this profile: 0.1 % of labels."


def test_a_missing_cell_is_an_error_not_an_open_claim(runs, tmp_path: Path) -> None:
    records = [record for record in runs(papers) if record["name"] != "finetune-europe-attention-frozen"]
    with pytest.raises(SardinoError, match="run finetune-europe-attention-frozen"):
        claims_table(read_cells(records, tmp_path), ARMS, FRACTIONS)


def test_measured_claim_follows_its_interval(runs, tmp_path: Path) -> None:
    cells = read_cells(runs(papers), tmp_path)
    name = "attention-follows-land-cover"
    for interval, expected in (((0.1, 0.05, 0.2), "supported"), ((-0.1, -0.2, -0.05), "not supported")):
        assert verdicts(claims_table(cells, ARMS, FRACTIONS, {name: interval}))[name] == expected
    assert verdicts(claims_table(cells, ARMS, FRACTIONS))[name] == "undecided"
    with pytest.raises(SardinoError, match=name):
        claims_table(cells, ARMS, FRACTIONS, {name: (0.1, 0.3, 0.2)})


def test_documents_say_what_the_data_are_and_flag_the_paper(runs, tmp_path: Path) -> None:
    cells = read_cells(runs(papers), tmp_path)
    frame = claims_table(cells, ARMS, FRACTIONS)
    text, document = render_claims(frame, cells), render_claims(frame, cells, "markdown")
    assert "synthetic world" in text.splitlines()[0] and "synthetic world" in document.splitlines()[0]
    assert document.count("(text and table disagree)") == 3
    assert all(claim.id in text and claim.id in document for claim in CLAIMS)


def test_a_contrast_of_two_cells_is_the_paired_bootstrap(runs, tmp_path: Path) -> None:
    cells = read_cells(runs(papers), tmp_path)
    better, other = (CellKey(1, "europe", "tokens", row, 1.0) for row in ("unfrozen", "scratch"))
    contrast = gain("", better, other)
    ours, theirs = cells.matrices(better), cells.matrices(other)
    low, high = bounds(copies(ours, cells.blocks) - copies(theirs, cells.blocks))
    assert contrast.value(cells.miou) == pytest.approx(miou(ours.sum(1)).mean() - miou(theirs.sum(1)).mean())
    assert bounds(contrast.copies(cells)) == pytest.approx((low, high))
    assert high - low < (lambda i: i[1] - i[0])(bounds(cells.copies(better)))


@given(low=st.floats(-1, 1), width=st.floats(0, 1))
def test_rule(low: float, width: float) -> None:
    high = low + width
    assert judge("more", low, high) == ("supported" if low > 0 else "not supported" if high < 0 else "undecided")
    assert (judge("same", low, high) == "supported") == (max(-low, high) <= MARGIN)
    assert (judge("no gain", low, high) == "supported") == (high <= MARGIN)
    assert judge("same", -high, -low) == judge("same", low, high)


def test_every_part_must_hold() -> None:
    assert all_of(["supported", "supported"]) == "supported"
    assert all_of(["supported", "undecided"]) == "undecided"
    assert all_of(["supported", "undecided", "not supported"]) == "not supported"


MORE = [
    CellKey(2, "", encoding, start, fraction)
    for encoding in ("wide", "hybrid")
    for start in baseline_rows(encoding)
    for fraction in FRACTIONS
] + [CellKey(2, "", encoding, "self-trained", fraction) for encoding in ("unet", "hybrid") for fraction in FRACTIONS]


def planted(key: CellKey) -> float:
    """Pre-training helps the hybrid, most where labels are few, and no other arm; size alone does not.

    Self-training helps as well, and beside it pre-training still does.
    """
    helped = key.encoding == "hybrid" and key.initialisation in ("unfrozen", "self-trained")
    own = 0.05 * (key.initialisation == "self-trained")
    return 0.6 + helped * {0.1: 0.2, 1.0: 0.1, 10.0: 0.1}[key.fraction] + own


def test_claims_of_ours_follow_their_cells_by_the_same_rule(runs, tmp_path: Path) -> None:
    cells = read_cells(runs(planted, more=MORE, floor=lambda key: 0.3), tmp_path)
    frame = claims_table(cells, ARMS, FRACTIONS, claims=OURS)
    found = verdicts(frame)
    assert found.pop("frozen-tokens-no-floor") == found.pop("unet-over-floor") == "undecided", "no such floor was run"
    assert set(found.values()) == {"supported"}
    reverse = claims_table(
        read_cells(runs(lambda key: 1.3 - planted(key), more=MORE), tmp_path), ARMS, FRACTIONS, claims=OURS
    )
    turned = verdicts(reverse)
    assert all(turned[name] == "not supported" for name in found if name != "size-alone-no-gain")
    for form in ("text", "markdown"):
        text = render_claims(frame, cells, form)
        assert all(claim.id in text for claim in OURS) and "paper" not in text.splitlines()[0]


def test_a_profile_without_their_rows_leaves_claims_of_ours_open(runs, tmp_path: Path) -> None:
    frame = claims_table(read_cells(runs(lambda key: 0.6), tmp_path), ARMS, FRACTIONS, claims=OURS).set_index("id")
    assert set(frame["verdict"]) == {"undecided"}
    why = "Not run in this profile: 'U-Net (SAR + tokens)', 'U-Net (only SAR), wide'."
    assert frame.loc["whole-over-unet", "why"] == why


def test_claims_of_ours_are_of_cells_that_study_has() -> None:
    profile = Profile.load("study")
    names = {run.name for run in plan(profile)}
    keys = {key for claim in OURS for contrast in claim.contrasts for key in contrast.keys}
    assert {key.run for key in keys} <= names and {key.fraction for key in keys} <= set(profile.fractions)
    floors = {(key.encoding, key.initialisation) for key in keys if not key.table}
    assert floors <= set(product(MODELS, ("channels", "surroundings")))
