"""Clusters: the same sweep, each run a job of SLURM or of Kubernetes through an executor plugin of Snakemake.

Snakemake's own executor for Kubernetes assumes that pods share no files. Runs here hand each other stores and weights
through the project's folder, so pods mount it: one volume, at the path that it has where the sweep is started. The
generic executor asks this file (see `main`), which asks kubectl.
"""

import hashlib
import importlib.util
import json
import math
import os
import shlex
import shutil
import subprocess
import sys
import uuid
from abc import ABC, abstractmethod
from pathlib import Path
from string import Template
from typing import Annotated, Any

from sardino.errors import SardinoError
from sardino.files import write_text
from sardino.options import Count, Options
from sardino.study.plan import Run
from sardino.study.workspace import Workspace

MARGIN = 3.0  # what a job asks for over what is predicted: being cut off costs more than ending early
LEAST_MINUTES, LEAST_MB = 15, 2000  # below, a prediction says nothing: imports, a kernel and Snakemake itself
TEMPLATES = Path(__file__).with_name("kubernetes_profile")
SWEEP = "sardino-sweep"  # label of a sweep's Kubernetes jobs


class Cluster(Options, ABC):
    """How the runs of a sweep become jobs."""

    device: Annotated[str, "What a job runs on: its time and memory follow (see plan)."] = "cpu-1"
    # A pre-training goes on in another try.
    hours: Annotated[float | None, "The longest a job may ask for."] = None

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
        predicted = {row.name: row for row in forecast(workspace.profile, device, runs)}
        return {run.name: self.asked(predicted[run.name].hours, predicted[run.name].memory_gb) for run in runs}

    def asked(self, hours: float, memory_gb: float) -> dict[str, str | int]:
        """One job's minutes and megabytes."""
        minutes = max(LEAST_MINUTES, math.ceil(60 * MARGIN * hours))
        if self.hours is not None:
            minutes = min(minutes, max(1, math.floor(60 * self.hours)))
        return {"runtime": minutes, "mem_mb": max(LEAST_MB, math.ceil(1.5 * 1000 * memory_gb))}


class Slurm(Cluster):
    """A SLURM cluster whose nodes share the project's folder."""

    partition: Annotated[str, "SLURM partition; the cluster's default otherwise."] = ""
    account: Annotated[str, "SLURM account; your default otherwise."] = ""
    jobs: Annotated[Count, "SLURM jobs at a time."] = 20
    sbatch: Annotated[str, "More for sbatch, as in '--gres=gpu:1'."] = ""

    def __str__(self) -> str:
        return f"SLURM, {self.jobs} at a time"

    def arguments(self, workspace: Workspace) -> list[str]:
        if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
            raise SardinoError("--slurm needs Snakemake's plugin: install it by `pip install -e '.[slurm]'`")
        if shutil.which("sbatch") is None:
            raise SardinoError("--slurm needs sbatch, which is not here: start it on the cluster's login node")
        # A cluster that keeps no accounts answers squeue only.
        accounts = shutil.which("sacct") and subprocess.run(["sacct", "-nX"], capture_output=True).returncode == 0
        command = ["--executor", "slurm", "--workflow-profile", "none", "--jobs", str(self.jobs)]
        command += ["--latency-wait", "60", "--slurm-status-command", "sacct" if accounts else "squeue"]
        command += ["--slurm-jobname-prefix", job_prefix(workspace)]
        return [*command, "--slurm-init-seconds-before-status-checks", "10"]

    def asked(self, hours: float, memory_gb: float) -> dict[str, str | int]:
        own = {"slurm_partition": self.partition, "slurm_account": self.account, "slurm_extra": self.sbatch}
        return {**super().asked(hours, memory_gb), **{key: value for key, value in own.items() if value}}

    def cancel(self, workspace: Workspace) -> None:
        listed = _ran("squeue", "--noheader", "--me", "--format", "%i %j")
        if listed.returncode:
            raise SardinoError(f"squeue does not answer: {listed.stderr.strip()}")
        jobs = [line.partition(" ") for line in listed.stdout.splitlines()]
        if mine := [number for number, _, name in jobs if name.strip().startswith(job_prefix(workspace))]:
            _ran("scancel", *mine)


