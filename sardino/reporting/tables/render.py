"""The one writer of tables for readers: Markdown, plain text and LaTeX, laid out like the paper's."""

import textwrap
from collections.abc import Sequence
from typing import Any

import pandas as pd

from sardino.reporting.rows import INITIALISATIONS
from sardino.reporting.tables.cells import Cells
from sardino.reporting.tables.paper import TITLES, paper_arm

HOW_TO_READ = "Each cell: this run's mIoU [its interval] (the paper's)."
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


def table1_markdown(frame: pd.DataFrame, cells: Cells) -> str:
    """Table 1 as Markdown, one grid per arm."""
    parts = []
    for arm, part in frame.groupby("regions", sort=False):
        parts += [f"**{_arm_heading(str(arm), part)}**", markdown(*_grid(part))]
    return document(_title1(cells), *parts, _notes(cells), bold=True)


def table1_text(frame: pd.DataFrame, cells: Cells) -> str:
    """Table 1 as plain text of at most 120 columns, one grid per arm and encoding."""
    parts = []
    for arm, part in frame.groupby("regions", sort=False):
        grids = [aligned(*_grid(group)) for _, group in part.groupby("encoding", sort=False)]
        parts += [_arm_heading(str(arm), part), *grids]
    return document(_title1(cells), *parts, _notes(cells))


def table1_latex(frame: pd.DataFrame, cells: Cells) -> str:
    """Table 1: arms, encodings and initialisations down, fractions across."""
    keys = {"Pre-trained on": "regions_title", "Read from": "encoding", "Backbone": "initialisation"}
    parts = frame.groupby("regions", sort=False)
    others = [_arm_heading(str(arm), part) for arm, part in parts if paper_arm(str(arm)) != arm]
    return _latex(*_scores(frame, keys), _title1(cells), [*others, _notes(cells)], "tab:miou-vit")


def table2_markdown(frame: pd.DataFrame, cells: Cells) -> str:
    """Table 2 as Markdown."""
    return document(_title2(cells), markdown(*_grid(frame)), _notes(cells), bold=True)


def table2_text(frame: pd.DataFrame, cells: Cells) -> str:
    """Table 2 as plain text, one grid per U-Net."""
    grids = [aligned(*_grid(group)) for _, group in frame.groupby("encoding", sort=False)]
    return document(_title2(cells), *grids, _notes(cells))


def table2_latex(frame: pd.DataFrame, cells: Cells) -> str:
    """Table 2: U-Nets and initialisations down, fractions across."""
    keys = {"Model": "encoding", "Backbone": "initialisation"}
    return _latex(*_scores(frame, keys), _title2(cells), [_notes(cells)], "tab:miou-unet")


def table3_markdown(frame: pd.DataFrame, where: str) -> str:
    """Table 3 as Markdown, its differences as numbered notes; `where` says which data the runs saw."""
    heads, rows, remarks = _numbered(frame)
    return document(_title3(where), markdown(heads, rows), "\n".join(remarks), bold=True)


def table3_text(frame: pd.DataFrame, where: str) -> str:
    """Table 3 as plain text, its differences as numbered notes."""
    heads, rows, remarks = _numbered(frame)
    folded = [textwrap.fill(note, 120, subsequent_indent="   ") for note in remarks]
    return document(_title3(where), aligned(heads, rows), "\n".join(folded))


def table3_latex(frame: pd.DataFrame, where: str) -> str:
    """Table 3: a parameter a row, its differences as numbered notes."""
    heads, rows, remarks = _numbered(frame)
    return _latex(heads, rows, _title3(where), remarks, "tab:pretraining")


def document(title: str, *parts: str, bold: bool = False) -> str:
    """A title, in Markdown bold, and what stands below it."""
    return "\n\n".join([f"**{title}**" if bold else title, *parts]).rstrip() + "\n"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(text).replace("|", "\\|") for text in line) + " |" for line in lines)


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Plain text: columns padded to their widest entry, a rule below the heads."""
    table = [list(head), *map(list, rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    lines = ["  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)).rstrip() for row in table]
    return "\n".join([lines[0], "-" * (sum(widths) + 2 * len(widths) - 2), *lines[1:]])


def entry(row: Any) -> str:
    """One cell: our mIoU, its interval, the paper's."""
    beside = "-" if pd.isna(row.paper_miou) else f"{row.paper_miou:.3f}"
    return f"{row.miou:.3f} [{row.low:.3f}, {row.high:.3f}] ({beside})"


def interval(row: Any) -> str:
    """A difference and its interval; "-" where nothing was run."""
    return "-" if pd.isna(row.ours) else f"{row.ours:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"


def escaped(text: str) -> str:
    """Plain text as LaTeX prints it."""
    return text.translate(SPECIAL)


def _title1(cells: Cells) -> str:
    return f"Table 1 ({cells.provenance}). mIoU of land-cover maps from attention maps and from tokens"


def _title2(cells: Cells) -> str:
    return f"Table 2 ({cells.provenance}). mIoU of a supervised U-Net, without and with attention maps"


def _title3(where: str) -> str:
    return f"Table 3 ({where}). Pre-training parameters, the paper's beside this run's"


def _notes(cells: Cells) -> str:
    """What stands below Tables 1 and 2."""
    floor = f"Always predicting the most frequent class scores {cells.miou_majority:.3f}."
    return f"{HOW_TO_READ} {cells.caution} {floor} Reference: {cells.labels}."


def _arm_heading(arm: str, part: pd.DataFrame) -> str:
    """An arm's title; one that is not the paper's says so."""
    title = str(part["regions_title"].iloc[0])
    if paper_arm(arm) == arm:
        return title
    labels = "derived labels, " if bool(part["derived"].iloc[0]) else ""
    return f"{title} ({labels}a different task: the paper's Europe rows stand beside it for orientation only)"


def _grid(frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Heads and rows: initialisations down, encodings and fractions across, "-" where the paper has "-"."""
    columns = list(frame[["encoding", "fraction"]].drop_duplicates().itertuples(index=False, name=None))
    told = {(r.encoding, r.fraction, r.initialisation): entry(r) for r in frame.itertuples()}
    present = [name for name in INITIALISATIONS if name in set(frame["initialisation"])]
    heads = [f"{TITLES[encoding]}, {fraction:g} %" for encoding, fraction in columns]
    if len({encoding for encoding, _ in columns}) == 1:
        heads = [f"{fraction:g} %" for _, fraction in columns]
        corner = TITLES[columns[0][0]]
    else:
        corner = ""
    return [corner, *heads], [[TITLES[row], *(told.get((*c, row), "-") for c in columns)] for row in present]


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


def _numbered(frame: pd.DataFrame) -> tuple[list[str], list[list[str]], list[str]]:
    """Heads and rows without the differences, each parameter with the number of its note; the notes, each once."""
    heads = [name for name in frame.columns if name != "difference"]
    rows: list[list[str]] = []
    numbers: dict[str, int] = {}
    for row in frame.astype(str).to_dict("records"):
        if row["difference"]:
            row["parameter"] += f" [{numbers.setdefault(row['difference'], len(numbers) + 1)}]"
        rows.append([row[name] for name in heads])
    return heads, rows, [f"{number}. {note}" for note, number in numbers.items()]


def _latex(
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
