"""Clusters: the same sweep, each run a job of SLURM or of Kubernetes through an executor plugin of Snakemake."""

import importlib.util
import math
import shutil
import subprocess
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from sardino.errors import SardinoError
from sardino.study import kubernetes
from sardino.study.plan import Run
from sardino.study.workspace import Workspace

MARGIN = 3.0
"""What a job asks for over what is predicted: one that is cut off costs more than one that ends early."""
LEAST_MINUTES, LEAST_MB = 15, 2000
"""Below this a prediction says nothing: imports, a kernel and Snakemake itself."""


@dataclass(frozen=True)
class Cluster(ABC):
    """How the runs of a sweep become jobs.

    Args:
        device: what a job runs on; see sardino.study.forecast.
        hours: the longest a job may ask for; a pre-training that needs more goes on from its snapshot when
            it is tried again. None for no limit.
    """

    device: str = "cpu-1"
    hours: float | None = None

    @abstractmethod
    def arguments(self, workspace: Workspace) -> list[str]:
        """Snakemake's options; refused where a plugin or the cluster is missing."""

    @abstractmethod
    def cancel(self, workspace: Workspace) -> None:
        """End the jobs of this project's profile: those of a sweep that was killed would write beside the next."""

    def resources(self, workspace: Workspace, runs: list[Run]) -> dict[str, dict[str, str | int]]:
        """What each run's job asks for, from its forecast."""
        # Counting loads torch, which a sweep on one machine does without.
        from sardino.study.forecast import find_device, forecast

        device = find_device(self.device, workspace.profile.threads)
        predicted = {row.name: row for row in forecast(workspace.profile, device)}
        return {run.name: self.asked(predicted[run.name].hours, predicted[run.name].memory_gb) for run in runs}

    def asked(self, hours: float, memory_gb: float) -> dict[str, str | int]:
        """One job's minutes and megabytes."""
        minutes = max(LEAST_MINUTES, math.ceil(60 * MARGIN * hours))
        return {
            "runtime": minutes if self.hours is None else min(minutes, max(1, math.floor(60 * self.hours))),
            "mem_mb": max(LEAST_MB, math.ceil(1.5 * 1000 * memory_gb)),
        }


@dataclass(frozen=True)
class Slurm(Cluster):
    """A SLURM cluster whose nodes share the project's folder.

    Args:
        partition, account: "" for the cluster's and the user's defaults.
        jobs: at a time.
        sbatch: further options of sbatch.
    """

    partition: str = ""
    account: str = ""
    jobs: int = 20
    sbatch: str = ""

    def __str__(self) -> str:
        return f"SLURM, {self.jobs} at a time"

    def arguments(self, workspace: Workspace) -> list[str]:
        if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
            raise SardinoError("--slurm needs Snakemake's plugin: install it with `pip install -e '.[slurm]'`")
        if shutil.which("sbatch") is None:
            raise SardinoError(
                "--slurm needs sbatch, which is not on this machine: start it on the cluster's login node"
            )
        command = ["--executor", "slurm", "--workflow-profile", "none", "--jobs", str(self.jobs)]
        command += ["--latency-wait", "60"]
        command += ["--slurm-jobname-prefix", job_prefix(workspace), "--slurm-init-seconds-before-status-checks", "10"]
        # A cluster that keeps no accounts answers squeue only.
        accounts = shutil.which("sacct") and subprocess.run(["sacct", "-nX"], capture_output=True).returncode == 0
        return [*command, "--slurm-status-command", "sacct" if accounts else "squeue"]

    def asked(self, hours: float, memory_gb: float) -> dict[str, str | int]:
        own = {"slurm_partition": self.partition, "slurm_account": self.account, "slurm_extra": self.sbatch}
        return {**super().asked(hours, memory_gb), **{key: value for key, value in own.items() if value}}

    def cancel(self, workspace: Workspace) -> None:
        listed = subprocess.run(
            ["squeue", "--noheader", "--me", "--format", "%i %j"], capture_output=True, text=True, check=False
        )
        if listed.returncode:
            raise SardinoError(f"squeue does not answer: {listed.stderr.strip()}")
        jobs = [line.split(maxsplit=1) for line in listed.stdout.splitlines()]
        mine = [job[0] for job in jobs if len(job) == 2 and job[1].startswith(job_prefix(workspace))]
        if mine:
            subprocess.run(["scancel", *mine], check=False)


@dataclass(frozen=True)
class Kubernetes(Cluster):
    """A Kubernetes cluster whose pods mount the project's folder.

    Args:
        folder: of the Snakemake profile that `sardino kubernetes` wrote.
    """

    folder: Path = Path()

    def __str__(self) -> str:
        return f"Kubernetes as {self.folder} says"

    def arguments(self, workspace: Workspace) -> list[str]:
        if importlib.util.find_spec("snakemake_executor_plugin_cluster_generic") is None:
            raise SardinoError(
                "--kubernetes needs Snakemake's generic plugin: install it with `pip install -e '.[kubernetes]'`"
            )
        if not (self.folder / "config.yaml").is_file():
            raise SardinoError(f"{self.folder} has no config.yaml: `sardino kubernetes {self.folder}` writes one")
        return ["--workflow-profile", str(self.folder.resolve())]

    def cancel(self, workspace: Workspace) -> None:
        kubernetes.cancel(workspace.build)


def job_prefix(workspace: Workspace) -> str:
    """What the names of a sweep's jobs begin with: the profile, and which folder's."""
    return f"sardino-{workspace.profile.name[:30]}-{kubernetes.label(workspace.build)}"
