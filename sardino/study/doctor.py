"""What this machine has and what would stop a run: the report behind `sardino doctor`."""

import importlib
import importlib.metadata as metadata
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
from packaging.requirements import Requirement

from sardino.errors import SardinoError, first_line
from sardino.reporting.record import hardware
from sardino.study.environment import locked
from sardino.study.workspace import project_root

GIB = 2**30
MEMORY_GIB = 6.0  # below this the laptop profile may be killed in the middle of a notebook
DISK_GIB = 2.0  # a tile store, the executed notebooks and the weights
SHOWN = (
    "torch",
    "torchvision",
    "timm",
    "zarr",
    "xarray",
    "rasterio",
    "geopandas",
    "jupytext",
    "papermill",
    "snakemake",
)
COMPILED = ("torch", "torchvision", "timm", "rasterio", "zarr")
"""Import only where their libraries fit each other and the system."""


@dataclass(frozen=True)
class Machine:
    """The facts that `report` prints and `problems` judges; sizes in GiB."""

    root: Path
    python: tuple[int, int, int]
    packages: dict[str, str | None]  # every runtime dependency; None where it is not installed
    drift: dict[str, tuple[str, str]]  # package: (installed, locked) where they differ
    broken: dict[str, str]  # package: why it does not import
    torch_needed: str  # the torch that the installed torchvision asks for
    cpu: str
    cores: int
    accelerator: str | None
    threads: int
    memory_gib: float
    memory_free_gib: float
    disk_free_gib: float
    writable: bool
    revision: str | None


def examine(root: Path | None = None) -> Machine:
    """Look at the machine, the environment and the project folder (by default the one around the current folder)."""
    root = root.resolve() if root else _project()
    packages = _packages()
    broken = {name: why for name in COMPILED if (why := _failure(name))}
    memory, free = _memory()
    found = hardware()
    return Machine(
        root=root,
        python=sys.version_info[:3],
        packages=packages,
        drift=_drift(root / "requirements.lock", packages),
        broken=broken,
        torch_needed=_torch_of_torchvision(),
        cpu=found["cpu"],
        cores=found["cores"],
        accelerator=found["gpu"],
        # Imported here, so that a broken torch is reported by name instead of stopping the report.
        threads=importlib.import_module("torch").get_num_threads() if "torch" not in broken else 0,
        memory_gib=memory / GIB,
        memory_free_gib=free / GIB,
        disk_free_gib=shutil.disk_usage(root).free / GIB,
        writable=os.access(root, os.W_OK),
        revision=_revision(root),
    )


def report(m: Machine) -> list[tuple[str, str]]:
    """(what, value) rows for reading; what is merely optional says so in its value."""
    pair = "match" if _paired(m) else "DO NOT MATCH"
    return [
        ("python", ".".join(map(str, m.python))),
        *((name, m.packages.get(name) or "not installed") for name in SHOWN),
        ("torch and torchvision", f"{pair} (torchvision asks for torch{m.torch_needed or ', any version'})"),
        ("environment", "as in requirements.lock" if not m.drift else f"{len(m.drift)} packages differ from the lock"),
        ("processor", f"{m.cpu}, {m.cores} cores"),
        ("accelerator", m.accelerator or "none (fine: smoke, laptop and real run on the processor)"),
        ("threads of torch", str(m.threads)),
        ("memory", f"{m.memory_gib:.1f} GiB, {m.memory_free_gib:.1f} GiB free"),
        ("disk", f"{m.disk_free_gib:.1f} GiB free"),
        ("git revision", m.revision or "none (fine: records will say that the code is not under git)"),
    ]


