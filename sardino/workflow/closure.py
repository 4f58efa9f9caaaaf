"""The import closure: which files of the package a notebook's result depends on."""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from sardino.errors import SardinoError

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
