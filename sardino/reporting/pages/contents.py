"""What a report shows of a profile's published results: outcome, tables, verdicts, figures, origin of numbers."""

import io
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from sardino.errors import SardinoError
from sardino.reporting.pages.readme import duration, machine_told
from sardino.reporting.tables.paper import TITLES
from sardino.reporting.tables.render import markdown

Record = Mapping[str, Any]
SHORT = 10
"""Characters of a hash that a table shows."""
COLOURS = 256
"""A palette holds the flat colours of maps and legends exactly, at a third of the size."""
TOLD = {
    "fig1": (
        "The pipeline: backscatter to self-supervised pre-training, to land-cover maps, to tables.",
        "Diagram of the pipeline: tiles, pre-training, fine-tuning, evaluation.",
    ),
    "fig2": (
        "Backscatter, three attention heads, the maps predicted from attention alone and from backscatter with "
        "attention, and the reference. The first heads and tiles are shown, not the best.",
        "Grid of example tiles: radar image, attention maps, two predicted land-cover maps, reference map.",
    ),
    "fig3": (
        "Tiles of each region, coloured by split. Splits are geographic bands, so that neighbours stay together.",
        "Maps of tiles by region; bands of training, validation and test tiles alternate.",
    ),
    "fig4": (
        "Land cover of example test tiles, in the legend's own colours. Tiles were chosen by hash, not by eye.",
        "Grid of small land-cover maps with the legend of their classes.",
    ),
    "fig5": (
        "Attention of the pre-trained backbone beside other views of the same places. The first heads are shown, and "
        "tiles chosen by hash.",
        "Grid of example tiles: radar image, attention maps, and reference layers such as land cover.",
    ),
    "attention_scores": (
        "What each head sees: how much more clearly its map separates the patches of a tile, by class or amount, than "
        "the best of three maps that cannot have seen it. Hatched where the 95 % interval does not lie above 0.",
        "Grid of attention heads by land-cover classes and layers; shade and number tell the score beyond its nulls.",
    ),
    "fig2_heads": (
        "Figure 2 with every head of its backbone.",
        "Grid of example tiles: radar image, all attention maps, two predicted land-cover maps, reference map.",
    ),
    "fig5_heads": (
        "Every head of the backbone, attention rolled out through all its blocks, and its tokens' main directions as "
        "red, green and blue, beside the other views.",
        "Grid of example tiles: radar image, all attention maps, rollout, tokens as colours, and reference layers.",
    ),
    "label_efficiency": (
        "mIoU over the number of labelled tiles, arm by arm, with 95 % intervals; below, the paper's values.",
        "Curves that rise with the number of labels, one per arm; a second row shows the paper's.",
    ),
    "pretraining": (
        "One line for each backbone: the loss, and the signs that it has not collapsed.",
        "Curves over pre-training steps: loss, entropies and the spread of the outputs.",
    ),
    "realism": (
        "The synthetic world measured beside Sentinel-1: levels, speckle and correlation.",
        "Pairs of radar images with histograms of backscatter and curves of correlation.",
    ),
}
"""Per file stem, in the order of a report: caption and alternative text."""


@dataclass(frozen=True)
class Illustration:
    """One figure of a report: stem of its file, PNG of at most 256 colours, text for who cannot see it, and caption."""

    stem: str
    png: bytes
    alt: str
    caption: str


def outcome(folder: Path) -> str:
    """The best cell of Tables 1 and 2 and the count of verdicts of results/<profile>, as a list.

    Raises:
        SardinoError: a table is missing.
    """
    lines = [f"- Table {number}: {_best(_frame(folder, f'table{number}'))}" for number in (1, 2)]
    verdicts = _frame(folder, "claims")["verdict"].value_counts()
    counts = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
    return "\n".join([*lines, f"- Of the paper's {verdicts.sum()} claims: {counts}."])


def tables(folder: Path) -> list[str]:
    """Tables 1 to 3 as published, each Markdown."""
    paths = [folder / f"table{number}.md" for number in (1, 2, 3)]
    if missing := [path for path in paths if not path.is_file()]:
        raise SardinoError(f"{missing[0]} does not exist: run `sardino reproduce {folder.name}`")
    return [path.read_text(encoding="utf-8") for path in paths]


def reasons(folder: Path) -> str:
    """One paragraph per claim: its verdict, the paper's text and tables, and the rule's reason."""
    return "\n".join(_reason(row) for row in _frame(folder, "claims").itertuples())


def illustrations(folder: Path) -> list[Illustration]:
    """The published figures of figures/<profile>, in reading order; those this module does not know come last.

    A part, as pretraining-europe is of pretraining, is left out.

    Raises:
        SardinoError: a file is no image.
    """
    stems = {path.stem for path in folder.glob("*.png") if not path.name.startswith(".")}
    known = [stem for stem in TOLD if stem in stems]
    others = sorted(stem for stem in stems - set(known) if stem.partition("-")[0] not in TOLD)
    shown = []
    for stem in [*known, *others]:
        name = stem.replace("_", " ").replace("-", " ").capitalize()
        if stem.startswith("fig"):  # the paper's number
            number, _, part = stem[3:].partition("_")
            name = f"Figure {number}, all {part}" if part else f"Figure {number}"
        caption, alt = TOLD.get(stem, ("", name))
        shown.append(Illustration(stem, _small(folder / f"{stem}.png"), alt, f"**{name}.** {caption}".rstrip()))
    return shown


