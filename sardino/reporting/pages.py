"""What a report shows of a profile's published results: outcome, tables, verdicts, figures, origin of numbers."""

import io
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from sardino.errors import SardinoError
from sardino.files import read_toml
from sardino.progress import duration
from sardino.reporting.tables.paper import TITLES
from sardino.reporting.tables.render import interval, markdown, marked, rising_note, scored
from sardino.reporting.tables.tables import arms_and_floors

Record = Mapping[str, Any]
SHORT = 10  # characters of a hash that a table shows
COLOURS = 128  # a palette holds the flat colours of maps and legends exactly, and is much smaller
TOLD = read_toml(Path(__file__).with_name("captions.toml"))  # per file stem, in the order of a report


@dataclass(frozen=True)
class Illustration:
    """One figure of a report: stem of its file, PNG of few colours, text for who cannot see it, and caption."""

    stem: str
    png: bytes
    alt: str
    caption: str


def outcome(folder: Path) -> str:
    """The best cell of Tables 1 and 2, its floor, and the count of verdicts of results/<profile>, as a list.

    Raises SardinoError: a table is missing.
    """
    lines = []
    for number in (1, 2):
        frame, floors = arms_and_floors(read_table(folder, f"table{number}"))
        best = frame.loc[frame["miou"].idxmax()]
        where = [TITLES[best.encoding], TITLES[best.initialisation].lower(), f"{best.fraction:g} % of labels"]
        where += [f"backbone of {best.regions_title}"] if "regions_title" in frame else []
        paper = "" if pd.isna(best.paper_miou) else f"; the paper has {best.paper_miou:.3f} there"
        beside = floors.loc[floors["fraction"] == best.fraction, "miou"]
        floor = f"; the strongest floor has {beside.max():.3f}" if len(beside) else ""
        lines.append(f"- Table {number}: highest mIoU {scored(best)} ({', '.join(where)}){paper}{floor}.")
    return "\n".join([*lines, f"- Of the paper's {counted(read_table(folder, 'claims'))}"])


def tables(folder: Path) -> list[str]:
    """Tables 1 to 3 as published, each Markdown."""
    paths = [folder / f"table{number}.md" for number in (1, 2, 3)]
    if missing := [path for path in paths if not path.is_file()]:
        raise SardinoError(f"{missing[0]} does not exist: run `sardino reproduce {folder.name}`")
    return [path.read_text(encoding="utf-8") for path in paths]


def claims(folder: Path) -> str:
    """The paper's claims with what was measured here; `reasons` has the rest."""
    frame = read_table(folder, "claims")
    rows = [[row.claim, interval(row), marked(row.verdict, row)] for row in frame.itertuples()]
    grid = markdown(["The paper's claim", "Here [95 % interval]", "Verdict"], rows)
    return f"{counted(frame)}{rising_note(frame)}\n\n{grid}"


def reasons(folder: Path) -> str:
    """One paragraph per claim: its verdict, the paper's text and tables, and the rule's reason."""
    lines = []
    for row in read_table(folder, "claims").itertuples():
        values = (row.paper_text_value, row.paper_table_value, row.why)
        text, table, why = ("none stated" if pd.isna(value) else str(value) for value in values)
        differ = " (text and tables disagree)" if pd.notna(row.paper_consistent) and not row.paper_consistent else ""
        paper = f"The paper's text: {text}; its tables: {table}{differ}."
        lines.append(f"- **{row.claim}** *{row.verdict.capitalize()}.* {paper} Here: {why}")
    return "\n".join(lines)


def read_table(folder: Path, name: str) -> pd.DataFrame:
    """A published table; SardinoError says which run makes it."""
    path = folder / f"{name}.csv"
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise SardinoError(f"{path} cannot be read ({error}): run `sardino reproduce {folder.name}`") from error


