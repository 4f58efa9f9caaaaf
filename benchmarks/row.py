"""Rows of a benchmark: a figure beside a named peer's or a limit's from the same run, with the machine and commit."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sardino.errors import SardinoError
from sardino.files import write_json
from sardino.reporting.record import hardware, revision
from sardino.reporting.tables.render import markdown


@dataclass(frozen=True)
class Row:
    """One measured comparison.

    Args:
        name: what was measured.
        value: ours, in `unit`.
        unit: for example "tiles/s"; for a limit, the limit's unit.
        peer: who or what it is compared with, by name; "" where the figure stands alone.
        peer_value: the peer's figure from the same run, in `unit`.
        ratio: over 1 where ours is better; of a limit, the share of it.
        bar: the ratio to reach; None where there is none.
    """

    name: str
    value: float
    unit: str
    peer: str = ""
    peer_value: float | None = None
    ratio: float | None = None
    bar: float | None = None


NEEDED = {*Row.__dataclass_fields__, "hardware", "revision", "date"}


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
    return rows


def as_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Benchmark rows as a Markdown table."""
    return markdown(["What", "Here", "Peer or limit", "Its figure", "Ratio", "Bar"], [_cells(row) for row in rows])


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
    peer = "-" if row["peer_value"] is None else f"{row['peer_value']:.4g} {row['unit']}"
    ratio = "-" if row["ratio"] is None else f"{row['ratio']:.2f}"
    bar = "-" if row["bar"] is None else f"{row['bar']:g}"
    return [row["name"], f"{row['value']:.4g} {row['unit']}", row["peer"] or "-", peer, ratio, bar]
