"""The one writer of tables for readers: plain text, Markdown and LaTeX, laid out like the paper's."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from sardino.evaluation.floors import FEATURES, MODELS, PIXELS
from sardino.evaluation.scores import RISING
from sardino.files import read_toml
from sardino.reporting.rows import SELF_TRAINED
from sardino.reporting.tables.cells import Cells
from sardino.reporting.tables.paper import TITLES, paper_arm
from sardino.reporting.tables.tables import arms_and_floors

Form = Literal["text", "markdown", "latex"]
Grid = tuple[Sequence[str], Sequence[Sequence[str]]]  # heads and rows
NOTES: dict[str, str] = read_toml(Path(__file__).with_name("notes.toml"))
HOW_TO_READ = "Each cell: this run's mIoU [its interval] (the paper's)."
ABOUT_FLOORS = f"Each floor learns from {PIXELS:,} pixels of the same labelled tiles at most. Channels: "
ABOUT_FLOORS += f"{FEATURES['channels']}; channels and surroundings: {FEATURES['surroundings']}."
RISES, STRONGEST = "\N{UPWARDS ARROW}", "*"  # marks behind a mIoU
SPECIAL = {character: f"\\{character}" for character in "&%$#_{}"}
SPECIAL |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", '"': "''"}
SPECIAL |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", RISES: r"\textuparrow{}"}


def table1(frame: pd.DataFrame, cells: Cells, form: Form = "text") -> str:
    """Table 1: a grid per arm; as text, of at most 120 columns, per arm and encoding; as LaTeX one of all arms."""
    title = f"Table 1 ({cells.provenance}). mIoU of land-cover maps from attention maps and from tokens"
    rows, floors = arms_and_floors(frame)
    keys, arms = {"Read from": "encoding", "Backbone": "initialisation"}, list(rows.groupby("regions", sort=False))
    if form == "latex":
        keys = {"Pre-trained on": "regions_title", **keys}
        others = [_arm_heading(str(arm), part) for arm, part in arms if paper_arm(str(arm)) != arm]
        notes = [*others, *_notes(frame, cells)]
        return latex(_long_grid(rows, keys), title, notes, "tab:miou-vit", _long_grid(floors, keys)[1])
    parts: list[str | Grid] = []
    for arm, part in arms:
        parts += [heading(_arm_heading(str(arm), part), form), *_grids(part, keys, form)]
    return document(form, title, *parts, *_floors(floors, form), *_notes(frame, cells))


def table2(frame: pd.DataFrame, cells: Cells, form: Form = "text") -> str:
    """Table 2: one grid; as text one per U-Net."""
    title = f"Table 2 ({cells.provenance}). mIoU of a supervised U-Net, without and with attention maps"
    rows, floors = arms_and_floors(frame)
    keys, notes = {"Model": "encoding", "Backbone": "initialisation"}, _notes(frame, cells)
    notes += [NOTES["whole"]] * cells.whole + [NOTES[SELF_TRAINED]] * (SELF_TRAINED in set(frame["initialisation"]))
    if form == "latex":
        return latex(_long_grid(rows, keys), title, notes, "tab:miou-unet", _long_grid(floors, keys)[1])
    return document(form, title, *_grids(rows, keys, form), *_floors(floors, form), *notes)


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


def latex(grid: Grid, caption: str, notes: Sequence[str], label: str, more: Sequence[Sequence[str]] = ()) -> str:
    """A table environment, more rows below a rule; needs the packages booktabs and graphicx."""
    heads, rows = grid
    cells = [list(map(escaped, row)) for row in [*rows, *more]]
    frame = pd.DataFrame(cells, columns=list(map(escaped, heads)))
    lines = frame.to_latex(index=False, column_format="l" * len(heads)).strip().split("\n")
    end = lines.index(r"\bottomrule") - len(more)
    tabular = "\n".join([*lines[:end], *[r"\midrule"] * bool(more), *lines[end:]])
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
    """A mIoU with its marks, and its interval."""
    marks = RISES * _is(row, "rising") + STRONGEST * _is(row, "strongest")
    return f"{row.miou:.3f}{marks} [{row.low:.3f}, {row.high:.3f}]"


def entry(row: Any) -> str:
    """One cell: our mIoU, its interval, the paper's; the paper has no floors."""
    if row.encoding in MODELS:
        return scored(row)
    return f"{scored(row)} ({'-' if pd.isna(row.paper_miou) else f'{row.paper_miou:.3f}'})"


