"""A sweep as Kubernetes jobs: the real Snakemake, its real generic executor, manifests held to Kubernetes' own schema.

No cluster is at hand, so kubectl has a stand-in that starts a job's command here, and forgets no job.
"""

import json
import os
import stat
import subprocess
import sys

import kubernetes_validate
import psutil
import pytest
import yaml

from sardino.errors import SardinoError
from sardino.study import cluster
from sardino.study.cluster import Kubernetes, manifest, write_profile
from sardino.study.workspace import Workspace

KUBECTL = """#!{python}
import json, os, pathlib, subprocess, sys
jobs = pathlib.Path({jobs!r})
verb, *rest = sys.argv[1:]
if verb == "create":
    job = json.load(sys.stdin)
    path = jobs / job["metadata"]["name"]
    path.mkdir()
    (path / "job.json").write_text(json.dumps(job))
    pod = job["spec"]["template"]["spec"]["containers"][0]
    wrapped = 'echo $$ > pid; cd "$0"; "$@"; echo $? > ' + str(path / "rc")
    subprocess.Popen(["sh", "-c", wrapped, pod["workingDir"], *pod["command"]], cwd=path, start_new_session=True,
                     stdout=open(path / "log", "w"), stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
elif verb == "get":
    path = jobs / rest[1]
    if not path.is_dir():
        sys.exit("Error from server (NotFound): jobs.batch not found")
    code = (path / "rc").read_text().strip() if (path / "rc").is_file() else ""
    print(json.dumps({{"status": {{"succeeded": 1}} if code == "0" else {{"failed": 1}} if code else {{"active": 1}}}}))
elif verb == "delete":
    (jobs / "deleted").open("a").write(" ".join(rest) + "\\n")
"""


@pytest.fixture
def kubectl(tmp_path, monkeypatch):
    """A folder of jobs, and the stand-in first on PATH."""
    jobs, binaries = tmp_path / "jobs", tmp_path / "bin"
    jobs.mkdir()
    binaries.mkdir()
    (binaries / "kubectl").write_text(KUBECTL.format(python=sys.executable, jobs=str(jobs)))
    (binaries / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{binaries}{os.pathsep}{os.environ['PATH']}")
    yield jobs
    for pid in jobs.glob("*/pid"):
        if psutil.pid_exists(number := int(pid.read_text())):
            psutil.Process(number).kill()


def profile_folder(project, folder):
    """A written profile that asks after its jobs each second, where a cluster is asked each ten."""
    write_profile(folder, project.root)
    with (folder / "config.yaml").open("a") as config:
        config.write("seconds-between-status-checks: 1\n")
    return folder


def reproduce(project, *options):
    command = [sys.executable, "-m", "sardino.cli.app", "reproduce", "smoke", *options]
    done = subprocess.run(command, cwd=project.root, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout + done.stderr


def test_runs_become_jobs_and_leave_what_they_leave_here_and_a_failing_one_its_traceback(project, kubectl, tmp_path):
    project.notebook("00_quickstart", body='raise ValueError("no such scene")')
    folder = profile_folder(project, tmp_path / "cluster")
    options = ["--only", "pretrain-europe", "--kubernetes", str(folder), "--device", "cpu-1"]
    try:
        code, told = reproduce(project, *options, "--only", "quickstart", "--retries", "0")
    finally:
        project.notebook("00_quickstart")
    assert code == 1 and "ValueError: no such scene" in told and "failed/quickstart.ipynb" in told
    assert {"data", "pretrain-europe"} == set(project.records())
    jobs = [json.loads(path.read_text()) for path in kubectl.glob("*/job.json")]
    assert len(jobs) == 3
    for job in jobs:
        kubernetes_validate.validate(job, "1.30", strict=True)
        (pod,) = job["spec"]["template"]["spec"]["containers"]
        assert pod["volumeMounts"] == [{"name": "project", "mountPath": str(project.root)}]
        assert pod["resources"]["requests"]["memory"].endswith("Mi") and job["spec"]["activeDeadlineSeconds"] >= 900
    code, told = reproduce(project, *options)
    assert code == 0 and "everything was up to date" in told and len(list(kubectl.glob("*/job.json"))) == 3


def test_status_of_a_job_and_of_a_cluster_that_does_not_answer(kubectl, monkeypatch):
    (kubectl / "a").mkdir()
    assert cluster.status("a") == "running"
    (kubectl / "a" / "rc").write_text("0\n")
    assert cluster.status("a") == "success"
    (kubectl / "a" / "rc").write_text("1\n")
    assert cluster.status("a") == "failed" and cluster.status("gone") == "failed"
    silent = subprocess.CompletedProcess([], 1, "", "Unable to connect to the server")
    monkeypatch.setattr(cluster, "_ran", lambda *_, **__: silent)
    assert cluster.status("a") == "running"
    with pytest.raises(SardinoError, match="does not answer"):
        Kubernetes().cancel(Workspace.open("smoke"))


def test_the_jobs_of_a_killed_sweep_are_ended_and_no_others(project, kubectl):
    space = Workspace.open("smoke", root=project.root)
    Kubernetes().cancel(space)
    (line,) = (kubectl / "deleted").read_text().splitlines()
    job = manifest(cluster.TEMPLATES / "job.yaml", "data", 1, 2000, 15, space.build / ".snakemake/tmp.1/script.sh")
    assert f"--selector {cluster.SWEEP}={job['metadata']['labels'][cluster.SWEEP]} " in line + " "
    assert cluster.label(space.build) != cluster.label(space.build.with_name("laptop"))


def test_a_profile_is_written_once_and_its_faults_are_named(project, tmp_path):
    written = write_profile(tmp_path / "cluster", project.root)
    assert [path.name for path in written] == ["cancel", "config.yaml", "job.yaml"]
    assert written[0].stat().st_mode & stat.S_IXUSR and yaml.safe_load(written[1].read_text())["jobs"] == 20
    with pytest.raises(SardinoError, match="is there already"):
        write_profile(tmp_path / "cluster", project.root)
    written[2].write_text("kind: Job\n")
    with pytest.raises(SardinoError, match=r"job\.yaml is no manifest of a job with a container"):
        manifest(written[2], "data", 1, 2000, 15, tmp_path / "build/.snakemake/tmp.1/script.sh")
    with pytest.raises(SardinoError, match=r"has no config\.yaml"):
        Kubernetes(folder=tmp_path / "nowhere").arguments(Workspace.open("smoke", root=project.root))
