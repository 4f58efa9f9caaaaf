"""The claims table: the paper's text against its tables, and against our runs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sardino.errors import SardinoError
from sardino.evaluation.bootstrap import bounds
from sardino.reporting.tables.cells import Cells
from sardino.reporting.tables.contrasts import (
    RULE,
    Contrast,
    Verdict,
    all_of,
    judge,
    learnt,
    paper_agrees,
    paper_percent,
    paper_value,
    verdict,
)
from sardino.reporting.tables.paper_claims import CLAIMS, Claim
from sardino.reporting.tables.render import aligned, document, interval, markdown

COLUMNS = ["id", "section", "claim", "paper_text_value", "paper_table_value", "paper_consistent"]
COLUMNS += ["ours", "low", "high", "verdict", "why"]
LARGEST_PERCENT = 500
"""Relative changes beyond it are left out: beside a score near 0 a percentage says nothing."""
SHOWN = 4
"""Parts of a claim written out with their numbers; the rest are counted."""

Measured = Mapping[str, tuple[float, float, float]]
"""Value, low and high by claim id, of claims that rest on more than the tables' cells."""


def claims_table(
    cells: Cells, arms: Sequence[str], fractions: Sequence[float], measured: Measured | None = None
) -> pd.DataFrame:
    """Every claim of the paper's sections 3 and 4 with its verdict.

    Args:
        arms: the profile's fine-tuned arms; the first that is not "all" stands where the paper has Europe.
        fractions: the profile's percentages of labels.

    Returns:
        COLUMNS; ours, low and high are differences of mIoU, or what was measured; NaN where nothing was run.

    Raises:
        SardinoError: a cell the profile asks for is missing; names its run.
    """
    roles = {"all": "all"} if "all" in arms else {}
    if others := [arm for arm in arms if arm != "all"]:
        roles["europe"] = others[0]
    rows = []
    for claim in CLAIMS:
        texts, tables, consistent = paper_side(claim)
        ours = _from_measured(claim, measured or {}) if claim.measured else _from_cells(claim, cells, roles, fractions)
        rows.append([claim.id, claim.section, claim.claim, texts, tables, consistent, *ours])
    return pd.DataFrame(rows, columns=COLUMNS)


def paper_side(claim: Claim) -> tuple[str, str, bool | None]:
    """The text's value, the value recomputed from the paper's own tables, and whether the two agree."""
    if not claim.contrasts:
        return claim.says, "", None
    parts = [c for c in claim.contrasts if c.headline]
    agree = [paper_agrees(contrast) for contrast in claim.contrasts]
    if len(parts) <= SHOWN:
        value = ", ".join(_paper_part(contrast) for contrast in parts)
    else:
        spread = sorted(paper_percent(contrast) for contrast in parts)
        value = f"{sum(agree)} of {len(agree)} parts agree, {spread[0]:+.1f} % to {spread[-1]:+.1f} %"
    return claim.says, value, all(agree)


def claims_markdown(frame: pd.DataFrame, cells: Cells) -> str:
    """The claims as Markdown, with the source of the pixels and the rule below."""
    rows = [
        [
            r.id,
            r.claim,
            r.paper_text_value,
            r.paper_table_value + _flag(r.paper_consistent),
            interval(r),
            r.verdict,
            r.why,
        ]
        for r in frame.itertuples()
    ]
    head = ["id", "claim", "paper's text", "paper's tables", "ours [95 % interval]", "verdict", "why"]
    return document(_title(cells), markdown(head, rows), f"{cells.caution} {RULE}", bold=True)


def claims_text(frame: pd.DataFrame, cells: Cells) -> str:
    """The claims as plain text of at most 120 columns; claims.csv has the reasons."""
    rows = [
        [r.id, r.paper_text_value, {True: "yes", False: "NO"}.get(r.paper_consistent, "-"), interval(r), r.verdict]
        for r in frame.itertuples()
    ]
    head = ["claim", "paper's text", "its tables agree", "ours [95 %]", "verdict"]
    return document(_title(cells), aligned(head, rows), cells.caution)


