"""The numbers in README.md: blocks between markers, rewritten from results/, so that none is typed by hand."""

import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from sardino.errors import SardinoError
from sardino.files import write_text
from sardino.reporting.record import code_state, hardware
from sardino.reporting.tables.render import markdown

# Rows of a benchmark: a figure beside a named peer's or a limit's from the same run, with the machine and commit.


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


def write_benchmark(rows: Sequence[Row], path: Path) -> str:
    """Write the rows as JSON with hardware, revision and date, and return them as a Markdown table."""
    code = code_state()
    facts = {
        "hardware": hardware(),
        "revision": f"{code['revision']}{'+changes' if code['dirty'] is True else ''}",
        "date": datetime.now(UTC).date().isoformat(),
    }
    document = [{**asdict(row), **facts} for row in rows]
    write_text(json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n", path)
    return as_markdown(document)


def read_benchmark(path: Path) -> list[dict[str, Any]]:
    """The rows of one benchmark; SardinoError where the file is none."""
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        needed = {"name", "value", "unit", "peer", "peer_value", "ratio", "bar", "hardware", "revision", "date"}
        if not rows or not all(needed <= row.keys() for row in rows):
            raise ValueError("it holds no row, or a row lacks a column")
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise SardinoError(f"{path} cannot be read ({error}): run its benchmark again") from error
    return rows


def as_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Benchmark rows as a Markdown table."""
    head = ["What", "Here", "Peer or limit", "Its figure", "Ratio", "Bar"]
    return markdown(head, [_cells(row) for row in rows])


def _cells(row: dict[str, Any]) -> list[str]:
    peer = "-" if row["peer_value"] is None else f"{row['peer_value']:.4g} {row['unit']}"
    ratio = "-" if row["ratio"] is None else f"{row['ratio']:.2f}"
    bar = "-" if row["bar"] is None else f"{row['bar']:g}"
    return [row["name"], f"{row['value']:.4g} {row['unit']}", row["peer"] or "-", peer, ratio, bar]


PROFILES = ("laptop", "desktop", "real", "paper")
"""Whose timing README.md shows; smoke is a check, and every `make test` runs it anew."""
BLOCK = re.compile(r"(<!-- sardino:(\w+)(?: ([\w-]+))? -->\n)(.*?)(<!-- /sardino:\2 -->)", re.DOTALL)


def refresh(readme: Path, results: Path) -> bool:
    """Rewrite the marked blocks of a README; return whether that changed the file.

    Args:
        readme: text with blocks `<!-- sardino:NAME PROFILE -->...<!-- /sardino:NAME -->`.
        results: folder with one folder of published results for each profile.

    Raises:
        SardinoError: an unknown or unclosed block, or a result that cannot be read.
    """
    before = readme.read_text(encoding="utf-8")
    after = rendered(before, results)
    if after == before:
        return False
    write_text(after, readme)
    return True


def rendered(text: str, results: Path) -> str:
    """Return a README's text with every marked block written anew."""
    opened, closed = text.count("<!-- sardino:"), text.count("<!-- /sardino:")
    if not opened == closed == len(BLOCK.findall(text)):
        raise SardinoError(
            f"README.md opens {opened} marked blocks and closes {closed}: each needs both of its markers"
        )

    def block(match: re.Match[str]) -> str:
        name, profile = match[2], match[3]
        if name == "timing" and profile is None:
            content = timing(results)
        elif name == "benchmarks" and profile is None:
            content = benchmarks(results / "benchmarks")
        elif name in BLOCKS and profile is not None:
            content = BLOCKS[name](results / profile)
        else:
            raise SardinoError(
                f"README.md: no block '{name}'; known: timing, benchmarks, or {', '.join(BLOCKS)} with a profile"
            )
        return f"{match[1]}{content.strip()}\n{match[5]}"

    return BLOCK.sub(block, text)


def timing(results: Path) -> str:
    """Return one row for each published profile: what it took, on which machine."""
    runs = [_run(path) for profile in PROFILES if (path := results / profile / "run.json").is_file()]
    if not runs:
        return "_Not run yet: `make reproduce` writes this._"
    head = ["Profile", "Notebook runs", "Wall time", "Peak memory", "Machine", "Finished", "Revision"]
    return markdown(head, [_timing_row(run) for run in runs])


def table(name: str) -> Callable[[Path], str]:
    """Return the block that shows one published table, e.g. results/laptop/table1.md."""

    def block(folder: Path) -> str:
        path = folder / f"{name}.md"
        return path.read_text(encoding="utf-8") if path.is_file() else _missing(folder)

    return block


def claims(folder: Path) -> str:
    """Return the paper's claims with what was measured here; the reasons stay in claims.csv."""
    path = folder / "claims.csv"
    if not path.is_file():
        return _missing(folder)
    frame = pd.read_csv(path)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in frame["verdict"].value_counts().items())
    rows = [[row.claim, _measured(row), row.verdict] for row in frame.itertuples()]
    grid = markdown(["The paper's claim", "Here [95 % interval]", "Verdict"], rows)
    return f"{len(frame)} claims: {counts}.\n\n{grid}"


def benchmarks(folder: Path) -> str:
    """Return the rows of all published benchmarks, and on which machine and commit each was run."""
    parts = []
    for path in sorted(folder.glob("*.json")):
        rows = read_benchmark(path)
        machine, revision = rows[0]["hardware"], str(rows[0]["revision"])
        where = f"{machine['cpu']}, {machine['cores']} cores, revision `{revision[:10]}`, {rows[0]['date']}"
        parts.append(f"`python benchmarks/{path.stem}.py`, {where}:\n\n{as_markdown(rows)}")
    return "\n\n".join(parts) or "_Not run yet._"


BLOCKS: dict[str, Callable[[Path], str]] = {
    "table1": table("table1"),
    "table2": table("table2"),
    "label_efficiency": table("label_efficiency"),
    "attention_scores": table("attention_scores"),
    "claims": claims,
}


def _missing(folder: Path) -> str:
    return f"_Not run yet: `make reproduce PROFILE={folder.name}` writes this._"


def _measured(row: Any) -> str:
    return "-" if pd.isna(row.ours) else f"{row.ours:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"


def _run(path: Path) -> dict[str, Any]:
    try:
        run: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        _timing_row(run)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SardinoError(f"{path} cannot be read ({error}): run 'make reproduce' for its profile again") from error
    return run


def _timing_row(run: dict[str, Any]) -> list[str]:
    machine = run["hardware"]
    parts = [machine["cpu"], f"{machine['cores']} cores", f"{machine['memory_gb']:.0f} GB", machine.get("gpu")]
    return [
        f"`{run['profile']}`",
        str(run["runs"]),
        duration(float(run["wall_s"])),
        f"{float(run['peak_memory_mb']) / 1024:.1f} GB",
        ", ".join(str(part) for part in parts if part),
        str(run["finished"])[:10],
        f"`{str(run['revision'])[:10]}`",
    ]


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever a reader would say."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


if __name__ == "__main__":
    try:
        refresh(Path("README.md"), Path("results"))
    except SardinoError as error:
        sys.exit(str(error))