class Kubernetes(Cluster):
    """A Kubernetes cluster whose pods mount the project's folder."""

    folder: Path = Path()  # of the Snakemake profile that `sardino kubernetes` wrote

    def __str__(self) -> str:
        return f"Kubernetes as {self.folder} says"

    def arguments(self, workspace: Workspace) -> list[str]:
        if importlib.util.find_spec("snakemake_executor_plugin_cluster_generic") is None:
            raise SardinoError("--kubernetes needs Snakemake's plugin: install it by `pip install -e '.[kubernetes]'`")
        if not (self.folder / "config.yaml").is_file():
            raise SardinoError(f"{self.folder} has no config.yaml: `sardino kubernetes {self.folder}` writes one")
        return ["--workflow-profile", str(self.folder.resolve())]

    def cancel(self, workspace: Workspace) -> None:
        """It waits until the pods are gone: two would write to one place."""
        selector = f"{SWEEP}={label(workspace.build)}"
        done = _ran("kubectl", "delete", "job", "--selector", selector, "--cascade=foreground")
        if done.returncode:
            raise SardinoError(f"kubectl does not answer: {done.stderr.strip()}")


def label(build: Path) -> str:
    """What the jobs of one project's profile have in common."""
    return hashlib.sha256(os.fsencode(build)).hexdigest()[:8]


def job_prefix(workspace: Workspace) -> str:
    """What the names of a sweep's SLURM jobs begin with: the profile, and which folder's."""
    return f"sardino-{workspace.profile.name[:30]}-{label(workspace.build)}"


def write_profile(folder: Path, project: Path) -> list[Path]:
    """Write a Snakemake profile and the manifest of a job, to be edited; refused where one is there already.

    Pods mount the project's folder.
    """
    folder = folder.resolve()
    places = {"project": project.resolve(), "python": sys.executable, "folder": folder}
    quoted = {name: shlex.quote(str(place)) for name, place in places.items()}
    written = []
    for template in sorted(TEMPLATES.iterdir()):
        target = folder / template.name
        if target.exists():
            raise SardinoError(f"{target} is there already: edit it, or name another folder")
        text = Template(template.read_text(encoding="utf-8")).safe_substitute(quoted)
        write_text(text, target).chmod(0o755 if text.startswith("#!") else 0o644)
        written.append(target)
    return written


def manifest(template: Path, rule: str, threads: int, memory_mb: int, minutes: int, script: Path) -> dict[str, Any]:
    """The job of one run: a template, which must be of a job with a container, with its name and what it asks for.

    It executes Snakemake's `script`, which lies below the sweep's working directory.
    """
    import yaml  # which no other command needs

    build = script.parents[2]
    try:
        job: dict[str, Any] = yaml.safe_load(template.read_text(encoding="utf-8"))
        container = job["spec"]["template"]["spec"]["containers"][0]
        container["command"], container["workingDir"] = ["sh", str(script)], str(build)
        asked = container.setdefault("resources", {}).setdefault("requests", {})
        asked |= {"cpu": str(threads), "memory": f"{memory_mb}Mi"}
        job["spec"]["activeDeadlineSeconds"] = 60 * minutes
        job["metadata"]["name"] = f"sardino-{rule.lower()[:40]}-{uuid.uuid4().hex[:8]}"
        job["metadata"].setdefault("labels", {})[SWEEP] = label(build)
    except (OSError, yaml.YAMLError, KeyError, IndexError, TypeError, AttributeError) as error:
        told = f"{template} is no manifest of a job with a container ({error})"
        raise SardinoError(f"{told}: `sardino kubernetes FOLDER` writes one") from error
    return job


def status(name: str) -> str:
    """What the generic executor wants to hear: "running", "success" or "failed"; a job that is gone has failed.

    A cluster that does not answer says nothing of the job, which is then taken to run.
    """
    done = _ran("kubectl", "get", "job", name, "-o", "json")
    if done.returncode:
        return "failed" if "NotFound" in done.stderr else "running"
    told = json.loads(done.stdout).get("status", {})
    return "success" if told.get("succeeded") else "failed" if told.get("failed") else "running"


def _ran(*command: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise SardinoError(f"there is no {command[0]} here: install it, with access to the cluster") from error


def main(arguments: list[str]) -> None:
    """What the commands of the Kubernetes profile call."""
    match arguments:
        case ["submit", template, rule, threads, memory_mb, minutes, script]:
            job = manifest(Path(template), rule, int(threads), int(memory_mb), int(minutes), Path(script))
            done = _ran("kubectl", "create", "-f", "-", text=json.dumps(job))
            if done.returncode:
                raise SardinoError(f"kubectl takes no job: {done.stderr.strip()}")
            print(job["metadata"]["name"])
        case ["status", name]:
            print(status(name))
        case _:
            raise SardinoError("a Snakemake profile calls this: `sardino kubernetes FOLDER` writes one")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SardinoError as error:
        sys.exit(str(error))
