"""Whether a run is stale: all that its result depends on, compared by content, so that only what must runs again."""

import ast
import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import sardino
from sardino.errors import SardinoError
from sardino.files import write_text
from sardino.reporting.record import TRAININGS, read_record, substance
from sardino.study.plan import Run, settings
from sardino.study.workspace import Workspace

DEPENDENCIES = "dependencies.json"
"""Beside what a run made, once all of it is set aside."""
DATA = (".csv", ".toml")
"""Files that a module may read from its own folder or a folder in it."""


def own_dependencies(workspace: Workspace, run: Run) -> dict[str, str]:
    """What a run's result depends on besides other runs, as texts to compare with those of the last execution."""
    return {
        "code": hash_of_code(code_files(workspace, run)),
        "settings": json.dumps(settings(workspace.profile, run), sort_keys=True),
        "parameters": json.dumps(run.parameters, sort_keys=True),
        "input": workspace.data.name if workspace.data else "",
    }


def dependencies(workspace: Workspace, run: Run) -> dict[str, str]:
    """A run's own dependencies, what the records of the needed runs say, and for the report what is published."""
    needs = {f"needs {name}": substance(read_record(workspace.record(name))) for name in run.needs}
    shown = {"published": hash_of_published(workspace)} if run.kind == "report" else {}
    return {**own_dependencies(workspace, run), **needs, **shown}


def code_files(workspace: Workspace, run: Run) -> list[Path]:
    """A run's notebook source, the package files it imports, and the lock file.

    The drawing of a training's curves is no part of its result: nobody should train again for a colour.
    """
    source = workspace.root / "notebooks" / f"{run.notebook}.py"
    if not source.is_file():
        raise SardinoError(f"run '{run.name}' has no notebook: {source} does not exist")
    package = workspace.root / "sardino"
    if not package.is_dir():
        package = Path(sardino.__file__).parent
    imported = imported_files(source, package)
    if run.kind in TRAININGS:
        drawing = package / "reporting"
        imported = [
            file
            for file in imported
            if drawing not in file.parents or file in (drawing / "record.py", drawing / "rows.py")
        ]
    if run.kind == "report":  # the page's frame, which its notebook does not import
        frame = package / "study" / "report_template"
        imported += [frame.with_name("report.py"), *sorted(path for path in frame.iterdir() if path.is_file())]
    lock = workspace.root / "requirements.lock"
    return [source, *imported, *([lock] if lock.is_file() else [])]


def set_aside(workspace: Workspace, run: Run, known: dict[str, str]) -> None:
    """Copy a finished run's record and notebook to where they stay, with the dependencies they were made from.

    Snakemake deletes both before it executes the run again; where it turns out that nothing the run depends on has
    changed, `bring_back` brings them back.
    """
    folder = _aside(workspace, run)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DEPENDENCIES).unlink(missing_ok=True)
    for path in (workspace.record(run.name), workspace.notebook(run.name)):
        shutil.copy2(path, folder / path.name)
    write_text(json.dumps(known), folder / DEPENDENCIES)


def is_set_aside(workspace: Workspace, run: Run) -> bool:
    """Whether it is known from what a run's record was made."""
    return (_aside(workspace, run) / DEPENDENCIES).is_file()


def bring_back(workspace: Workspace, run: Run, known: dict[str, str]) -> bool:
    """Bring back what a run made from the very same dependencies; False if there is none."""
    folder, record, notebook = _aside(workspace, run), workspace.record(run.name), workspace.notebook(run.name)
    try:
        if json.loads((folder / DEPENDENCIES).read_text(encoding="utf-8")) != known:
            return False
    except (OSError, ValueError):
        return False
    # The notebook keeps its date and tells when it was executed; the record is new to Snakemake.
    notebook.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(folder / notebook.name, notebook)
    write_text((folder / record.name).read_text(encoding="utf-8"), record)
    return True


def imported_files(source: Path, package: Path) -> list[Path]:
    """All files of the package that a Python source imports, directly or not, itself left out; sorted.

    Imports inside functions count too. A data file counts with the modules of its folder; profiles do not, because a
    run depends on values in them and is told those.

    Args:
        source: a module or a py:percent notebook.
        package: the package's folder, for example sardino/.
    """
    found: set[Path] = set()
    queue = [source]
    while queue:
        fresh = set(_imports(queue.pop(), package)) - found
        found |= fresh
        queue += fresh
    folders = {file.parent for file in found} - {package}
    data = {file for folder in folders for pattern in ("*", "*/*") for file in folder.glob(pattern)}
    return sorted(found | {file for file in data if file.suffix in DATA and file.parent.name != "profiles"})


def hash_of_code(files: Iterable[Path]) -> str:
    """One hash of what files mean: of a Python file the syntax tree, so comments and layout do not count."""
    return _hash_of((file, _syntax(file) if file.suffix == ".py" else file.read_bytes()) for file in files)


def hash_of_published(workspace: Workspace) -> str:
    """One hash of all published files that the report shows: a redrawn figure makes it stale."""
    shown = [
        *sorted(workspace.results.glob("*.md")),
        *sorted(workspace.results.glob("*.csv")),
        *sorted((workspace.results / "runs").glob("*.json")),
        *sorted(workspace.figures.glob("*.png")),
    ]
    return _hash_of((path, path.read_bytes()) for path in shown if not path.name.startswith("."))


def _aside(workspace: Workspace, run: Run) -> Path:
    return workspace.build / "kept" / run.name


def _hash_of(files: Iterable[tuple[Path, bytes]]) -> str:
    """Of files' names and contents, in this order."""
    digest = hashlib.sha256()
    for path, content in files:
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(content).digest())
    return digest.hexdigest()


def _imports(source: Path, package: Path) -> Iterator[Path]:
    """Files of the package imported by one source, with the __init__.py of each folder on the way."""
    for node in ast.walk(_parsed(source)):
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
                yield from _files_on_the_way(name, package)


def _absolute(node: ast.ImportFrom, source: Path, package: Path) -> str:
    if not node.level:
        return node.module or ""
    parts = source.relative_to(package.parent).parent.parts
    parents = parts[: len(parts) - node.level + 1]
    return ".".join([*parents, *([node.module] if node.module else [])])


def _files_on_the_way(name: str, package: Path) -> Iterator[Path]:
    path = package.parent
    for part in name.split("."):
        path = path / part
        if (path / "__init__.py").is_file():
            yield path / "__init__.py"
        elif path.with_suffix(".py").is_file():
            yield path.with_suffix(".py")


def _parsed(file: Path) -> ast.Module:
    try:
        return _parsed_as_of(file, file.stat().st_mtime_ns)
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise SardinoError(f"{file} cannot be read as Python: {error}") from error


def _syntax(file: Path) -> bytes:
    return _syntax_as_of(file, file.stat().st_mtime_ns)


# A plan's runs share most of their files, so each is parsed once.


@cache
def _parsed_as_of(file: Path, _changed_ns: int) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


@cache
def _syntax_as_of(file: Path, _changed_ns: int) -> bytes:
    return ast.dump(_parsed(file)).encode()