def facts(records: Sequence[Record]) -> str:
    """What the runs have in common; where they differ, each value with the number of runs that have it.

    Raises:
        SardinoError: there is no record.
    """
    if not records:
        raise SardinoError("no run of this profile is published: run `sardino reproduce` for it")
    starts = [_finished(record) - timedelta(seconds=record["wall_s"]) for record in records]
    span = (max(map(_finished, records)) - min(starts)).total_seconds()
    shared: dict[str, Callable[[Record], str | None]] = {
        "Pixels": lambda record: record["data"].get("source"),
        "Reference labels": _labels,
        "Data fingerprint": lambda record: _code(record["data"].get("fingerprint")),
        "Seeds": _seeds,
        "Code revision": _revision,
        "Lock of the environment": lambda record: _code(record["lock_sha256"]),
        "Machine": lambda record: f"{machine_told(record['hardware'])}, {record['hardware']['platform']}",
        "Python, torch": lambda record: f"{record['python']}, {record['torch']}",
    }
    rows = [(name, _each(records, read)) for name, read in shared.items()]
    rows += [
        ("First start to last end", duration(span)),
        ("Time of all runs, added", duration(sum(record["wall_s"] for record in records))),
        ("Most memory of one run", _memory(max(record["peak_memory_mb"] for record in records))),
    ]
    return markdown(["", "Of these runs"], rows)


def runs(records: Sequence[Record], notebooks: Mapping[str, str], linked: Collection[str]) -> str:
    """One row for each run, with the notebook that made it.

    Args:
        notebooks: notebook stem by name of run.
        linked: stems whose executed notebook lies in notebooks/; the others are named without a link.
    """
    head = ["Run", "Notebook", "Seeds", "Revision", "Data", "Time", "Memory", "Finished (UTC)"]
    return markdown(head, [_row(record, notebooks[record["name"]], linked) for record in records])


def _frame(folder: Path, name: str) -> pd.DataFrame:
    path = folder / f"{name}.csv"
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise SardinoError(f"{path} cannot be read ({error}): run `sardino reproduce {folder.name}`") from error


def _best(frame: pd.DataFrame) -> str:
    row = frame.loc[frame["miou"].idxmax()]
    encoding, start = str(row["encoding"]), str(row["initialisation"])
    where = [TITLES[encoding], TITLES[start].lower(), f"{row['fraction']:g} % of labels"]
    if "regions_title" in frame:
        where.append(f"backbone of {row['regions_title']}")
    paper = "" if pd.isna(row["paper_miou"]) else f"; the paper has {row['paper_miou']:.3f} there"
    return f"highest mIoU {row['miou']:.3f} [{row['low']:.3f}, {row['high']:.3f}] ({', '.join(where)}){paper}."


def _reason(row: Any) -> str:
    differ = " (text and tables disagree)" if pd.notna(row.paper_consistent) and not row.paper_consistent else ""
    paper = f"The paper's text: {_stated(row.paper_text_value)}; its tables: {_stated(row.paper_table_value)}{differ}."
    return f"- **{row.claim}** *{str(row.verdict).capitalize()}.* {paper} Here: {_stated(row.why)}"


def _stated(value: Any) -> str:
    return "none stated" if pd.isna(value) else str(value)


def _small(path: Path) -> bytes:
    """The image with a palette of its own, as PNG."""
    buffer = io.BytesIO()
    try:
        with Image.open(path) as image:
            reduced = image.convert("RGB").quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    except OSError as error:
        raise SardinoError(f"{path} is not an image ({error}): make the profile's figures again") from error
    reduced.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _row(record: Record, notebook: str, linked: Collection[str]) -> list[str]:
    return [
        f"`{record['name']}`",
        f"[`{notebook}`]({notebook}.ipynb)" if notebook in linked else f"`{notebook}`",
        _seeds(record),
        _revision(record),
        _code(record["data"].get("fingerprint")) or "-",
        duration(record["wall_s"]),
        _memory(record["peak_memory_mb"]),
        f"{_finished(record):%Y-%m-%d %H:%M}",
    ]


def _each(records: Sequence[Record], read: Callable[[Record], str | None]) -> str:
    """Distinct values, the most frequent first; runs without one are not counted."""
    values = [value for record in records if (value := read(record))]
    distinct = sorted(set(values), key=lambda value: (-values.count(value), value))
    if len(distinct) < 2:
        return distinct[0] if distinct else "-"
    return "; ".join(f"{value} ({values.count(value)} of {len(records)} runs)" for value in distinct)


def _labels(record: Record) -> str | None:
    labels = record["data"].get("labels")
    return f"{labels} (derived from an image, no product)" if labels and record["data"].get("derived") else labels


def _seeds(record: Record) -> str:
    return ", ".join(map(str, record["seeds"]))


def _revision(record: Record) -> str:
    code = record["code"]
    changed = " **with uncommitted changes**" if code["dirty"] is True else ""
    return f"{_code(code['revision'])}{changed}"


def _memory(mb: float) -> str:
    return f"{mb / 1024:.1f} GB"


def _code(digest: Any) -> str | None:
    return f"`{str(digest)[:SHORT]}`" if digest else None


def _finished(record: Record) -> datetime:
    return datetime.fromisoformat(record["finished"])
