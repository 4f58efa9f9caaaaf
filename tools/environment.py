"""The lock, and environment.yml for conda users, written from it and pyproject.toml so that all three agree.

python tools/environment.py    # as `make lock` does
"""

import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sardino.errors import SardinoError
from sardino.files import write_text
from sardino.study.doctor import locked

CONDA_PYTHON = "3.11"
CONDA_MACHINE = {
    "sys_platform": "linux",
    "platform_system": "Linux",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
}
HEADER = """\
# Written by `make lock` from pyproject.toml and requirements.lock; edit those instead.
#   conda env create -f environment.yml && conda activate sardino
# The direct dependencies at the lock's versions. requirements.lock pins everything, with hashes.
"""


def direct_dependencies(pyproject: Path) -> list[Requirement]:
    """What pyproject.toml asks for by name, runtime first, then the extra `dev` with the extras that it takes in."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    extras = {name: list(map(Requirement, lines)) for name, lines in project["optional-dependencies"].items()}
    taken_in = [name for item in extras["dev"] if item.name == project["name"] for name in sorted(item.extras)]
    own = [item for item in extras["dev"] if item.name != project["name"]]
    return [*map(Requirement, project["dependencies"]), *(item for name in taken_in for item in extras[name]), *own]


def pinned(name: str, lock: Path, python: str = CONDA_PYTHON) -> str:
    """The version that the lock gives a package on CPython `python` under Linux.

    Raises:
        SardinoError: the lock holds no version, or more than one, for that Python.
    """
    # .99 stands for the newest patch release, which is what conda installs.
    target = {**CONDA_MACHINE, "python_version": python, "python_full_version": f"{python}.99"}
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
    """The text of environment.yml: conda's Python and pip, then the direct dependencies pinned by the lock."""
    pins = [f"{item.name}=={pinned(item.name, lock)}" for item in direct_dependencies(pyproject)]
    lines = ["name: sardino", "channels:", "  - conda-forge", "dependencies:", f"  - python={CONDA_PYTHON}", "  - pip"]
    lines += ["  - pip:", *(f"      - {pin}" for pin in pins), "      - -e ."]
    return HEADER + "\n".join(lines) + "\n"


if __name__ == "__main__":
    try:
        write_text(environment(Path("pyproject.toml"), Path("requirements.lock")), Path("environment.yml"))
    except SardinoError as error:
        sys.exit(str(error))
