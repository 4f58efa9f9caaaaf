"""Where a profile's numbers come from, as Markdown: code, data, machine and time of the runs that made them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sardino.errors import SardinoError
from sardino.reporting.layout import markdown
from sardino.reporting.readme import duration

Record = Mapping[str, Any]
SHORT = 10
"""Characters of a hash that a table shows."""


def facts(records: Sequence[Record]) -> str:
    """What the runs have in common; where they differ, each value with the number of runs that have it.

    Raises:
        SardinoError: there is no record.
    """
    if not records:
        raise SardinoError("no run of this profile is published: run `sardino reproduce` for it")
    starts = [_finished(record) - timedelta(seconds=record["wall_s"]) for record in records]
    span = (max(map(_finished, records)) - min(starts)).total_seconds()
    rows: list[tuple[str, str]] = [
        ("Pixels", _each(records, lambda r: r["data"].get("source"))),
        ("Reference labels", _each(records, _labels)),
        ("Data fingerprint", _each(records, lambda r: _code(r["data"].get("fingerprint")))),
        ("Seeds", _each(records, _seeds)),
        ("Code revision", _each(records, _revision)),
        ("Lock of the environment", _each(records, lambda r: _code(r["lock_sha256"]))),
        ("Machine", _each(records, _machine)),
        ("Python, torch", _each(records, lambda r: f"{r['python']}, {r['torch']}")),
        ("First start to last end", duration(span)),
        ("Time of all runs, added", duration(sum(record["wall_s"] for record in records))),
        ("Most memory of one run", f"{max(record['peak_memory_mb'] for record in records) / 1024:.1f} GB"),
    ]
    return markdown(["", "Of these runs"], rows)


def runs(records: Sequence[Record], notebooks: Mapping[str, str], linked: Collection[str]) -> str:
    """One row for each run, with the notebook that made it.

    Args:
        records: published records.
        notebooks: notebook stem by name of run.
        linked: stems whose executed notebook lies in notebooks/; the others are named without a link.
    """
    head = ["Run", "Notebook", "Seeds", "Revision", "Data", "Time", "Memory", "Finished (UTC)"]
    return markdown(head, [_row(record, notebooks[record["name"]], linked) for record in records])


def _row(record: Record, notebook: str, linked: Collection[str]) -> list[str]:
    name = f"`{notebook}`"
    return [
        f"`{record['name']}`",
        f"[{name}]({notebook}.ipynb)" if notebook in linked else name,
        _seeds(record),
        _revision(record),
        _code(record["data"].get("fingerprint")) or "-",
        duration(record["wall_s"]),
        f"{record['peak_memory_mb'] / 1024:.1f} GB",
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


def _machine(record: Record) -> str:
    machine = record["hardware"]
    parts = [machine["cpu"], f"{machine['cores']} cores", f"{machine['memory_gb']:.0f} GB", machine.get("gpu")]
    return ", ".join(str(part) for part in [*parts, machine["platform"]] if part)


def _code(digest: Any) -> str | None:
    return f"`{str(digest)[:SHORT]}`" if digest else None


def _finished(record: Record) -> datetime:
    return datetime.fromisoformat(record["finished"])