def problems(m: Machine) -> list[str]:
    """One sentence with its remedy for each thing that would stop or spoil a run."""
    found = []
    again = "remove .venv and run any make target to install it again"
    if m.python < (3, 11):
        found.append(f"Python {m.python[0]}.{m.python[1]} is too old: install 3.11 or newer, then {again}.")
    if missing := [name for name, version in m.packages.items() if version is None]:
        found.append(f"Not installed: {', '.join(missing)}: {again}.")
    if not _paired(m):
        found.append(
            f"torchvision asks for torch{m.torch_needed}, and torch {m.packages.get('torch')} is installed: {again}."
        )
    found += [f"{name} does not import ({why}): {again}." for name, why in m.broken.items()]
    if m.drift:
        shown = ", ".join(f"{name} {have} (lock: {want})" for name, (have, want) in sorted(m.drift.items())[:5])
        found.append(f"{len(m.drift)} packages differ from requirements.lock, as {shown}: {again}.")
    if m.memory_gib < MEMORY_GIB:
        found.append(
            f"Only {m.memory_gib:.1f} GiB of memory: run 'make reproduce PROFILE=smoke', or free {MEMORY_GIB:.0f} GiB."
        )
    if m.disk_free_gib < DISK_GIB:
        found.append(
            f"Only {m.disk_free_gib:.1f} GiB of disk free at {m.root}: free {DISK_GIB:.0f} GiB, or set SARDINO_BUILD."
        )
    if not (m.root / "notebooks").is_dir():
        found.append(f"{m.root} is not the sardino project: change to its folder, the one with notebooks/.")
    if not m.writable:
        found.append(f"{m.root} is read-only: work in a copy that you may write to.")
    if m.threads > m.cores:
        found.append(f"torch uses {m.threads} threads on {m.cores} cores: set OMP_NUM_THREADS={m.cores}.")
    return found


def _packages() -> dict[str, str | None]:
    """The installed version of every runtime dependency that this package declares."""
    versions: dict[str, str | None] = {}
    for line in metadata.requires("sardino") or []:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            versions[requirement.name] = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            versions[requirement.name] = None
    return versions


def _drift(lock: Path, packages: dict[str, str | None]) -> dict[str, tuple[str, str]]:
    """The direct dependencies whose installed version is not the lock's; none outside a checkout."""
    if not lock.is_file():
        return {}
    differ = {}
    for requirement, _ in locked(lock):
        have = packages.get(requirement.name)
        if have is None or (requirement.marker is not None and not requirement.marker.evaluate()):
            continue
        # A local label such as 2.15.0+cpu is another build of the same release.
        if have.split("+")[0] not in requirement.specifier:
            differ[requirement.name] = (have, str(requirement.specifier).removeprefix("=="))
    return differ


def _torch_of_torchvision() -> str:
    """The versions of torch that torchvision's own metadata accept, "" where it accepts any."""
    try:
        lines = metadata.requires("torchvision") or []
    except metadata.PackageNotFoundError:
        return ""
    return next((str(Requirement(line).specifier) for line in lines if Requirement(line).name == "torch"), "")


def _paired(machine: Machine) -> bool:
    """Whether torchvision accepts the installed torch, and its compiled operators loaded with it."""
    torch = machine.packages.get("torch")
    if torch is None or machine.packages.get("torchvision") is None or "torchvision" in machine.broken:
        return False
    return torch.split("+")[0] in Requirement(f"torch{machine.torch_needed}").specifier


def _failure(module: str) -> str | None:
    """Why a compiled package does not import; a wrong torch, or a missing system library, shows only here."""
    try:
        importlib.import_module(module)
        if module == "torchvision":
            importlib.import_module("torch").ops.torchvision.nms  # noqa: B018  raises where the pair does not match
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        return first_line(error)
    return None


def _project() -> Path:
    """The project around the current folder, or that folder where there is none."""
    try:
        return project_root()
    except SardinoError:
        return Path.cwd()


def _memory() -> tuple[float, float]:
    """Total and free memory in bytes, within the container's limit where one is set."""
    memory = psutil.virtual_memory()
    total, free = float(memory.total), float(memory.available)
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):  # no cgroup v2, or "max": the machine's own memory is the limit
        return total, free
    return min(total, limit), min(free, max(limit - used, 0))


def _revision(root: Path) -> str | None:
    """The commit of the project, with "+" where the working tree differs from it; None outside git."""
    try:
        git = ["git", "-C", str(root)]
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        dirty = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")
