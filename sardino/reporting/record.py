"""The record of a notebook run: its numbers together with the evidence of where they came from."""

import hashlib
import importlib.metadata
import json
import math
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil

import sardino
from sardino.errors import SardinoError
from sardino.files import read_text, sha256_of, whole, write_json

FORMAT, VERSION = "sardino-run", 1
TRAININGS = ("pretrain", "finetune", "baseline")
OTHERS = ("data", "floors", "attention", "tables", "claims", "quickstart", "realism", "report", "autopsy", "embeddings")
KINDS = (*TRAININGS, *OTHERS)
# What makes a checkout dirty: prose and results may change without changing a number.
TRACKED = ("sardino", "notebooks", "pyproject.toml", "requirements.lock")
# Keys of results that differ from one execution to the next: times and memory.
TIMES = ("wall_s", "data_wait", "images_per_s", "memory_gib", "peak_memory_mb")
UNKNOWN = "unknown"


def write_record(
    path: Path,
    *,
    kind: str,
    profile: str,
    parameters: Mapping[str, Any],
    seeds: Sequence[int],
    data: Mapping[str, Any],
    results: Mapping[str, Any],
    started: float,
) -> dict[str, Any]:
    """Write one run's record as JSON, whole or not at all, and return it.

    Args:
        path: for example build/laptop/runs/pretrain-europe.json.
        kind: one of KINDS.
        parameters: what the notebook was given; an absolute path keeps its last part only.
        data: source, fingerprint and labels of the input.
        results: numbers, texts, lists and dicts of them; None says "does not exist".
        started: time.time() at the notebook's first line.

    Raises SardinoError: unknown kind, or a value that JSON cannot hold, named by its place.
    """
    if kind not in KINDS:
        raise SardinoError(f"a record's kind is one of {', '.join(KINDS)}, not '{kind}'")
    root = _code_root()
    lock = sha256_of(root / "requirements.lock") if root and (root / "requirements.lock").is_file() else UNKNOWN
    # An absolute path tells a reader about somebody's disk and nothing about the run.
    paths = {n: Path(v).name for n, v in parameters.items() if isinstance(v, str) and v and Path(v).is_absolute()}
    portable = {**parameters, **paths}
    run = {"name": path.stem, "kind": kind, "profile": profile, "parameters": portable, "seeds": list(seeds)}
    identity = _plain({**run, "data": data, "code": _code(root), "lock_sha256": lock}, "")
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    try:
        torch = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        torch = UNKNOWN
    record: dict[str, Any] = {"format": FORMAT, "version": VERSION, "run_id": digest[:12], **identity}
    record |= {"results": _plain(results, "results"), "hardware": hardware()}
    record |= {"python": platform.python_version(), "torch": torch, "sardino": sardino.__version__}
    record |= {"wall_s": round(max(0.0, time.time() - started), 3), "peak_memory_mb": peak_memory_mb()}
    record["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(record, path)
    return record


def provenance(*, synthetic: bool, derived: bool = False) -> str:
    """The words for a title or caption: a reader must never take made or derived labels for a product."""
    return ("synthetic world" if synthetic else "real chips") + (", derived labels" if derived else "")


def read_record(path: Path) -> dict[str, Any]:
    """One record; a file that is missing, damaged, of another format or another version is refused."""
    try:
        record = json.loads(read_text(path))
    except OSError as error:
        raise SardinoError(f"no record at {path}: run its notebook first ({error.strerror})") from error
    except ValueError as error:
        raise SardinoError(f"{path} is not valid JSON ({error}): delete it and run its notebook again") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise SardinoError(f"{path} is not a record of a sardino run")
    if record.get("version") != VERSION:
        raise SardinoError(f"{path} is a record of version {record.get('version')}, this package reads {VERSION}")
    if missing := [key for key in ("name", "kind", "profile", "parameters", "data", "results") if key not in record]:
        raise SardinoError(f"{path} lacks {', '.join(missing)}: delete it and run its notebook again")
    return record


def substance(record: Mapping[str, Any]) -> str:
    """Hash of what a record says, not of when and where it was made."""
    said = {key: record[key] for key in ("kind", "parameters", "data", "results")}
    return hashlib.sha256(json.dumps(_timeless(said), sort_keys=True).encode()).hexdigest()


def publish_records(records: Iterable[Mapping[str, Any]], source: Path, target: Path) -> list[Path]:
    """Copy the records a table was made from, with their confusion matrices, beside the table.

    A published record that says the same is kept: a run again that finds the same changes no file by its times alone.
    """
    written = []
    for record in records:
        names = [f"{record['name']}.json"]
        if file := record["results"].get("confusion_file"):
            names.append(file)
        if not (all((target / name).is_file() for name in names) and _says(target / names[0], record)):
            for name in names:
                with whole(target / name) as partial:
                    shutil.copyfile(source / name, partial)
        written += [target / name for name in names]
    return written


def read_records(folder: Path) -> list[dict[str, Any]]:
    """All records of a folder, by file name."""
    return [read_record(path) for path in sorted(folder.glob("*.json")) if not path.name.startswith(".")]


def hardware() -> dict[str, Any]:
    """CPU, cores this process may use, GPU (only if torch is already loaded), memory and platform."""
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpu": _gpu_name(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def revision() -> str:
    """The commit, with "+changes" where the working tree differs from it; "unknown" outside a git checkout."""
    state = _code(_code_root())
    return f"{state['revision']}{'+changes' if state['dirty'] is True else ''}"


def peak_memory_mb() -> float:
    """The most memory this process has held, in MiB."""
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss counts bytes on macOS, KiB elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)


