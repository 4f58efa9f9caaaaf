"""The numbers of README.md and docs/: blocks between markers, written anew from results/ or specs, none typed by hand.

A block is `<!-- sardino:NAME PROFILE -->`, what is written, `<!-- /sardino:NAME -->`; one of the whole project has no
PROFILE.

    python tools/readme.py
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from sardino.data.sources.folder.specification import FolderSpec, built_in_specs
from sardino.errors import SardinoError
from sardino.files import write_text
from sardino.reporting import pages
from sardino.reporting.rows import ENCODINGS, INITIALISATIONS
from sardino.reporting.tables.paper import BASELINES, TITLES
from sardino.reporting.tables.render import RISES, entry, markdown, scored
from sardino.reporting.tables.tables import arms_and_floors

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from row import all_benchmarks, first_benchmarks

PROFILES = ("laptop", "real", "paper")
"""Whose timing is shown; smoke is a check, and every `make test` runs it anew."""
BLOCK = re.compile(r"(<!-- sardino:(\w+)(?: ([\w-]+))? -->\n)(.*?)(<!-- /sardino:\2 -->)", re.DOTALL)
SHOWN_PERCENT = 10.0
"""The most labels that the paper has."""


def refresh(root: Path) -> list[Path]:
    """Rewrite the marked blocks of README.md and docs/*.md of a project folder; return the pages that this changed.

    Raises:
        SardinoError: an unknown or unclosed block, or a result that cannot be read.
    """
    changed = []
    for page in (root / "README.md", *sorted((root / "docs").glob("*.md"))):
        if not page.is_file():
            continue
        before = page.read_text(encoding="utf-8")
        after = rendered(before, root, page.name)
        if after != before:
            changed.append(write_text(after, page))
    return changed


def rendered(text: str, root: Path, name: str = "README.md") -> str:
    """A page's text with every marked block written anew from the project folder."""
    opened, closed = text.count("<!-- sardino:"), text.count("<!-- /sardino:")
    if not opened == closed == len(BLOCK.findall(text)):
        raise SardinoError(f"{name} opens {opened} marked blocks and closes {closed}: each needs both of its markers")

    def block(match: re.Match[str]) -> str:
        kind, profile = match[2], match[3]
        if profile is None and kind in OF_PROJECT:
            content = OF_PROJECT[kind](root)
        elif profile is not None and kind in OF_PROFILE:
            content = OF_PROFILE[kind](root / "results" / profile)
        else:
            known = f"{', '.join(OF_PROJECT)}, or {', '.join(OF_PROFILE)} with a profile"
            raise SardinoError(f"{name}: no block '{kind}'; known: {known}")
        return f"{match[1]}{content.strip()}\n{match[5]}"

    return BLOCK.sub(block, text)


def timing(root: Path) -> str:
    """One row for each published profile: what it took, on which machine."""
    paths = [root / "results" / profile / "run.json" for profile in PROFILES]
    rows = [_timing_row(path) for path in paths if path.is_file()]
    if not rows:
        return "_Not run yet: `make reproduce` writes this._"
    return markdown(["Profile", "Notebook runs", "Wall time", "Peak memory", "Machine", "Finished", "Revision"], rows)


def notebooks(root: Path) -> str:
    """How many notebooks there are; each with its question."""
    rows = []
    for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.py")):
        source = path.read_text(encoding="utf-8")
        title, question = re.search(r"^# # (.+)$", source, re.MULTILINE), re.search(r"\*\*(.+?)\*\*", source, re.DOTALL)
        if title is None or question is None:
            raise SardinoError(f"{path} does not begin with a title and its question in bold")
        asked = " ".join(question[1].replace("\n#", " ").split())
        number = path.stem[:2]  # a report of its own, notebook 09 does not begin with it
        name = title[1] if title[1].startswith(number) else f"{number} {title[1]}"
        rows.append([f"[{name}](notebooks/{path.stem}.ipynb)", asked])
    return f"{len(rows)} notebooks, in reading order:\n\n{markdown(['Notebook', 'Question'], rows)}"


def public_sets(_: Path) -> str:
    """The public data sets that have a folder spec: where each comes from, as its spec says."""
    rows = []
    for spec in map(FolderSpec.load, built_in_specs()):
        if spec.origin is not None:
            from_, labels = spec.origin, spec.labels.source != "none"
            chips = f"{from_.chips:,}" if from_.chips else "not counted"
            link = f"[{spec.title}]({from_.url})" if from_.url.startswith("http") else f"{spec.title}, `{from_.url}`"
            told = f"{spec.legend.name}: {len(spec.legend)} classes" if labels else "none"
            rows.append([f"`{spec.name}`", link, chips, from_.size, from_.licence, told])
    return markdown(["Spec", "Set", "Chips", "Size", "Licence", "Labels"], rows)


def findings(folder: Path) -> str:
    """The scores at the most labels that the paper has, one row for each model, and how many claims hold."""
    try:
        frames = [pd.read_csv(folder / f"table{number}.csv") for number in (1, 2)]
    except FileNotFoundError:
        return _missing(folder)
    (first, floors), (second, _) = map(arms_and_floors, frames)
    # The arm of Table 1 that has most regions, which is its last, as in the paper.
    first = first[first["regions"] == first["regions"].iloc[-1]]
    told = {
        (row.encoding, row.initialisation): entry(row)
        for row in pd.concat([first, second]).itertuples()
        if row.fraction == SHOWN_PERCENT
    }
    rows = [
        [TITLES[encoding], *(told.get((encoding, start), "-") for start in INITIALISATIONS)]
        for encoding in (*ENCODINGS, *BASELINES)
    ]
    for row in floors[floors["fraction"] == SHOWN_PERCENT].nlargest(1, "miou").itertuples():
        rows.append([f"Strongest floor: {TITLES[row.encoding].lower()} of single pixels", scored(row), "-", "-"])
    notes = [f"Of the paper's {pages.counted(pages.read_table(folder, 'claims'))}"]
    notes += [f"{RISES} still rising when its steps ended."] if any(RISES in text for text in told.values()) else []
    head = [f"{SHOWN_PERCENT:g} % of labels: mIoU [95 %] (paper)", *(TITLES[start] for start in INITIALISATIONS)]
    return f"{markdown(head, rows)}\n\n{' '.join(notes)}"


def claims(folder: Path) -> str:
    """The paper's claims with what was measured here; the reasons stay in claims.csv."""
    return pages.claims(folder) if (folder / "claims.csv").is_file() else _missing(folder)


def one_date(folder: Path) -> str:
    """What tools/real_chips.py measured of the built-in models for one image."""
    if not (folder / "one_date.csv").is_file():
        return "_Not run yet: `python tools/real_chips.py FOLDER` writes this._"
    rows = []
    for row in pages.read_table(folder, "one_date").itertuples():
        spread = f"[{row.beyond_low:.2f}, {row.beyond_high:.2f}]" if pd.notna(row.beyond_low) else "(too few bands)"
        beyond = f"{row.beyond:.2f} {spread}" if pd.notna(row.beyond) else "-"
        rows.append([row.what, row.on, row.measure, f"{row.value:.2f}", beyond])
    return markdown(["What", "On", "Measure", "Value", "Beyond the best null [95 %]"], rows)


def _published(name: str) -> Callable[[Path], str]:
    """The block that shows one published table, e.g. results/laptop/table1.md."""

    def block(folder: Path) -> str:
        path = folder / f"{name}.md"
        return path.read_text(encoding="utf-8") if path.is_file() else _missing(folder)

    return block


def _missing(folder: Path) -> str:
    return f"_Not run yet: `make reproduce PROFILE={folder.name}` writes this._"


def _timing_row(path: Path) -> list[str]:
    try:
        run: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return [
            f"`{run['profile']}`",
            str(run["runs"]),
            pages.duration(float(run["wall_s"])),
            f"{float(run['peak_memory_mb']) / 1024:.1f} GB",
            pages.machine_told(run["hardware"]),
            str(run["finished"])[:10],
            f"`{str(run['revision'])[:10]}`",
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SardinoError(f"{path} cannot be read ({error}): run 'make reproduce' for its profile again") from error


OF_PROJECT: dict[str, Callable[[Path], str]] = {
    "timing": timing,
    "notebooks": notebooks,
    "public_sets": public_sets,
    "first_benchmarks": lambda root: first_benchmarks(root / "results" / "benchmarks"),
    "benchmarks": lambda root: all_benchmarks(root / "results" / "benchmarks"),
}
OF_PROFILE: dict[str, Callable[[Path], str]] = {
    "findings": findings,
    "claims": claims,
    "one_date": one_date,
    **{name: _published(name) for name in ("table1", "table2", "label_efficiency", "attention_scores", "effects")},
}


if __name__ == "__main__":
    try:
        refresh(Path())
    except SardinoError as error:
        sys.exit(str(error))
