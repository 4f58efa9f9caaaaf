"""What this machine has and what would stop a run: the report behind `sardino doctor`."""

import importlib
import importlib.metadata as metadata
import os
import re
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from packaging.requirements import Requirement

from sardino.errors import SardinoError, first_line
from sardino.reporting.record import git, hardware
from sardino.study.extras import absent
from sardino.study.home import BORROWED, home
from sardino.study.workspace import project_root

GIB = 2**30
MEMORY_GIB = 6.0  # below this the laptop profile may be killed in the middle of a notebook
DISK_GIB = 2.0  # a tile store, the executed notebooks and the weights
TOLD = ("torch", "torchvision", "timm", "zarr", "xarray", "rasterio", "geopandas", "jupytext", "papermill", "snakemake")
COMPILED = ("torch", "torchvision", "timm", "rasterio", "zarr")  # import only where their libraries fit
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Machine:
    """The facts that `report` prints and `problems` judges; sizes in GiB."""

    root: Path
    python: tuple[int, int, int]
    packages: dict[str, str | None]  # every dependency of the study; None where it is not installed
    absent: list[str]  # extras that are not installed
    drift: dict[str, tuple[str, str]]  # package: (installed, locked) where they differ
    broken: dict[str, str]  # package: why it does not import
    torch_needed: str  # the torch that the installed torchvision asks for
    cpu: str
    cores: int
    accelerator: str | None
    threads: int
    memory_gib: float
    memory_free_gib: float
    disk_free_gib: float  # where build/ lies
    read_only: list[Path]  # of the project's folder and that of build/
    home: Path | None
    checkout: bool  # whether the folder lies in a git checkout
    revision: str | None

    @property
    def paired(self) -> bool:
        """Whether torchvision accepts the installed torch, and its compiled operators loaded with it."""
        torch, there = self.packages.get("torch"), self.packages.get("torchvision") and "torchvision" not in self.broken
        return bool(torch and there and torch in Requirement(f"torch{self.torch_needed}").specifier)


def examine(root: Path | None = None) -> Machine:
    """Look at the machine, the environment and the project folder (by default the one around the current folder)."""
    if root is None:
        root = Path.cwd()
        with suppress(SardinoError):
            root = project_root()
    root = root.resolve()
    packages: dict[str, str | None] = dict.fromkeys(item.name for item in _required("sardino", "study"))
    for name in packages:
        with suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    broken = {name: why for name in COMPILED if (why := _failure(name))}
    memory, free = _memory()
    found = hardware()
    build = root / os.environ.get("SARDINO_BUILD", "build")
    place = next(folder for folder in (build, *build.parents) if folder.is_dir())
    return Machine(
        root=root,
        python=sys.version_info[:3],
        packages=packages,
        absent=absent(),
        drift=_drift(root / "requirements.lock", packages),
        broken=broken,
        torch_needed=next((str(item.specifier) for item in _required("torchvision") if item.name == "torch"), ""),
        cpu=found["cpu"],
        cores=found["cores"],
        accelerator=found["gpu"],
        # Imported here, so that a broken torch is reported by name instead of stopping the report.
        threads=importlib.import_module("torch").get_num_threads() if "torch" not in broken else 0,
        memory_gib=memory / GIB,
        memory_free_gib=free / GIB,
        disk_free_gib=shutil.disk_usage(place).free / GIB,
        read_only=[folder for folder in dict.fromkeys((root, place)) if not os.access(folder, os.W_OK)],
        home=None if BORROWED in os.environ else home(),
        checkout=any((folder / ".git").exists() for folder in (root, *root.parents)),
        revision=_revision(root),
    )


def report(m: Machine) -> list[tuple[str, str]]:
    """(what, value) rows for reading; what is merely optional says so in its value."""
    pair = "match" if m.paired else "DO NOT MATCH"
    extras = f"without {', '.join(m.absent)} (pip install '.[{m.absent[0]}]')" if m.absent else "all"
    unread = f"unknown: if another user owns the folder, `git config --global --add safe.directory {m.root}`"
    no_git = unread if m.checkout else "none (fine: records will say that the code is not under git)"
    return [
        ("python", ".".join(map(str, m.python))),
        *((name, m.packages.get(name) or "not installed") for name in TOLD),
        ("torch and torchvision", f"{pair} (torchvision asks for torch{m.torch_needed or ', any version'})"),
        ("environment", "as in requirements.lock" if not m.drift else f"{len(m.drift)} packages differ from the lock"),
        ("extras", extras),
        ("processor", f"{m.cpu}, {m.cores} cores"),
        ("accelerator", m.accelerator or "none (fine: smoke, laptop and real run on the processor)"),
        ("threads of torch", str(m.threads)),
        ("memory", f"{m.memory_gib:.1f} GiB, {m.memory_free_gib:.1f} GiB free"),
        ("disk", f"{m.disk_free_gib:.1f} GiB free"),
        ("home", str(m.home or "none that can be written (fine: what libraries keep goes to a temporary folder)")),
        ("git revision", m.revision or no_git),
    ]


