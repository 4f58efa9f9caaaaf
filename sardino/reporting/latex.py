"""Tables for papers: LaTeX with booktabs, our numbers with their intervals, the paper's beside."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from sardino.reporting.cells import Cells
from sardino.reporting.layout import arm_heading, entry, notes, numbered, title1, title2, title3
from sardino.reporting.paper import TITLES, paper_arm

SPECIAL = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': "''",
    }
)


def escaped(text: str) -> str:
    """Plain text as LaTeX prints it."""
    return text.translate(SPECIAL)


def table1_latex(frame: pd.DataFrame, cells: Cells) -> str:
    """Table 1: arms, encodings and initialisations down, fractions across."""
    keys = {"Pre-trained on": "regions_title", "Read from": "encoding", "Backbone": "initialisation"}
    others = [
        arm_heading(str(arm), part) for arm, part in frame.groupby("regions", sort=False) if paper_arm(arm) != arm
    ]
    return _document(*_scores(frame, keys), title1(cells), [*others, notes(cells)], "tab:miou-vit")


def table2_latex(frame: pd.DataFrame, cells: Cells) -> str:
    """Table 2: U-Nets and initialisations down, fractions across."""
    keys = {"Model": "encoding", "Backbone": "initialisation"}
    return _document(*_scores(frame, keys), title2(cells), [notes(cells)], "tab:miou-unet")


def table3_latex(frame: pd.DataFrame, where: str) -> str:
    """Table 3: a parameter a row, its differences as numbered notes."""
    heads, rows, remarks = numbered(frame)
    return _document(heads, rows, title3(where), remarks, "tab:pretraining")


def _scores(frame: pd.DataFrame, keys: dict[str, str]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows; a key that repeats the row above is left blank."""
    fractions = list(dict.fromkeys(frame["fraction"]))
    rows: list[list[str]] = []
    above: list[str] = []
    for place, part in frame.groupby(list(keys.values()), sort=False):
        names = [TITLES.get(str(name), str(name)) for name in place]
        told = {row.fraction: entry(row) for row in part.itertuples()}
        shown = ["" if names[: i + 1] == above[: i + 1] else name for i, name in enumerate(names)]
        rows.append([*shown, *(told.get(fraction, "-") for fraction in fractions)])
        above = names
    return [*keys, *(f"{fraction:g} % of labels" for fraction in fractions)], rows


def _document(
    heads: Sequence[str], rows: Sequence[Sequence[Any]], caption: str, remarks: Sequence[str], label: str
) -> str:
    """A table environment; needs the packages booktabs and graphicx."""
    grid = pd.DataFrame([[escaped(str(cell)) for cell in row] for row in rows], columns=list(map(escaped, heads)))
    tabular = grid.to_latex(index=False, column_format="l" * len(heads)).strip()
    below = "\n".join(rf"\par {escaped(remark)}" for remark in remarks)
    return (
        "% Needs \\usepackage{booktabs,graphicx}.\n"
        "\\begin{table}\n\\centering\n"
        f"\\caption{{{escaped(caption)}.}}\n\\label{{{label}}}\n"
        f"\\resizebox{{\\linewidth}}{{!}}{{%\n{tabular}%\n}}\n"
        f"\\begin{{minipage}}{{\\linewidth}}\n\\footnotesize\n{below}\n\\end{{minipage}}\n"
        "\\end{table}\n"
    )
