"""The claims table: the paper's text against its tables, and against our runs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from sardino.errors import SardinoError
from sardino.evaluation.bootstrap import bounds
from sardino.reporting.rows import SELF_TRAINED
from sardino.reporting.tables.cells import ONE, Cells
from sardino.reporting.tables.contrasts import CLAIMS, RULE, Claim, Contrast, Verdict, all_of, judge
from sardino.reporting.tables.paper import TITLES, CellKey
from sardino.reporting.tables.render import Form, document, interval, marked, rising_note

COLUMNS = ["id", "section", "claim", "paper_text_value", "paper_table_value", "paper_consistent"]
COLUMNS += ["ours", "low", "high", "verdict", "rising", "why"]
LARGEST_PERCENT = 500  # of relative changes that are told: beside a score near 0 a percentage says nothing
SHOWN = 4  # parts of a claim written out with their numbers; the rest are counted
# Value, low and high by claim id, of claims that rest on more than the tables' cells.
Measured = Mapping[str, tuple[float, float, float]]


def claims_table(
    cells: Cells,
    arms: Sequence[str],
    fractions: Sequence[float],
    measured: Measured | None = None,
    claims: Sequence[Claim] = CLAIMS,
) -> pd.DataFrame:
    """Every claim of the paper's sections 3 and 4, or other claims, with its verdict.

    `arms`: the profile's fine-tuned arms; the first that is not "all" stands where the paper has Europe. `fractions`:
    the profile's percentages of labels. Returns COLUMNS; ours, low and high are differences of mIoU, or what was
    measured; NaN where nothing was run. rising: how many of its cells still rise; None where no record tells. Raises
    SardinoError: a cell the profile asks for is missing; names its run.
    """
    roles = {"all": "all"} if "all" in arms else {}
    if others := [arm for arm in arms if arm != "all"]:
        roles["europe"] = others[0]
    rows = []
    for claim in claims:
        texts, tables, consistent = paper_side(claim)
        ours = _from_measured(claim, measured or {}) if claim.measured else _from_cells(claim, cells, roles, fractions)
        rows.append([claim.id, claim.section, claim.claim, texts, tables, consistent, *ours])
    return pd.DataFrame(rows, columns=COLUMNS)


def paper_side(claim: Claim) -> tuple[str, str, bool | None]:
    """The text's value, the value recomputed from the paper's own tables, and whether the two agree."""
    if not (claim.contrasts and claim.says):
        return claim.says, "", None
    parts = [c for c in claim.contrasts if c.headline]
    agree = [contrast.paper_agrees for contrast in claim.contrasts]
    value = ", ".join(map(_paper_part, parts))
    if len(parts) > SHOWN:
        spread = sorted(contrast.paper_percent for contrast in parts)
        value = f"{sum(agree)} of {len(agree)} parts agree, {spread[0]:+.1f} % to {spread[-1]:+.1f} %"
    return claim.says, value, all(agree)


def render_claims(frame: pd.DataFrame, cells: Cells, form: Form = "text") -> str:
    """The claims for readers: Markdown has the reasons and the rule, text has at most 120 columns."""
    if not frame["paper_text_value"].any():
        title = f"Claims of ours ({cells.provenance}): differences of mIoU"
        told = [[r.id, r.claim, interval(r), marked(r.verdict, r), r.why] for r in frame.itertuples()]
        head, many = ["id", "claim", "difference [95 % interval]", "verdict", "why"], form == "markdown"
        table = (head, told) if many else ([head[0], *head[2:4]], [[row[0], *row[2:4]] for row in told])
        return document(form, title, table, f"{cells.caution}{f' {RULE}' if many else ''}{rising_note(frame)}")
    title = f"The paper's claims ({cells.provenance}): its text, its own tables, and our runs (difference of mIoU)"
    rows = []
    for r in frame.itertuples():
        if form == "markdown":
            tables = r.paper_table_value + (" (text and table disagree)" if r.paper_consistent is False else "")
            rows.append([r.id, r.claim, r.paper_text_value, tables, interval(r), marked(r.verdict, r), r.why])
        else:
            agree = {True: "yes", False: "NO"}.get(r.paper_consistent, "-")
            rows.append([r.id, r.paper_text_value, agree, interval(r), marked(r.verdict, r)])
    if form == "markdown":
        head = ["id", "claim", "paper's text", "paper's tables", "ours [95 % interval]", "verdict", "why"]
        return document(form, title, (head, rows), f"{cells.caution} {RULE}{rising_note(frame)}")
    head = ["claim", "paper's text", "its tables agree", "ours [95 %]", "verdict"]
    return document(form, title, (head, rows), f"{cells.caution}{rising_note(frame)}")


def _from_cells(claim: Claim, cells: Cells, roles: Mapping[str, str], fractions: Sequence[float]) -> list[Any]:
    """ours, low, high, verdict, rising, why."""
    known = cells.confusions.keys()
    has = {_row(key) for key in known}
    run: list[Contrast] = []
    lacking: list[str] = []
    for contrast in claim.contrasts:
        absent = {key.regions for key in contrast.keys} - {"", *roles}
        lacks = [f"arm '{key.regions}'" for key in contrast.keys if key.regions in absent]
        lacks += [f"{key.fraction:g} % of labels" for key in contrast.keys if key.fraction not in fractions]
        there = [replace(key, regions=roles.get(key.regions, "")) for key in contrast.keys if key.regions not in absent]
        lacks += [_named(key) for key in there if _row(key) not in has or not (key.table or key in known)]
        lacking += lacks
        run += [] if lacks else [contrast.moved(roles)]
    left_out = f"Not run in this profile: {', '.join(dict.fromkeys(lacking))}."
    if not run or (lacking and not claim.partial):
        return [np.nan, np.nan, np.nan, "undecided", None, left_out]
    verdicts = [contrast.verdict(cells) for contrast in run]
    headline = [contrast for contrast in run if contrast.headline]
    ours = float(np.mean([contrast.value(cells.miou) for contrast in headline]))
    low, high = bounds(np.mean([contrast.copies(cells) for contrast in headline], axis=0))
    why = [_why(run, verdicts, cells)]
    if lacking:
        why.append(left_out)
    if not all(contrast.learnt(cells) for contrast in run):
        why.append("No cell of a part beats the majority-class predictor.")
    keys = {key for contrast in run for key in contrast.keys}
    rises = [rising for key in keys if (rising := cells.rising(key)) is not None]
    if any(rises):
        why.append(f"{sum(rises)} of its {len(keys)} cells still rise.")
    if all(len(cells.told[key]) == 1 for key in keys):
        why.append(f"{ONE}.")
    return [ours, low, high, all_of(verdicts), sum(rises) if rises else None, " ".join(why)]


def _row(key: CellKey) -> tuple[str, ...]:
    """What a profile has or has not."""
    return key.regions, key.encoding, key.initialisation * (key.initialisation == SELF_TRAINED)


def _named(key: CellKey) -> str:
    where, how = (f" of arm '{key.regions}'" if key.regions else ""), ", self-trained" * bool(_row(key)[2])
    return f"'{TITLES[key.encoding]}'{where}{how}"


def _from_measured(claim: Claim, measured: Measured) -> list[Any]:
    if claim.id not in measured:
        return [np.nan, np.nan, np.nan, "undecided", None, "Not measured in this profile."]
    value, low, high = measured[claim.id]
    if not low <= high:
        raise SardinoError(f"the measurement of claim '{claim.id}' has an interval from {low} to {high}")
    why = f"Measured {value:+.3f} [{low:+.3f}, {high:+.3f}] against its null, where 0 is chance."
    return [value, low, high, judge("more", low, high), None, why]


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
        return f"{contrast.paper_value:+.3f} mIoU"
    text = f"{contrast.paper_percent:+.1f} % ({contrast.label})"
    if contrast.at is not None:
        text += f" but {contrast.as_text_has_it().paper_percent:+.1f} % at {contrast.at:g} %"
    return text
