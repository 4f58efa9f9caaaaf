"""environment.yml for conda users, written from pyproject.toml and requirements.lock so that all three agree."""

import re
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sardino.errors import SardinoError
from sardino.reporting.publish import write_text

CONDA_PYTHON = "3.11"
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")

HEADER = """\
# Written by `make lock` from pyproject.toml and requirements.lock; edit those instead.
#   conda env create -f environment.yml && conda activate sardino
# The direct dependencies at the lock's versions. requirements.lock pins everything, with hashes.
"""


def direct_dependencies(pyproject: Path) -> list[Requirement]:
    """Return what pyproject.toml asks for by name, runtime first, then the extra `dev`."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    return [Requirement(line) for line in [*project["dependencies"], *project["optional-dependencies"]["dev"]]]


def locked(lock: Path) -> list[tuple[Requirement, int]]:
    """Return each requirement of a hash lock with the number of hashes that stand under it.

    Raises SardinoError for a line that is not `name==version [; marker]` with its hashes.
    """
    rows = []
    for entry in lock.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        line = HASH.sub("", entry).strip()
        if not line or line.startswith("#"):
            continue
        try:
            requirement = Requirement(line)
        except ValueError as error:
            raise SardinoError(f"{lock}: cannot read '{line[:80]}'; write the lock again with 'make lock'") from error
        rows.append((requirement, len(HASH.findall(entry))))
    return rows


def pinned(name: str, lock: Path, python: str = CONDA_PYTHON) -> str:
    """Return the version that the lock gives a package on CPython `python` under Linux.

    Raises SardinoError when the lock holds no version, or more than one, for that Python.
    """
    target = {
        "python_version": python,
        "python_full_version": f"{python}.99",  # the newest patch release: what conda installs
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    versions = [
        str(requirement.specifier).removeprefix("==")
        for requirement, _ in locked(lock)
        if canonicalize_name(requirement.name) == canonicalize_name(name)
        and (requirement.marker is None or requirement.marker.evaluate(target))
    ]
    if len(versions) != 1:
        found = ", ".join(versions) or "no version"
        raise SardinoError(f"{lock}: {found} of {name} for Python {python}; write the lock again with 'make lock'")
    return versions[0]


def environment(pyproject: Path, lock: Path) -> str:
    """Return the text of environment.yml: conda's Python and pip, then the direct dependencies pinned by the lock."""
    pins = [f"{item.name}=={pinned(item.name, lock)}" for item in direct_dependencies(pyproject)]
    lines = ["name: sardino", "channels:", "  - conda-forge", "dependencies:", f"  - python={CONDA_PYTHON}", "  - pip"]
    lines += ["  - pip:", *(f"      - {pin}" for pin in pins), "      - -e ."]
    return HEADER + "\n".join(lines) + "\n"


def main(root: Path) -> None:
    """Write root/environment.yml."""
    write_text(environment(root / "pyproject.toml", root / "requirements.lock"), root / "environment.yml")


if __name__ == "__main__":
    try:
        main(Path.cwd())
    except SardinoError as error:
        sys.exit(str(error))
