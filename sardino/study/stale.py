"""The evidence of a run: all that its result depends on, compared by content, so that only what must runs again."""

import ast
import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import sardino
from sardino.errors import SardinoError
from sardino.files import write_text
from sardino.reporting.record import TRAININGS, read_record
from sardino.study.plan import Run, settings
from sardino.study.workspace import Workspace

# The import closure: which files of the package a notebook's result depends on.

DATA = (".csv", ".toml")
"""Files a module may read from its own folder or a folder in it."""


def import_closure(source: Path, package: Path) -> list[Path]:
    """All files of the package that a Python source imports, directly or not, itself left out.

    Imports inside functions count too. A data file counts with the modules of its
    folder; profiles do not, because a run depends on values in them and is told those.

    Args:
        source: a module or a py:percent notebook.
        package: the package's folder, for example sardino/.

    Returns:
        Sorted paths.
    """
    found: set[Path] = set()
    queue = [source]
    while queue:
        current = queue.pop()
        for file in _imports(current, package):
            if file not in found:
                found.add(file)
                queue.append(file)
    folders = {file.parent for file in found} - {package}
    data = {file for folder in folders for pattern in ("*", "*/*") for file in folder.glob(pattern)}
    return sorted(found | {file for file in data if file.suffix in DATA and file.parent.name != "profiles"})


def fingerprint(files: Iterable[Path]) -> str:
    """One hash of what files mean: of a Python file the syntax tree, so comments and layout do not count."""
    digest = hashlib.sha256()
    for file in files:
        meaning = _meaning(file, file.stat().st_mtime_ns) if file.suffix == ".py" else file.read_bytes()
        digest.update(file.name.encode() + b"\0" + hashlib.sha256(meaning).digest())
    return digest.hexdigest()


@cache
def _meaning(file: Path, _changed_ns: int) -> bytes:
    return ast.dump(_parse(file)).encode()


def _imports(source: Path, package: Path) -> Iterator[Path]:
    """Files of the package imported by one source, with the __init__.py of each folder on the way."""
    for node in ast.walk(_parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, source, package)
            # "from a import b" may name a module b or something inside a.
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            if name.split(".")[0] == package.name:
                yield from _files(name, package)


def _absolute(node: ast.ImportFrom, source: Path, package: Path) -> str:
    if not node.level:
        return node.module or ""
    parts = source.relative_to(package.parent).parent.parts
    parents = parts[: len(parts) - node.level + 1]
    return ".".join([*parents, *([node.module] if node.module else [])])


def _files(name: str, package: Path) -> Iterator[Path]:
    path = package.parent
    for part in name.split("."):
        path = path / part
        if (path / "__init__.py").is_file():
            yield path / "__init__.py"
        elif path.with_suffix(".py").is_file():
            yield path.with_suffix(".py")


def _parse(file: Path) -> ast.Module:
    try:
        return _parsed(file, file.stat().st_mtime_ns)
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise SardinoError(f"{file} cannot be read as Python: {error}") from error


@cache
def _parsed(file: Path, _changed_ns: int) -> ast.Module:
    """A plan's runs share most of their files."""
    return ast.parse(file.read_text(encoding="utf-8"))


def published(workspace: Workspace) -> str:
    """Hash of all published files that the report shows: a redrawn figure makes it stale."""
    digest = hashlib.sha256()
    for path in _shown(workspace):
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _shown(workspace: Workspace) -> Iterator[Path]:
    for folder, pattern in (
        (workspace.results, "*.md"),
        (workspace.results, "*.csv"),
        (workspace.results / "runs", "*.json"),
        (workspace.figures, "*.png"),
    ):
        yield from (path for path in sorted(folder.glob(pattern)) if not path.name.startswith("."))


EVIDENCE = "evidence.txt"
TIMES = ("wall_s",)
"""Keys of results that differ from one execution to the next."""


def code_files(workspace: Workspace, run: Run) -> list[Path]:
    """A run's notebook source, the package files it imports, and the lock file.

    The drawing of a training's curves is no part of its result: nobody should train
    again for a colour.
    """
    source = workspace.root / "notebooks" / f"{run.notebook}.py"
    if not source.is_file():
        raise SardinoError(f"run '{run.name}' has no notebook: {source} does not exist")
    package = workspace.root / "sardino"
    if not package.is_dir():
        package = Path(sardino.__file__).parent
    imported = import_closure(source, package)
    if run.kind in TRAININGS:
        drawing = package / "reporting"
        imported = [file for file in imported if drawing not in file.parents or file == drawing / "record.py"]
    if run.kind == "report":  # the page's frame, which its notebook does not import
        frame = package / "study" / "report_template"
        imported += [frame.with_name("report.py"), *sorted(path for path in frame.iterdir() if path.is_file())]
    lock = workspace.root / "requirements.lock"
    return [source, *imported, *([lock] if lock.is_file() else [])]


def evidence(workspace: Workspace, run: Run) -> dict[str, str]:
    """What a run's result depends on besides other runs, as texts to compare with those of the last execution."""
    return {
        "code": fingerprint(code_files(workspace, run)),
        "settings": json.dumps(settings(workspace.profile, run), sort_keys=True),
        "parameters": json.dumps(run.parameters, sort_keys=True),
        "input": workspace.data.name if workspace.data else "",
    }


def evidence_with_needs(workspace: Workspace, run: Run) -> dict[str, str]:
    """The evidence, what the records of the needed runs say, and for the report what is published."""
    needs = {f"needs {name}": substance(read_record(workspace.record(name))) for name in run.needs}
    shown = {"published": published(workspace)} if run.kind == "report" else {}
    return {**evidence(workspace, run), **needs, **shown}


def substance(record: dict[str, Any]) -> str:
    """Hash of what a record says, not of when and where it was made."""
    said = {key: record[key] for key in ("kind", "parameters", "data", "results")}
    return hashlib.sha256(json.dumps(_timeless(said), sort_keys=True).encode()).hexdigest()


def keep(workspace: Workspace, run: Run, known: dict[str, str]) -> None:
    """Set a finished run's record and notebook aside, with the evidence they were made from.

    Snakemake deletes both before it executes the run again; where it turns out that
    nothing the run depends on has changed, `restore` brings them back.
    """
    folder = workspace.build / "kept" / run.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / EVIDENCE).unlink(missing_ok=True)
    for path in (workspace.record(run.name), workspace.notebook(run.name)):
        shutil.copy2(path, folder / path.name)
    write_text(json.dumps(known), folder / EVIDENCE)


def kept(workspace: Workspace, run: Run) -> bool:
    """Whether a run's record is one whose evidence is known."""
    return (workspace.build / "kept" / run.name / EVIDENCE).is_file()


def restore(workspace: Workspace, run: Run, known: dict[str, str]) -> bool:
    """Bring back what a run made from the very same evidence; False if there is none."""
    folder = workspace.build / "kept" / run.name
    try:
        same = json.loads((folder / EVIDENCE).read_text(encoding="utf-8")) == known
    except (OSError, ValueError):
        return False
    if not same:
        return False
    # The notebook keeps its date and tells when it was executed; the record is new to Snakemake.
    workspace.notebook(run.name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(folder / workspace.notebook(run.name).name, workspace.notebook(run.name))
    workspace.record(run.name).parent.mkdir(parents=True, exist_ok=True)
    write_text((folder / workspace.record(run.name).name).read_text(encoding="utf-8"), workspace.record(run.name))
    return True


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key not in TIMES}
    return [_timeless(item) for item in value] if isinstance(value, list) else value