def _says(path: Path, record: Mapping[str, Any]) -> bool:
    """Whether a published record is whole and says the same as another, of the same lock."""
    try:
        published = read_record(path)
    except SardinoError:
        return False
    return substance(published) == substance(record) and published.get("lock_sha256") == record.get("lock_sha256")


def _timeless(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _timeless(item) for key, item in value.items() if key not in TIMES}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def _plain(value: Any, place: str) -> Any:
    """The value in JSON's own types; what has none is refused by its place."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise SardinoError(f"record value '{place}' is {value}: write None where a number does not exist")
        return value
    if isinstance(value, Mapping):
        if odd := [key for key in value if not isinstance(key, str)]:
            raise SardinoError(f"record value '{place}' has the key {odd[0]!r}, which is not a text")
        return {key: _plain(item, f"{place}.{key}" if place else key) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item, f"{place}[{index}]") for index, item in enumerate(value)]
    raise SardinoError(f"record value '{place}' is a {type(value).__name__}, which a record cannot hold")


def _code_root() -> Path | None:
    """The folder whose code is running, or the one we stand in; None for an installed package elsewhere."""
    for root in (Path(sardino.__file__).resolve().parents[1], Path.cwd()):
        if (root / "pyproject.toml").is_file() and (root / "sardino").is_dir():
            return root
    return None


def _code(root: Path | None) -> dict[str, Any]:
    """Commit and dirty flag; "unknown" outside a git checkout."""
    revision = git(root, "rev-parse", "HEAD")
    status = git(root, "status", "--porcelain", "--", *TRACKED)
    known = revision is not None and status is not None
    return {"revision": revision if known else UNKNOWN, "dirty": bool(status) if known else UNKNOWN}


def git(root: Path | None, *arguments: str) -> str | None:
    """What git says of a checkout; None outside one, without git, or where git does not trust its owner."""
    if root is None:
        return None
    command: list[str | Path] = ["git", "-C", root, *arguments]
    if root == Path(sardino.__file__).resolve().parents[1]:
        # In a container a checkout is often another user's. Who runs its code need not be kept from its history.
        command[1:1] = ["-c", f"safe.directory={root}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor() or platform.machine()


def _gpu_name() -> str | None:
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name(0))
    return "Apple GPU" if torch.backends.mps.is_available() else None
