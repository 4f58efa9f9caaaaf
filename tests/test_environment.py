"""pyproject.toml, requirements.lock and environment.yml say the same thing, and name no host."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from environment import direct_dependencies, environment, pinned
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sardino.errors import SardinoError
from sardino.study.doctor import locked

ROOT = Path(__file__).parents[1]
PYPROJECT, LOCK, ENVIRONMENT = ROOT / "pyproject.toml", ROOT / "requirements.lock", ROOT / "environment.yml"
DIRECT = direct_dependencies(PYPROJECT)
LOCKED = locked(LOCK)


@pytest.mark.parametrize("dependency", DIRECT, ids=lambda item: item.name)
def test_direct_dependency_is_locked_with_hashes(dependency: Requirement) -> None:
    entries = [(item, n) for item, n in LOCKED if canonicalize_name(item.name) == canonicalize_name(dependency.name)]
    assert entries, f"{dependency.name} is not in requirements.lock: run 'make lock'"
    for requirement, hashes in entries:
        assert hashes > 0
        (specifier,) = requirement.specifier
        assert specifier.operator == "=="
        assert specifier.version in dependency.specifier


def test_every_locked_line_has_a_hash() -> None:
    assert len(LOCKED) > len(DIRECT)
    assert [item.name for item, hashes in LOCKED if hashes == 0] == []


def test_environment_yml_is_what_the_lock_gives() -> None:
    assert ENVIRONMENT.read_text() == environment(PYPROJECT, LOCK), "run 'make lock'"


def test_environment_yml_pins_each_direct_dependency_once() -> None:
    pins = re.findall(r"^      - ([A-Za-z0-9._-]+)==(\S+)$", ENVIRONMENT.read_text(), re.MULTILINE)
    assert dict(pins) == {item.name: pinned(item.name, LOCK) for item in DIRECT}
    assert len(pins) == len(DIRECT)


def test_build_requirements_are_in_the_lock_for_every_python() -> None:
    """`pip install --no-build-isolation -e .` finds its build backend among the locked packages."""
    for line in tomllib.loads(PYPROJECT.read_text())["build-system"]["requires"]:
        needed = Requirement(line)
        (entry,) = [item for item, _ in LOCKED if item.name == needed.name]
        assert entry.marker is None
        assert str(entry.specifier).removeprefix("==") in needed.specifier


def test_torch_and_torchvision_are_a_pair() -> None:
    """By torchvision's own metadata, for the installed pair, the locked one, and the compiled operators."""
    for package in ("torch", "torchvision"):
        assert importlib.metadata.version(package).split("+")[0] == pinned(package, LOCK)
    needs = [Requirement(line) for line in importlib.metadata.requires("torchvision") or []]
    (torch_needed,) = [item.specifier for item in needs if item.name == "torch"]
    assert pinned("torch", LOCK) in torch_needed

    import torch
    import torchvision  # noqa: F401  registers the operators

    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.9], [5.0, 5.0, 6.0, 6.0]])
    kept = torch.ops.torchvision.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5)
    assert kept.tolist() == [0, 2]


@pytest.mark.parametrize("path", [LOCK, ENVIRONMENT, PYPROJECT], ids=lambda path: path.name)
def test_no_line_names_a_host(path: Path) -> None:
    for line in path.read_text().splitlines():
        assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host|git\+", line), line


def test_a_lock_without_the_package_is_named(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("numpy==2.0.0 ; python_full_version < '3.12' \\\n    --hash=sha256:" + "0" * 64 + "\n")
    assert pinned("numpy", lock, "3.11") == "2.0.0"
    with pytest.raises(SardinoError, match=r"no version of numpy for Python 3\.12"):
        pinned("numpy", lock, "3.12")
    lock.write_text("not a requirement at all\n")
    with pytest.raises(SardinoError, match="make lock"):
        locked(lock)
