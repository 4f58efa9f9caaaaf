"""A run of one's own beside the published one: equal to the last digit, within the interval, or not; and why not."""

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sardino.errors import SardinoError
from sardino.reporting.record import read_record, substance
from sardino.study.workspace import Workspace, own_file, published_file

EQUAL, WITHIN, OUTSIDE, DIFFERS, MISSING = "equal", "within", "outside", "differs", "missing"
"""What has no interval differs where it is not equal; missing is what was published and not made here."""
Finding = tuple[str, str, str, str, str]
KINDS = ("cells", "floors", "tables", "records")
KEYS = ("regions", "encoding", "initialisation")  # that name a row of metrics.csv, with its label fraction


class Said(NamedTuple):
    """What a file says of one thing: all of it, a number to show, and its interval where it has one."""

    content: Any
    value: str = ""
    interval: tuple[float, float] | None = None

    def beside(self, mine: "Said | None") -> str:
        """The verdict on what was published, by what is said of the same here."""
        if mine is None or mine.content == self.content:
            return EQUAL if mine else MISSING
        if self.interval is None:
            return DIFFERS
        return WITHIN if self.interval[0] <= float(mine.value) <= self.interval[1] else OUTSIDE


def verify(space: Workspace) -> tuple[list[Finding], list[str]]:
    """Compare what runs here made with what others published.

    Of each thing its kind, name, verdict, number here and number as published; and what may be why they differ. Raises
    SardinoError: nothing is published, or nothing was run here.
    """
    name, folders = space.profile.name, (space.results, space.build / "published")
    names = {str(path.relative_to(folder)) for folder in folders for path in folder.glob("**/[!.]*")}
    names = {each for each in names if not each.startswith("kept/")}  # to go on from, and not to compare with
    files = {each: path for each in sorted(names) if (path := published_file(space, each))}
    records = {path: space.record(path.stem) for path in files.values() if path.match("runs/*.json")}
    tables = {path: own_file(space, each) for each, path in files.items() if path.suffix == ".csv"}
    if not records:
        raise SardinoError(f"nobody has published results of profile '{name}': there is nothing to compare with")
    pairs = [(read_record(own), read_record(path)) for path, own in records.items() if own.is_file()]
    if not pairs:
        raise SardinoError(f"no run of profile '{name}' was made here: run `sardino reproduce {space.reference}` first")
    found: list[Finding] = []
    for path, own in (records | tables).items():
        mine = _said(own) if own.is_file() else {}
        for key, theirs in _said(path).items():
            here = mine.get(key)
            told = theirs.value + (" [{:.6f}, {:.6f}]".format(*theirs.interval) if theirs.interval else "")
            found.append((*key, theirs.beside(here), here.value if here else "", told))
    return sorted(found, key=lambda each: KINDS.index(each[0])), list(_reasons(pairs))


def passes(found: Sequence[Finding], exact: bool = False) -> bool:
    """Whether nothing is missing or outside its interval; `exact`: whether all is equal."""
    return {verdict for _, _, verdict, *_ in found} <= ({EQUAL} if exact else {EQUAL, WITHIN, DIFFERS})


def in_a_line(found: Sequence[Finding], reasons: Sequence[str]) -> str:
    """How many of each kind came out how, and what may be why."""
    parts = []
    for kind in dict.fromkeys(kind for kind, *_ in found):
        number = Counter(verdict for of, _, verdict, *_ in found if of == kind)
        rest = "".join(f", {count} {verdict}" for verdict, count in sorted(number.items()) if verdict != EQUAL)
        parts.append(f"{number[EQUAL]} of {number.total()} {kind} equal{rest}")
    if not passes(found, exact=True):
        parts.append(", ".join(reasons) or "the records name nothing that differs")
    return "beside what was published: " + "; ".join(parts)


def _said(path: Path) -> dict[tuple[str, str], Said]:
    """What a record or a table says, by kind and name; of a pre-training its first loss is shown."""
    if path.suffix == ".json":
        record = read_record(path)
        return {("records", path.stem): Said(substance(record), f"{record['results'].get('loss_first', '')}")}
    found = {("tables", path.name): Said(path.read_bytes())}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file) if path.name == "metrics.csv" else ():
            kind = "floors" if row["table"] == "0" else "cells"
            name = " ".join(row[each] for each in KEYS if row.get(each)) + f", {float(row['fraction']):g} %"
            found[kind, name] = Said(row, row["miou"], (float(row["miou_low"]), float(row["miou_high"])))
    return found


FACTS = {
    **{"cpu": "processor", "gpu": "GPU", "lock_sha256": "requirements.lock", "python": "Python", "torch": "torch"},
    **{"revision": "code", "dirty": "state of the working tree", "fingerprint": "data"},
    # Precision is bfloat16 where the hardware is faster with it.
    **{name: name for name in ("precision", "steps", "batch", "labelled_tiles", "lr", "decoder_parameters")},
}
"""What results may follow from: its name in a record, or in its parts and cells, and its name for readers."""


def _reasons(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Iterator[str]:
    """What the records of the same runs tell differently."""
    for name, fact in FACTS.items():
        if different := [told for pair in pairs if len(set(told := [_told(record, name) for record in pair])) > 1]:
            yield "other {} ({} here, {} there)".format(fact, *different[0])


def _told(record: Mapping[str, Any], name: str) -> str:
    flat = {**record["results"], **record["data"], **record["code"], **record["hardware"], **record}
    rows = [flat, *record["results"].get("cells", ())]
    return " ".join(dict.fromkeys(str(row[name])[:26] for row in rows if row.get(name) is not None)) or "none"