def problems(m: Machine) -> list[str]:
    """One sentence with its remedy for each thing that would stop or spoil a run."""
    again = "remove .venv and run any make target to install it again"
    memory, disk = f"Only {m.memory_gib:.1f} GiB of memory", f"Only {m.disk_free_gib:.1f} GiB of disk free at {m.root}"
    missing = [name for name, version in m.packages.items() if version is None]
    drift = ", ".join(f"{name} {have} (lock: {want})" for name, (have, want) in sorted(m.drift.items())[:5])
    torch = f"torchvision asks for torch{m.torch_needed}, and torch {m.packages.get('torch')} is installed"
    elsewhere = not (m.root / "notebooks").is_dir()
    judged = [
        (m.python < (3, 11), f"Python {m.python[0]}.{m.python[1]} is too old: install 3.11 or newer, then {again}."),
        (missing, f"Not installed: {', '.join(missing)}: {again}, or pip install '.[study]'."),
        (not m.paired, f"{torch}: {again}."),
        *((True, f"{name} does not import ({why}): {again}.") for name, why in m.broken.items()),
        (m.drift, f"{len(m.drift)} packages differ from requirements.lock, as {drift}: {again}."),
        (m.memory_gib < MEMORY_GIB, f"{memory}: run 'make reproduce PROFILE=smoke', or free {MEMORY_GIB:.0f} GiB."),
        (m.disk_free_gib < DISK_GIB, f"{disk}: free {DISK_GIB:.0f} GiB, or set SARDINO_BUILD."),
        (elsewhere, f"{m.root} is not the sardino project: change to its folder, the one with notebooks/."),
        *((True, f"{folder} is read-only: work in a copy, or set SARDINO_BUILD for build/.") for folder in m.read_only),
        (m.threads > m.cores, f"torch uses {m.threads} threads on {m.cores} cores: set OMP_NUM_THREADS={m.cores}."),
    ]
    return [sentence for found, sentence in judged if found]


def locked(lock: Path) -> list[tuple[Requirement, int]]:
    """Each requirement of a hash lock, and how many hashes stand under it.

    Raises SardinoError: a line is not `name==version [; marker]` with its hashes.
    """
    rows = []
    for entry in lock.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        line = HASH.sub("", entry).strip()
        if not line or line.startswith("#"):
            continue
        try:
            rows.append((Requirement(line), len(HASH.findall(entry))))
        except ValueError as error:
            raise SardinoError(f"{lock}: cannot read '{line[:80]}'; write the lock again with 'make lock'") from error
    return rows


def _required(package: str, extra: str = "") -> list[Requirement]:
    """What an installed package's own metadata asks for here, with an extra; nothing of one that is not there."""
    try:
        asked = list(map(Requirement, metadata.requires(package) or []))
    except metadata.PackageNotFoundError:
        return []
    return [item for item in asked if item.marker is None or item.marker.evaluate({"extra": extra})]


def _drift(lock: Path, packages: dict[str, str | None]) -> dict[str, tuple[str, str]]:
    """The direct dependencies whose installed version is not the lock's; none outside a checkout."""
    differ = {}
    for item, _ in locked(lock) if lock.is_file() else ():
        have, counts = packages.get(item.name), item.marker is None or item.marker.evaluate()
        if have and counts and have not in item.specifier:  # 2.15.0+cpu is in ==2.15.0, another build of it
            differ[item.name] = (have, str(item.specifier).removeprefix("=="))
    return differ


def _failure(module: str) -> str | None:
    """Why a compiled package does not import; a wrong torch, or a missing system library, shows only here."""
    try:
        importlib.import_module(module)
        if module == "torchvision":
            importlib.import_module("torch").ops.torchvision.nms  # noqa: B018  raises where the pair does not match
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        return first_line(error)
    return None


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
    commit, changes = git(root, "rev-parse", "--short=12", "HEAD"), git(root, "status", "--porcelain")
    return None if commit is None or changes is None else commit + "+" * bool(changes)
