"""What this machine has and what would stop a run: the report behind `sardino doctor`."""

import importlib
import importlib.metadata as metadata
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
from packaging.requirements import Requirement

from sardino.workflow.environment import locked

GB = 1e9
MEMORY_GB = 6.0  # below this the laptop profile may be killed in the middle of a notebook
DISK_GB = 2.0  # a tile store, the executed notebooks and the weights
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


@dataclass(frozen=True)
class Machine:
    """The facts that `report` prints and `problems` judges; sizes in GB (1e9 bytes)."""

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
    memory_gb: float
    memory_free_gb: float
    disk_free_gb: float
    writable: bool
    revision: str | None
    data: Path | None


def examine(root: Path | None = None, data: Path | None = None) -> Machine:
    """Look at the machine, the environment and the project folder (by default the current one)."""
    root = (root or Path.cwd()).resolve()
    packages = _packages()
    broken = {name: why for name in ("torch", "torchvision", "timm", "rasterio", "zarr") if (why := _failure(name))}
    memory, free = _memory()
    accelerator, threads = _torch() if "torch" not in broken else (None, 0)
    return Machine(
        root=root,
        python=sys.version_info[:3],
        packages=packages,
        drift=_drift(root / "requirements.lock", packages),
        broken=broken,
        torch_needed=_torch_of_torchvision(),
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        accelerator=accelerator,
        threads=threads,
        memory_gb=memory / GB,
        memory_free_gb=free / GB,
        disk_free_gb=shutil.disk_usage(root).free / GB,
        writable=os.access(root, os.W_OK),
        revision=_revision(root),
        data=data,
    )


def report(machine: Machine | None = None) -> list[tuple[str, str]]:
    """Return (what, value) rows for reading; what is merely optional says so in its value."""
    m = machine or examine()
    pair = "match" if _paired(m) else "DO NOT MATCH"
    return [
        ("python", ".".join(map(str, m.python))),
        *((name, m.packages.get(name) or "not installed") for name in SHOWN),
        ("torch and torchvision", f"{pair} (torchvision asks for torch{m.torch_needed or ', any version'})"),
        ("environment", "as in requirements.lock" if not m.drift else f"{len(m.drift)} packages differ from the lock"),
        ("processor", f"{m.cpu}, {m.cores} cores"),
        ("accelerator", m.accelerator or "none (fine: smoke, laptop and real run on the processor)"),
        ("threads of torch", str(m.threads)),
        ("memory", f"{m.memory_gb:.1f} GB, {m.memory_free_gb:.1f} GB free"),
        ("disk", f"{m.disk_free_gb:.1f} GB free"),
        ("git revision", m.revision or "none (fine: records will say that the code is not under git)"),
        ("real data", str(m.data) if m.data else "none named (fine: the synthetic world needs none)"),
    ]


def problems(machine: Machine | None = None) -> list[str]:
    """Return one sentence with its remedy for each thing that would stop or spoil a run."""
    m = machine or examine()
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
    if m.memory_gb < MEMORY_GB:
        found.append(
            f"Only {m.memory_gb:.1f} GB of memory: run 'make reproduce PROFILE=smoke', or free {MEMORY_GB:.0f} GB."
        )
    if m.disk_free_gb < DISK_GB:
        found.append(
            f"Only {m.disk_free_gb:.1f} GB of disk free at {m.root}: free {DISK_GB:.0f} GB, or set SARDINO_BUILD."
        )
    if not m.writable:
        found.append(f"{m.root} is read-only: work in a copy that you may write to.")
    if m.threads > m.cores:
        found.append(f"torch uses {m.threads} threads on {m.cores} cores: set OMP_NUM_THREADS={m.cores}.")
    if m.data is not None and not m.data.is_dir():
        found.append(f"{m.data} is not a folder: give DATA= the folder that holds the chips.")
    return found


def _packages() -> dict[str, str | None]:
    """Return the installed version of every runtime dependency that this package declares."""
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
    """Return the direct dependencies whose installed version is not the lock's; none outside a checkout."""
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
    """Return the versions of torch that torchvision's own metadata accept, "" where it accepts any."""
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
    """Return why a compiled package does not import; a wrong torch, or a missing system library, shows only here."""
    try:
        importlib.import_module(module)
        if module == "torchvision":
            importlib.import_module("torch").ops.torchvision.nms  # noqa: B018  raises where the pair does not match
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        return str(error).splitlines()[0][:200]
    return None


def _torch() -> tuple[str | None, int]:
    """Return the accelerator's name, if there is one, and torch's thread count."""
    import torch  # here, so that a broken torch is reported by name instead of stopping the report

    if torch.cuda.is_available():
        return f"CUDA: {torch.cuda.get_device_name(0)}", torch.get_num_threads()
    if torch.backends.mps.is_available():
        return "MPS: Apple GPU", torch.get_num_threads()
    return None, torch.get_num_threads()


def _cpu() -> str:
    """Return the processor's model name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _memory() -> tuple[float, float]:
    """Return total and free memory in bytes, within the container's limit where one is set."""
    memory = psutil.virtual_memory()
    total, free = float(memory.total), float(memory.available)
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):  # no cgroup v2, or "max": the machine's own memory is the limit
        return total, free
    return min(total, limit), min(free, max(limit - used, 0))


def _revision(root: Path) -> str | None:
    """Return the commit of the project, with "+" where the working tree differs from it; None outside git."""
    try:
        git = ["git", "-C", str(root)]
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        dirty = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")
