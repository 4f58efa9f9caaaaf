"""What a profile's published results say, as Markdown: the outcome, the tables, and the reason of each verdict."""

from pathlib import Path
from typing import Any

import pandas as pd

from sardino.errors import SardinoError
from sardino.reporting.paper import TITLES

TABLES = ("table1", "table2", "table3")


def outcome(folder: Path) -> str:
    """The best cell of Tables 1 and 2 and the count of verdicts, as a list.

    Args:
        folder: published results, for example results/laptop.

    Raises:
        SardinoError: a table is missing.
    """
    lines = [f"- Table {number}: {_best(_frame(folder, f'table{number}'))}" for number in (1, 2)]
    verdicts = _frame(folder, "claims")["verdict"].value_counts()
    counts = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
    return "\n".join([*lines, f"- Of the paper's {verdicts.sum()} claims: {counts}."])


def tables(folder: Path) -> list[str]:
    """Tables 1 to 3 as published, each Markdown."""
    paths = [folder / f"{name}.md" for name in TABLES]
    if missing := [path for path in paths if not path.is_file()]:
        raise SardinoError(f"{missing[0]} does not exist: run `sardino reproduce {folder.name}`")
    return [path.read_text(encoding="utf-8") for path in paths]


def reasons(folder: Path) -> str:
    """One paragraph per claim: its verdict, the paper's text and tables, and the rule's reason."""
    return "\n".join(_reason(row) for row in _frame(folder, "claims").itertuples())


def _reason(row: Any) -> str:
    differ = " (text and tables disagree)" if pd.notna(row.paper_consistent) and not row.paper_consistent else ""
    paper = f"The paper's text: {_stated(row.paper_text_value)}; its tables: {_stated(row.paper_table_value)}{differ}."
    return f"- **{row.claim}** *{str(row.verdict).capitalize()}.* {paper} Here: {_stated(row.why)}"


def _stated(value: Any) -> str:
    return "none stated" if pd.isna(value) else str(value)


def _best(frame: pd.DataFrame) -> str:
    row = frame.loc[frame["miou"].idxmax()]
    encoding, start = str(row["encoding"]).replace("_", "+"), str(row["initialisation"])
    where = [TITLES[encoding], TITLES[start].lower(), f"{row['fraction']:g} % of labels"]
    if "regions_title" in frame:
        where.append(f"backbone of {row['regions_title']}")
    paper = "" if pd.isna(row["paper_miou"]) else f"; the paper has {row['paper_miou']:.3f} there"
    return f"highest mIoU {row['miou']:.3f} [{row['low']:.3f}, {row['high']:.3f}] ({', '.join(where)}){paper}."


def _frame(folder: Path, name: str) -> pd.DataFrame:
    path = folder / f"{name}.csv"
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise SardinoError(f"{path} cannot be read ({error}): run `sardino reproduce {folder.name}`") from error