def counted(claims: pd.DataFrame) -> str:
    """How many claims there are, and how many of each verdict."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in claims["verdict"].value_counts().items())
    return f"{len(claims)} claims: {counts}."


def illustrations(folder: Path) -> list[Illustration]:
    """The published figures of figures/<profile>, in reading order; those without a caption come last.

    A part, as fig5_heads is of fig5, is left out. Raises SardinoError: a file is no image.
    """
    stems = {path.stem for path in folder.glob("*.png") if not path.name.startswith(".")}
    others = sorted(stem for stem in stems - set(TOLD) if re.split("[-_]", stem)[0] not in TOLD)
    shown = []
    for stem in [*(stem for stem in TOLD if stem in stems), *others]:
        name = stem.replace("_", " ").replace("-", " ").capitalize()
        if stem.startswith("fig"):  # the paper's number
            name = f"Figure {stem[3:]}"
        told = TOLD.get(stem, {"caption": "", "alt": name})
        caption = f"**{name}.** {told['caption']}".rstrip()
        shown.append(Illustration(stem, _small(folder / f"{stem}.png"), told["alt"], caption))
    return shown


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


def facts(records: Sequence[Record]) -> str:
    """What the runs have in common; where they differ, each value with the number of runs that have it.

    Raises SardinoError: there is no record.
    """
    if not records:
        raise SardinoError("no run of this profile is published: run `sardino reproduce` for it")
    origins = [_origin(record) for record in records]
    rows = [(name, _each([origin[name] for origin in origins])) for name in origins[0]]
    starts = [_finished(record) - timedelta(seconds=record["wall_s"]) for record in records]
    span = max(map(_finished, records)) - min(starts)
    rows += [
        ("First start to last end", duration(span.total_seconds())),
        ("Time of all runs, added", duration(sum(record["wall_s"] for record in records))),
        ("Most memory of one run", _memory(max(record["peak_memory_mb"] for record in records))),
    ]
    return markdown(["", "Of these runs"], rows)


def _origin(record: Record) -> dict[str, str | None]:
    """What a run's numbers rest on; None where nothing is known."""
    data, hardware, labels = record["data"], record["hardware"], record["data"].get("labels")
    if labels and data.get("derived"):
        labels = f"{labels} (derived from an image, no product)"
    return {
        "Pixels": data.get("source"),
        "Reference labels": labels,
        "Data fingerprint": _short(data.get("fingerprint")),
        "Seeds": _seeds(record),
        "Code revision": _revision(record),
        "Lock of the environment": _short(record["lock_sha256"]),
        "Machine": f"{machine_told(hardware)}, {hardware['platform']}",
        "Python, torch": f"{record['python']}, {record['torch']}",
    }


def _each(values: Sequence[str | None]) -> str:
    """Distinct values, the most frequent first; runs without one are not counted."""
    counts = Counter(value for value in values if value)
    distinct = sorted(counts, key=lambda value: (-counts[value], value))
    if len(distinct) > 1:
        return "; ".join(f"{value} ({counts[value]} of {len(values)} runs)" for value in distinct)
    return distinct[0] if distinct else "-"


def runs(records: Sequence[Record], notebooks: Mapping[str, str], linked: Collection[str]) -> str:
    """One row for each run, with the notebook that made it.

    `notebooks`: notebook stem by name of run. `linked`: stems whose executed notebook lies in notebooks/; the others
    are named without a link.
    """
    head = ["Run", "Notebook", "Seeds", "Revision", "Data", "Time", "Memory", "Finished (UTC)"]
    rows = []
    for record in records:
        notebook, data = notebooks[record["name"]], _short(record["data"].get("fingerprint")) or "-"
        link = f"[`{notebook}`]({notebook}.ipynb)" if notebook in linked else f"`{notebook}`"
        used = [duration(record["wall_s"]), _memory(record["peak_memory_mb"]), f"{_finished(record):%Y-%m-%d %H:%M}"]
        rows.append([f"`{record['name']}`", link, _seeds(record), _revision(record), data, *used])
    return markdown(head, rows)


def machine_told(hardware: Mapping[str, Any]) -> str:
    """Processor, cores, memory and GPU, for readers."""
    parts = [hardware["cpu"], f"{hardware['cores']} cores", f"{hardware['memory_gb']:.0f} GB", hardware.get("gpu")]
    return ", ".join(str(part) for part in parts if part)


def _seeds(record: Record) -> str:
    return ", ".join(map(str, record["seeds"]))


def _revision(record: Record) -> str:
    changed = " **with uncommitted changes**" if record["code"]["dirty"] is True else ""
    return f"{_short(record['code']['revision'])}{changed}"


def _memory(mb: float) -> str:
    return f"{mb / 1024:.1f} GB"


def _short(digest: Any) -> str | None:
    return f"`{str(digest)[:SHORT]}`" if digest else None


def _finished(record: Record) -> datetime:
    return datetime.fromisoformat(record["finished"])
