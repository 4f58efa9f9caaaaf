"""Who may import whom: one list, checked on the syntax tree of every module; and what loads without torch."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sardino"

# A room: the rooms below it that it may import. The first that fits a module is its room. Nobody imports a notebook.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "options": {"errors"},
    "files": {"errors"},
    "progress": {"errors", "files"},
    "data.tiles": {"errors", "files"},
    "data.places": {"errors", "files", "data.tiles"},
    "data.rasters": {"errors", "files", "data.tiles", "data.places"},
    "data.sources": {"errors", "options", "files", "data.tiles", "data.places", "data.rasters"},
    "evaluation": {"errors", "data.tiles", "data.places"},
    "dino": {"errors", "options", "files", "progress", "data.tiles", "evaluation"},
    "segmentation": {"errors", "options", "files", "progress", "data.tiles", "evaluation", "dino"},
    "weights": {"errors", "options", "files", "data.tiles", "dino", "segmentation"},
    "mapping": {
        "errors",
        "options",
        "files",
        "progress",
        "data.tiles",
        "data.places",
        "data.rasters",
        "dino",
        "segmentation",
        "weights",
    },
    "reporting.record": {"errors", "files"},
    "reporting.rows": set(),
    "reporting.tables": {"errors", "files", "data.tiles", "evaluation", "reporting.record", "reporting.rows"},
    "reporting.figures": {
        "errors",
        "files",
        "data.tiles",
        "evaluation",
        "reporting.record",
        "reporting.rows",
        "reporting.tables",
    },
    "reporting.pages": {
        "errors",
        "files",
        "progress",
        "reporting.record",
        "reporting.rows",
        "reporting.tables",
        "reporting.figures",
    },
}
LOWER = set(ALLOWED)
ALLOWED |= {
    "study": LOWER,
    "explorer": LOWER | {"study"},
    "cli": LOWER | {"study", "explorer"},
    "__main__": {"cli"},
}
# Tables and figures can be redrawn, and tiles prepared, where torch is not installed.
WITHOUT_TORCH = ("data", "evaluation", "reporting", "errors", "files", "options", "progress")
GRAB_BAGS = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}
MAX_LINES = 450

MODULES = sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    """Return the dotted name of a file of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> Iterator[str]:
    """Yield the dotted name of everything that a file imports, at any depth of the code."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, node.module] if node.module else base)
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def room(name: str) -> str | None:
    """Return the room of a dotted name; None for a package's own docstring, a third party, or no room at all."""
    inside = name.removeprefix("sardino.")
    if not name.startswith("sardino."):
        return None
    return next((known for known in ALLOWED if f"{inside}.".startswith(f"{known}.")), None)


def test_every_module_belongs_to_a_room() -> None:
    files = [path for path in MODULES if path.name != "__init__.py"]
    assert [module_name(path) for path in files if room(module_name(path)) is None] == []


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_go_down(path: Path) -> None:
    own = room(module_name(path))
    reached = {room(name) for name in imported(path)} - {None, own}
    assert reached <= (ALLOWED[own] if own else set()), f"{module_name(path)} may not import {reached}"
    assert not any(name.split(".")[0] in {"notebooks", "tests"} for name in imported(path))


def test_rooms_stand_on_rooms_below() -> None:
    placed: set[str] = set()
    for name, needs in ALLOWED.items():
        assert needs <= placed, f"{name} stands on {needs - placed}, which come after it"
        placed.add(name)


def test_no_module_imports_itself_by_way_of_others() -> None:
    names = {module_name(path) for path in MODULES}
    left = {module_name(path): set(imported(path)) & names - {module_name(path)} for path in MODULES}
    while ready := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in ready:
            del left[name]
    assert not left, f"a circle among {', '.join(sorted(left))}"


def test_data_and_reporting_load_without_torch() -> None:
    """Each torch-free module is imported in one fresh interpreter in which torch cannot be imported at all."""
    names = [
        module_name(path)
        for path in MODULES
        if module_name(path).split(".")[1:2] and module_name(path).split(".")[1] in WITHOUT_TORCH
    ]
    assert len(names) > len(WITHOUT_TORCH)
    code = f"""
import importlib
import importlib.abc
import sys

class NotInstalled(importlib.abc.MetaPathFinder):
    # Not None in sys.modules: SciPy takes what stands there for a module that was imported.
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {{"torch", "torchvision", "timm"}}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, NotInstalled())
for name in {names!r}:
    importlib.import_module(name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_one_file_one_idea(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= MAX_LINES, f"{module_name(path)} has {lines} lines: split it"
    assert path.stem not in GRAB_BAGS
    assert ast.get_docstring(ast.parse(path.read_text())), f"{module_name(path)} does not say what it is"
