"""Files: each appears whole, under its final name, or not at all."""

import hashlib
import json
import os
import shutil
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sardino.errors import SardinoError, of_the_system

if TYPE_CHECKING:  # a sweep that finds nothing to do should not wait for pandas
    import pandas as pd


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Where the system does not let a path be written, whichever library meets it: one sentence, a SardinoError."""
    try:
        yield
    except Exception as error:
        named = getattr(error, "filename", None)  # perhaps of another file, which is read meanwhile
        fault = of_the_system(error, named if named and ".partial" not in str(named) else path)
        if fault is None:
            raise
        raise fault from error


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A hidden name beside the path to write to; what lies there takes the path's place at the end.

    Where writing fails nothing is left behind, and what was at the path stays. The folder is made. Raises SardinoError:
    the disk is full, or the path may not be written.
    """
    # A process of its own each, and the suffix kept: some libraries choose a format by it.
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            os.replace(partial, path)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        with suppress(OSError):  # it is not there, or its disk has said why already
            partial.unlink()


def write_bytes(content: bytes, path: Path) -> Path:
    """A file of these bytes."""
    with whole(path) as partial:
        partial.write_bytes(content)
    return path


def write_text(text: str, path: Path) -> Path:
    """A UTF-8 text file with the line ends that it has."""
    return write_bytes(text.encode(), path)


def write_json(value: Any, path: Path) -> Path:
    """A JSON file, one value a line; NaN and infinities are refused."""
    return write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", path)


def write_csv(frame: "pd.DataFrame", path: Path) -> Path:
    """A tidy frame as CSV, numbers to six decimals so that two machines' files can be compared by eye."""
    return write_text(frame.to_csv(index=False, float_format="%.6f", lineterminator="\n"), path)


def read_text(path: Path) -> str:
    """A UTF-8 text file without the byte order mark that Windows puts in front; SardinoError for other text."""
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SardinoError(f"{path} is no UTF-8 text ({error}): save it as UTF-8") from error


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file; SardinoError says where it is not valid."""
    try:
        return tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise SardinoError(f"{path} is not valid TOML ({error}): correct it") from error


def files_in(folder: Path, pattern: str) -> list[Path]:
    """Files that fit a glob pattern, sorted; what begins with a dot is half written, or macOS's notes on a file."""
    found = (path for path in folder.glob(pattern) if path.is_file())
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
