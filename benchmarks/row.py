"""Rows of a benchmark: a figure beside a named peer's or a limit's from the same run, with the machine and commit."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from sardino.errors import SardinoError
from sardino.files import write_json
from sardino.reporting.record import hardware, revision
from sardino.reporting.tables.render import markdown

Kind = Literal["peer", "limit", "least", "most"]
"""What a row stands beside: a peer, a limit that no code can pass, or nothing but the least or the most it may be."""

FIRST: dict[str, tuple[str, ...]] = {
    "A step of pre-training": ("pretraining", "448 px", "step in", "bfloat16"),
    "A step of fine-tuning": ("finetuning", "Fine-tuning step in", "bfloat16"),
    "A map of land cover": ("scenes", "Land cover, U-Net:", "bfloat16"),
    "A map of attention": ("scenes", "Attention:", "bfloat16"),
    "Reading tiles to train on": ("store", "Store,", "448 px"),
    "Making a tile": ("world", "mean composite", "448 px"),
    "Scoring a map": ("metrics", "all scores"),
    "What pre-training adds": ("learning", "gain over random init"),
    "Going on where a sweep stopped": ("sweep", "with nothing changed"),
    "Memory for a larger scene": ("scenes", "times the area, peak"),
}
"""What a user asks first: the benchmark that answers, and words in the name of its row."""


@dataclass(frozen=True)
class Row:
    """One measured figure.

    Args:
        name: what was measured.
        value: ours, in `unit`.
        unit: for example "tiles/s".
        peer: who or what it is compared with, by name; "" where the figure stands alone.
        peer_value: the peer's or the limit's figure from the same run, in `unit`.
        ratio: over 1 where ours is better than a peer's; of a limit, the share of it that is reached.
        bar: the ratio to reach; of "least" and "most", the figure itself, in `unit`. None where there is none.
        kind: what it stands beside.
    """

    name: str
    value: float
    unit: str
    peer: str = ""
    peer_value: float | None = None
    ratio: float | None = None
    bar: float | None = None
    kind: Kind = "peer"


NEEDED = {*Row.__dataclass_fields__, "hardware", "revision", "date"} - {"kind"}
"""Columns of a published row. One that was published before rows had a kind reads as compared with a peer."""


def write_benchmark(rows: Sequence[Row], path: Path) -> str:
    """Write the rows as JSON with hardware, revision and date, and return them as a Markdown table."""
    facts = {"hardware": hardware(), "revision": revision(), "date": datetime.now(UTC).date().isoformat()}
    document = [{**asdict(row), **facts} for row in rows]
    write_json(document, path)
    return as_markdown(document)


def read_benchmark(path: Path) -> list[dict[str, Any]]:
    """The rows of one benchmark; SardinoError where the file is none."""
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        if not rows or not all(row.keys() >= NEEDED for row in rows):
            raise ValueError("it holds no row, or a row lacks a column")
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise SardinoError(f"{path} cannot be read ({error}): run its benchmark again") from error
    return [{"kind": "peer", **row} for row in rows]


def as_markdown(rows: Iterable[dict[str, Any]]) -> str:
    """Benchmark rows as a Markdown table."""
    return markdown(["What", "Here", "Peer or limit", "Its figure", "Ratio", "Bar"], [_cells(row) for row in rows])


def answer(question: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Of a benchmark's rows the first that answers one of the questions of FIRST."""
    _, *words = FIRST[question]
    return next((row for row in rows if all(word in row["name"] for word in words)), None)


def first_benchmarks(folder: Path) -> str:
    """The rows that a user cares for first, of those that are published."""
    published = {path.stem: read_benchmark(path) for path in sorted(folder.glob("*.json"))}
    found = {question: answer(question, published.get(FIRST[question][0], [])) for question in FIRST}
    rows = [{**row, "name": f"**{question}**: {row['name']}"} for question, row in found.items() if row]
    return as_markdown(rows) if rows else "_Not run yet._"


def all_benchmarks(folder: Path) -> str:
    """The rows of all published benchmarks, and on which machine and commit each was run."""
    parts = []
    for path in sorted(folder.glob("*.json")):
        rows = read_benchmark(path)
        machine, commit = rows[0]["hardware"], str(rows[0]["revision"])
        where = f"{machine['cpu']}, {machine['cores']} cores, revision `{commit[:10]}`, {rows[0]['date']}"
        parts.append(f"`python benchmarks/{path.stem}.py`, {where}:\n\n{as_markdown(rows)}")
    return "\n\n".join(parts) or "_Not run yet._"


def _cells(row: dict[str, Any]) -> list[str]:
    kind, unit = row["kind"], row["unit"]
    peer = f"limit: {row['peer']}" if kind == "limit" else row["peer"] or "-"
    figure = "-" if row["peer_value"] is None else f"{row['peer_value']:.4g} {unit}"
    ratio = "-" if row["ratio"] is None else _ratio(row["ratio"], kind, 2)
    return [row["name"], f"{row['value']:.4g} {unit}", peer, figure, ratio, _bar(row)]


def _bar(row: dict[str, Any]) -> str:
    bar, kind = row["bar"], row["kind"]
    if bar is None:
        return "-"
    if kind in ("least", "most"):
        kept = row["value"] >= bar if kind == "least" else row["value"] <= bar
        told = f"at {kind} {bar:.4g} {row['unit']}"
    else:
        kept, told = row["ratio"] >= bar, _ratio(bar, kind, None)
    return told if kept else f"{told}, missed"


def _ratio(value: float, kind: Kind, digits: int | None) -> str:
    """A share of a limit in percent, times of a peer's figure."""
    if kind == "limit":
        return f"{100 * value:.0f} %"
    return f"{value:.3g} ×" if digits is None else f"{value:.{digits}f} ×"
