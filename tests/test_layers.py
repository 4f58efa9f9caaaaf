"""Who may import whom: one list, checked on the syntax tree of every module; and what loads without torch."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sardino"

# layer: the layers it may import, besides itself. Nobody imports a notebook.
ALLOWED = {
    "errors": set(),
    "tiles": {"errors"},
    "scenes": {"errors", "tiles"},
    "models": {"errors"},
    "evaluation": {"errors", "tiles", "models"},
    "training": {"errors", "tiles", "models", "evaluation"},
    "mapping": {"errors", "tiles", "scenes", "models", "training"},
    "reporting": {"errors", "tiles", "evaluation"},
    "workflow": {"errors", "tiles", "scenes", "models", "evaluation", "training", "mapping", "reporting"},
    "__main__": {"workflow"},
}
# Tables and figures can be redrawn, and tiles prepared, where torch is not installed.
WITHOUT_TORCH = (
    "tiles",
    "scenes",
    "reporting",
    "evaluation.alignment",
    "evaluation.attention_scores",
    "evaluation.band_means",
    "evaluation.bootstrap",
    "evaluation.confusion",
    "evaluation.label_efficiency",
    "evaluation.map_scores",
    "evaluation.patches",
    "evaluation.position",
    "evaluation.realism",
    "evaluation.token_pca",
)
GRAB_BAGS = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}
MAX_LINES = 300

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


def layer(name: str) -> str | None:
    """Return the layer of a dotted name, None for the package itself or a third party."""
    parts = name.split(".")
    return parts[1] if parts[0] == "sardino" and len(parts) > 1 and parts[1] != "__version__" else None


def test_every_module_belongs_to_a_known_layer() -> None:
    assert {layer(module_name(path)) for path in MODULES} - {None} <= set(ALLOWED)


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_go_one_way(path: Path) -> None:
    own = layer(module_name(path))
    reached = {layer(name) for name in imported(path)} - {None, own}
    assert reached <= (ALLOWED[own] if own else set()), f"{module_name(path)} may not import {reached}"
    assert not any(name.split(".")[0] in {"notebooks", "tests"} for name in imported(path))


def test_the_allowed_list_has_no_cycle() -> None:
    placed: set[str] = set()
    while len(placed) < len(ALLOWED):
        ready = {name for name, needs in ALLOWED.items() if name not in placed and needs <= placed}
        assert ready, f"a cycle among {set(ALLOWED) - placed}"
        placed |= ready


def test_data_and_reporting_load_without_torch() -> None:
    """Each torch-free module is imported in one fresh interpreter in which torch cannot be imported at all."""
    names = [
        module_name(path)
        for path in MODULES
        if any(f"{module_name(path)}.".startswith(f"sardino.{free}.") for free in WITHOUT_TORCH)
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
