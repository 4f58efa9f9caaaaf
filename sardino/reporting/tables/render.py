"""The one writer of tables for readers: plain text, Markdown and LaTeX, laid out like the paper's."""

import textwrap
from collections.abc import Sequence
from typing import Any, Literal

import pandas as pd

from sardino.evaluation.floors import FEATURES, MODELS
from sardino.reporting.rows import INITIALISATIONS
from sardino.reporting.tables.cells import Cells
from sardino.reporting.tables.paper import TITLES, paper_arm

Form = Literal["text", "markdown", "latex"]
Grid = tuple[Sequence[str], Sequence[Sequence[str]]]  # heads and rows
HOW_TO_READ = "Each cell: this run's mIoU [its interval] (the paper's)."
SPECIAL = {character: f"\\{character}" for character in "&%$#_{}"}
SPECIAL |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", '"': "''"}
SPECIAL |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}


def table1(frame: pd.DataFrame, cells: Cells, form: Form = "text") -> str:
    """Table 1: a grid per arm; as text, of at most 120 columns, per arm and encoding; as LaTeX one of all arms."""
    title = f"Table 1 ({cells.provenance}). mIoU of land-cover maps from attention maps and from tokens"
    arms = [(str(arm), part) for arm, part in frame.groupby("regions", sort=False)]
    if form == "latex":
        keys = {"Pre-trained on": "regions_title", "Read from": "encoding", "Backbone": "initialisation"}
        others = [_arm_heading(arm, part) for arm, part in arms if paper_arm(arm) != arm]
        return latex(_long_grid(frame, keys), title, [*others, _notes(cells)], "tab:miou-vit")
    parts: list[str | Grid] = []
    for arm, part in arms:
        parts += [heading(_arm_heading(arm, part), form), *_grids(part, form)]
    return document(form, title, *parts, _notes(cells))


def table2(frame: pd.DataFrame, cells: Cells, form: Form = "text") -> str:
    """Table 2: one grid; as text one per U-Net."""
    title = f"Table 2 ({cells.provenance}). mIoU of a supervised U-Net, without and with attention maps"
    if form == "latex":
        grid = _long_grid(frame, {"Model": "encoding", "Backbone": "initialisation"})
        return latex(grid, title, [_notes(cells)], "tab:miou-unet")
    return document(form, title, *_grids(frame, form), _notes(cells))


def table3(frame: pd.DataFrame, where: str, form: Form = "text") -> str:
    """Table 3, a parameter a row, its differences as numbered notes; `where` says which data the runs saw."""
    title = f"Table 3 ({where}). Pre-training parameters, the paper's beside this run's"
    heads = [name for name in frame.columns if name != "difference"]
    rows: list[list[str]] = []
    numbers: dict[str, int] = {}
    for row in frame.astype(str).to_dict("records"):
        if row["difference"]:
            row["parameter"] += f" [{numbers.setdefault(row['difference'], len(numbers) + 1)}]"
        rows.append([row[name] for name in heads])
    notes = [f"{number}. {note}" for note, number in numbers.items()]
    if form == "latex":
        return latex((heads, rows), title, notes, "tab:pretraining")
    if form == "text":
        notes = [textwrap.fill(note, 120, subsequent_indent="   ") for note in notes]
    return document(form, title, (heads, rows), "\n".join(notes))


def floors(frame: pd.DataFrame, unets: pd.DataFrame, cells: Cells, form: Form = "text") -> str:
    """What single pixels give with the same labels, above Table 2's U-Nets: models down, label fractions across.

    Args:
        frame: of sardino.evaluation.floors.
        unets: Table 2.
    """
    named = [(_floor(row.model, row.features), row) for row in frame.itertuples()]
    named += [(f"{TITLES[row.encoding]}, {TITLES[row.initialisation].lower()}", row) for row in unets.itertuples()]
    told: dict[str, dict[float, str]] = {}
    for name, row in named:
        told.setdefault(name, {})[row.fraction] = scored(row)
    fractions = list(dict.fromkeys(frame["fraction"]))
    rows = [[name, *(entries.get(fraction, "-") for fraction in fractions)] for name, entries in told.items()]
    title = f"Floors ({cells.provenance}). mIoU of simple models of single pixels, beside the U-Nets of Table 2"
    notes = (
        f"Each cell: mIoU [its interval]. All rows learn from the same labelled tiles; a floor from "
        f"{frame['pixels'].max():,} of their pixels at most. {cells.caution} Reference: {cells.labels}."
    )
    return document(form, title, (["", *(f"{fraction:g} %" for fraction in fractions)], rows), notes)


