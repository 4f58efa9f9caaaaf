"""A Kubernetes cluster: Snakemake's generic executor asks here, and here asks kubectl.

Snakemake's own executor for Kubernetes assumes that pods share no files. Runs here hand each other stores and weights
through the project's folder, so pods mount it: one volume, at the path that it has where the sweep is started.
"""

import hashlib
import json
import os
import shlex
import subprocess
import sys
import uuid
from pathlib import Path
from string import Template
from typing import Any

import yaml

from sardino.errors import SardinoError
from sardino.files import write_text

TEMPLATES = Path(__file__).with_name("kubernetes_profile")
SWEEP = "sardino-sweep"
"""Label of a sweep's jobs."""


def write_profile(folder: Path, project: Path) -> list[Path]:
    """Write a Snakemake profile and the manifest of a job, to be edited.

    Args:
        folder: of the files.
        project: folder that pods mount.

    Raises:
        SardinoError: one of them is there already.
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
    """The job of one run: the template with its name, its command and what it asks for.

    Args:
        script: what Snakemake wants executed, below the sweep's working directory.

    Raises:
        SardinoError: the template is no manifest of a job with a container.
    """
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
        raise SardinoError(
            f"{template} is no manifest of a job with a container ({error}): `sardino kubernetes FOLDER` writes one"
        ) from error
    return job


def label(build: Path) -> str:
    """What the jobs of one project's profile have in common."""
    return hashlib.sha256(os.fsencode(build)).hexdigest()[:8]


def submit(job: dict[str, Any]) -> str:
    """Start a job and return its name."""
    done = _kubectl("create", "-f", "-", text=json.dumps(job))
    if done.returncode:
        raise SardinoError(f"kubectl takes no job: {done.stderr.strip()}")
    return str(job["metadata"]["name"])


def status(name: str) -> str:
    """What the generic executor wants to hear: "running", "success" or "failed"; a job that is gone has failed.

    A cluster that does not answer says nothing of the job, which is then taken to run.
    """
    done = _kubectl("get", "job", name, "-o", "json")
    if done.returncode:
        return "failed" if "NotFound" in done.stderr else "running"
    told = json.loads(done.stdout).get("status", {})
    return "success" if told.get("succeeded") else "failed" if told.get("failed") else "running"


def cancel(build: Path) -> None:
    """End the jobs of a sweep, and wait until their pods are gone: two would write to one place."""
    done = _kubectl("delete", "job", "--selector", f"{SWEEP}={label(build)}", "--cascade=foreground")
    if done.returncode:
        raise SardinoError(f"kubectl does not answer: {done.stderr.strip()}")


def _kubectl(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["kubectl", *arguments], input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise SardinoError("there is no kubectl on this machine: install it, with access to the cluster") from error


def main(arguments: list[str]) -> None:
    """What the profile's commands call."""
    match arguments:
        case ["submit", template, rule, threads, memory_mb, minutes, script]:
            print(submit(manifest(Path(template), rule, int(threads), int(memory_mb), int(minutes), Path(script))))
        case ["status", name]:
            print(status(name))
        case _:
            raise SardinoError("a Snakemake profile calls this: `sardino kubernetes FOLDER` writes one")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SardinoError as error:
        sys.exit(str(error))