def interval(row: Any) -> str:
    """A difference and its interval; "-" where nothing was run."""
    return "-" if pd.isna(row.ours) else f"{row.ours:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"


def marked(text: str, row: Any) -> str:
    """What is told of a row, marked where a cell behind it still rises."""
    return f"{text} {RISES}" if _is(row, "rising") else text


def rising_note(frame: pd.DataFrame) -> str:
    """What that mark says, where a row has it."""
    return f" {RISES} a cell behind it still rises." * any(_is(row, "rising") for row in frame.itertuples())


def _is(row: Any, name: str) -> bool:
    """Whether a column says so; not where it is empty, as it is of older records."""
    value = getattr(row, name, None)
    return bool(pd.notna(value) and value)


def _notes(frame: pd.DataFrame, cells: Cells) -> list[str]:
    """What stands below Tables 1 and 2, a paragraph each."""
    rows, floors = arms_and_floors(frame)
    known = rows["rising"].dropna().astype(bool)
    rising = f"{RISES} still rising, that is the last fifth of its steps gained more than {RISING} mIoU on validation "
    rising += f"tiles: {known.sum()} of {len(known)} cells." if len(known) else "tiles: not recorded."
    reading = f"{HOW_TO_READ} {cells.caution} {rising} Reference: {cells.labels}."
    return [reading, _beside_floors(rows, floors), _sizes(rows)]


def _beside_floors(rows: pd.DataFrame, floors: pd.DataFrame) -> str:
    """Which floor is the strongest, and by name the arms that stay below it."""
    if floors.empty:
        return "Floors: not recorded."
    best = floors[floors["strongest"]].set_index("fraction")["miou"]
    below: dict[str, list[str]] = {}
    for row in rows.itertuples():
        if row.miou < best.get(row.fraction, 0.0):
            below.setdefault(named(row, "encoding", "initialisation"), []).append(f"{row.fraction:g} %")
    told = "; ".join(f"{name} ({', '.join(fractions)})" for name, fractions in below.items())
    return f"{STRONGEST} the strongest floor of a column; below it: {told or 'no arm'}. {ABOUT_FLOORS}"


def named(row: Any, *columns: str) -> str:
    """A row of a table by some of its columns, in words."""
    names = [getattr(row, column, "") for column in ("regions_title", *columns)]
    return " / ".join(TITLES.get(name, name) for name in names if name)


def _sizes(rows: pd.DataFrame) -> str:
    """Parameters of each network, and of its decoder."""
    told: dict[str, dict[str, None]] = {}
    for row in rows.itertuples():
        network, decoder = ("-" if pd.isna(n) else f"{n:,}" for n in (row.parameters, row.decoder_parameters))
        told.setdefault(named(row, "encoding"), {})[f"{network} ({decoder})"] = None
    each = "; ".join(f"{name} {' or '.join(sizes)}" for name, sizes in told.items())
    return f"Parameters (of the decoder alone): {each}."


def _floors(frame: pd.DataFrame, form: Form) -> list[str | Grid]:
    """The floors' heading and grid, as they stand below Tables 1 and 2; nothing where they were not run."""
    grid = _long_grid(frame, {"Model": "encoding", "Told of a pixel": "initialisation"})
    return [] if frame.empty else [heading("Floors: single pixels, with the same labelled tiles", form), grid]


def _arm_heading(arm: str, part: pd.DataFrame) -> str:
    """An arm's title; one that is not the paper's says so."""
    title = str(part["regions_title"].iloc[0])
    if paper_arm(arm) == arm:
        return title
    labels = "derived labels, " if part["derived"].iloc[0] else ""
    return f"{title} ({labels}a different task: the paper's Europe rows stand beside it for orientation only)"


def _grids(frame: pd.DataFrame, keys: dict[str, str], form: Form) -> list[str | Grid]:
    """One grid; as text one for each encoding below its title, for lines of 120 columns."""
    if form != "text":
        return [_long_grid(frame, keys)]
    told: list[str | Grid] = []
    for encoding, part in frame.groupby("encoding", sort=False):
        told += [TITLES[str(encoding)], _long_grid(part, {"": "initialisation"})]
    return told


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