def document(form: Form, title: str, *parts: str | Grid) -> str:
    """A title, and below it sentences and grids."""
    writer = markdown if form == "markdown" else aligned
    told = [part if isinstance(part, str) else writer(*part) for part in parts]
    return "\n\n".join([heading(title, form), *told]).rstrip() + "\n"


def heading(text: str, form: Form) -> str:
    """A line of its own, bold where the form can."""
    return f"**{text}**" if form == "markdown" else text


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(text).replace("|", "\\|") for text in line) + " |" for line in lines)


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Plain text: columns padded to their widest entry, a rule below the heads."""
    table = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)).rstrip() for row in table]
    return "\n".join([lines[0], "-" * (sum(widths) + 2 * len(widths) - 2), *lines[1:]])


def latex(grid: Grid, caption: str, notes: Sequence[str], label: str) -> str:
    """A table environment; needs the packages booktabs and graphicx."""
    heads, rows = grid
    frame = pd.DataFrame([list(map(escaped, row)) for row in rows], columns=list(map(escaped, heads)))
    tabular = frame.to_latex(index=False, column_format="l" * len(heads)).strip()
    below = "\n".join(rf"\par {escaped(note)}" for note in notes)
    return (
        "% Needs \\usepackage{booktabs,graphicx}.\n"
        "\\begin{table}\n\\centering\n"
        f"\\caption{{{escaped(caption)}.}}\n\\label{{{label}}}\n"
        f"\\resizebox{{\\linewidth}}{{!}}{{%\n{tabular}%\n}}\n"
        f"\\begin{{minipage}}{{\\linewidth}}\n\\footnotesize\n{below}\n\\end{{minipage}}\n"
        "\\end{table}\n"
    )


def escaped(text: str) -> str:
    """Plain text as LaTeX prints it."""
    return text.translate({ord(character): told for character, told in SPECIAL.items()})


def scored(row: Any) -> str:
    """A mIoU and its interval."""
    return f"{row.miou:.3f} [{row.low:.3f}, {row.high:.3f}]"


def entry(row: Any) -> str:
    """One cell: our mIoU, its interval, the paper's."""
    return f"{scored(row)} ({'-' if pd.isna(row.paper_miou) else f'{row.paper_miou:.3f}'})"


def interval(row: Any) -> str:
    """A difference and its interval; "-" where nothing was run."""
    return "-" if pd.isna(row.ours) else f"{row.ours:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"


def _notes(cells: Cells) -> str:
    """What stands below Tables 1 and 2."""
    floor = f"Always predicting the most frequent class scores {cells.miou_majority:.3f}."
    return f"{HOW_TO_READ} {cells.caution} {floor} Reference: {cells.labels}."


def _arm_heading(arm: str, part: pd.DataFrame) -> str:
    """An arm's title; one that is not the paper's says so."""
    title = str(part["regions_title"].iloc[0])
    if paper_arm(arm) == arm:
        return title
    labels = "derived labels, " if part["derived"].iloc[0] else ""
    return f"{title} ({labels}a different task: the paper's Europe rows stand beside it for orientation only)"


def _floor(model: str, features: str) -> str:
    known = {"none": "", "channels": f": {FEATURES['channels']}"}
    return MODELS[model].capitalize() + known.get(features, f": these {FEATURES.get(features)}")


def _grids(frame: pd.DataFrame, form: Form) -> list[Grid]:
    """Initialisations down, encodings and fractions across; as text an encoding a grid, for lines of 120 columns."""
    if form == "text" and frame["encoding"].nunique() > 1:
        return [grid for _, part in frame.groupby("encoding", sort=False) for grid in _grids(part, form)]
    columns = list(frame[["encoding", "fraction"]].drop_duplicates().itertuples(index=False, name=None))
    told = {(row.encoding, row.fraction, row.initialisation): entry(row) for row in frame.itertuples()}
    heads = ["", *(f"{TITLES[encoding]}, {fraction:g} %" for encoding, fraction in columns)]
    if frame["encoding"].nunique() == 1:
        heads = [TITLES[columns[0][0]], *(f"{fraction:g} %" for _, fraction in columns)]
    present = [start for start in INITIALISATIONS if start in set(frame["initialisation"])]
    # "-" where the paper has "-".
    return [(heads, [[TITLES[start], *(told.get((*c, start), "-") for c in columns)] for start in present])]


def _long_grid(frame: pd.DataFrame, keys: dict[str, str]) -> Grid:
    """All keys down, fractions across; a key that repeats the row above is left blank."""
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