def _title(cells: Cells) -> str:
    return f"The paper's claims ({cells.provenance}): its text, its own tables, and our runs (difference of mIoU)"


def _from_cells(claim: Claim, cells: Cells, roles: Mapping[str, str], fractions: Sequence[float]) -> list[Any]:
    """ours, low, high, verdict, why."""
    run, left_out = _split_by_run(claim, roles, fractions)
    if not run or (left_out and not claim.partial):
        return [np.nan, np.nan, np.nan, "undecided", f"Not run in this profile: {', '.join(left_out)}."]
    contrasts = [contrast.moved(roles) for contrast in run]
    verdicts: list[Verdict] = [verdict(contrast, cells) for contrast in contrasts]
    headline = [c for c in contrasts if c.headline]
    ours = float(np.mean([c.value(cells.miou) for c in headline]))
    low, high = bounds(np.mean([c.copies(cells) for c in headline], axis=0))
    why = _why(contrasts, verdicts, cells)
    if left_out:
        why += f" Not run in this profile: {', '.join(left_out)}."
    if not all(learnt(contrast, cells) for contrast in contrasts):
        why += " No cell of a part beats the majority-class predictor."
    if len(cells.seeds) == 1:
        why += " One seed."
    return [ours, low, high, all_of(verdicts), why]


def _split_by_run(
    claim: Claim, roles: Mapping[str, str], fractions: Sequence[float]
) -> tuple[list[Contrast], list[str]]:
    """The parts this profile ran, and what the others lack."""
    run, lacking = [], []
    for contrast in claim.contrasts:
        arms = [f"arm '{key.regions}'" for key in contrast.keys if key.regions and key.regions not in roles]
        shares = [f"{key.fraction:g} % of labels" for key in contrast.keys if key.fraction not in fractions]
        if arms or shares:
            lacking += arms + shares
        else:
            run.append(contrast)
    return run, list(dict.fromkeys(lacking))


def _from_measured(claim: Claim, measured: Measured) -> list[Any]:
    if claim.id not in measured:
        return [np.nan, np.nan, np.nan, "undecided", "Not measured in this profile."]
    value, low, high = measured[claim.id]
    if not low <= high:
        raise SardinoError(f"the measurement of claim '{claim.id}' has an interval from {low} to {high}")
    why = f"Measured {value:+.3f} [{low:+.3f}, {high:+.3f}] against its null, where 0 is chance."
    return [value, low, high, judge("more", low, high), why]


def _why(contrasts: Sequence[Contrast], verdicts: Sequence[Verdict], cells: Cells) -> str:
    """One sentence with numbers; a claim of many parts is counted, and its worst part named."""
    if len(contrasts) <= SHOWN:
        return "; ".join(_part(contrast, cells) for contrast in contrasts) + "."
    counts = [f"{verdicts.count(v)} {v}" for v in ("supported", "undecided", "not supported") if v in verdicts]
    worst = min(contrasts, key=lambda contrast: contrast.value(cells.miou))
    return f"Of {len(contrasts)} parts {', '.join(counts)}; the least is {_part(worst, cells)}."


def _part(contrast: Contrast, cells: Cells) -> str:
    low, high = bounds(contrast.copies(cells))
    percent = contrast.relative(cells.miou)
    told = contrast.headline and contrast.percent and abs(percent) < LARGEST_PERCENT
    relative = f" ({percent:+.1f} %)" if told else ""
    return f"{contrast.label}: {contrast.value(cells.miou):+.3f}{relative} [{low:+.3f}, {high:+.3f}]"


def _paper_part(contrast: Contrast) -> str:
    if not contrast.percent:
        return f"{paper_value(contrast):+.3f} mIoU"
    text = f"{paper_percent(contrast):+.1f} % ({contrast.label})"
    if contrast.at is not None:
        text += f" but {paper_percent(contrast.as_text_has_it()):+.1f} % at {contrast.at:g} %"
    return text


def _flag(consistent: bool | None) -> str:
    return " (text and table disagree)" if consistent is False else ""
