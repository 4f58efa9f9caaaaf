"""Writing results: each file appears whole, under its final name, or not at all."""

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd


def write_text(text: str, path: Path) -> Path:
    """A UTF-8 text file, atomically; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    partial.write_text(text, encoding="utf-8", newline="\n")
    os.replace(partial, path)
    return path


def write_csv(frame: pd.DataFrame, path: Path) -> Path:
    """A tidy frame as CSV, numbers to six decimals so that two machines' files can be compared by eye."""
    return write_text(frame.to_csv(index=False, float_format="%.6f", lineterminator="\n"), path)


def publish_records(records: Iterable[Mapping[str, Any]], source: Path, target: Path) -> list[Path]:
    """Copy the records a table was made from, with their confusion matrices, beside the table.

    Args:
        records: as read from `source`.
        source, target: folders; target is made.
    """
    target.mkdir(parents=True, exist_ok=True)
    written = []
    for record in records:
        names = [f"{record['name']}.json"]
        if file := record["results"].get("confusion_file"):
            names.append(file)
        for name in names:
            partial = _partial(target / name)
            shutil.copyfile(source / name, partial)
            os.replace(partial, target / name)
            written.append(target / name)
    return written


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")
