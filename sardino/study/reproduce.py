"""The reproduction: Snakemake executes what is stale of a profile's plan, one display tells about it."""

import fcntl
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import psutil

from sardino.errors import SardinoError
from sardino.files import write_json
from sardino.progress import duration
from sardino.reporting.record import read_record
from sardino.study.cluster import Cluster
from sardino.study.display import Progress
from sardino.study.extras import require
from sardino.study.kept import changed_runs, is_set_aside
from sardino.study.plan import Run, code_files, own_dependencies, plan, select
from sardino.study.verify import in_a_line, verify
from sardino.study.workspace import Workspace

SNAKEFILE = Path(__file__).with_name("Snakefile")
POLL_S = 0.5
COUNTED_MINUTES = 60  # profiles that take longer are worth the half minute of a forecast
HERE = ("--workflow-profile", "none", "--scheduler", "greedy")


def reproduce(
    profile: str,
    data: str = "",
    cores: int | None = None,
    only: Iterable[str] = (),
    root: Path | None = None,
    *,
    retries: int = 1,
    until: float | None = None,
    cluster: Cluster | None = None,
) -> int:
    """Bring all results of a profile up to date; what is up to date already is not run again.

    Args:
        profile, data, root: see `Workspace.open`; an unknown profile or run and missing data are refused.
        cores: CPU cores to use; all by default.
        only: run names; they and what they need are enough.
        retries: how often a failed run is tried again, unless the fault is the input's.
        until: minutes after which no run begins and those under way stop at their next checkpoint; None for no end.
        cluster: where each run is a job; None for this machine.

    Returns the exit code: 0 if everything is up to date, 1 if a run failed, 130 if stopped.
    """
    started = time.time()
    deadline = math.inf if until is None else started + 60 * until
    if cluster and until:
        raise SardinoError("--until stops runs of this machine: jobs of a cluster have a time of their own, --hours")
    require("study")
    workspace = Workspace.open(profile, data, root)
    if workspace.profile.data.source != "world":
        workspace.input_folder()
    runs, only = plan(workspace.profile), list(only)
    wanted = select(runs, only) if only else runs
    for run in wanted:
        code_files(workspace, run)  # a missing notebook is better told now than in Snakemake's words
    cores, log = cores or psutil.cpu_count() or 1, _log(workspace)
    place = f"{cores} cores" if cluster is None else str(cluster)
    print(f"{workspace.profile.title}: {len(wanted)} runs on {place}, log {_shown(log)}")
    where = cluster.arguments(workspace) if cluster else [*HERE, "--cores", str(cores)]
    asked = cluster.resources(workspace, wanted) if cluster else {}
    given = {**workspace.given, "root": str(workspace.root), "only": only, "resources": asked}
    if workspace.profile.keep and (changed := changed_runs(workspace, wanted, own_dependencies)):
        print(f"what is kept of these runs was made from something else, they run anew: {', '.join(changed)}")
    with _alone(workspace) as lock:
        for run in wanted:
            if not is_set_aside(workspace, run):
                # A notebook executed by hand left it: nobody knows from which code, and Snakemake would take it.
                workspace.record(run.name).unlink(missing_ok=True)
        if cluster:
            cluster.cancel(workspace)  # the jobs of a sweep that was killed
        try:
            with _stoppable():
                where = ["--retries", str(retries), *where]
                code, progress, peak_mb = _execute(workspace, wanted, where, given, lock, deadline)
        except KeyboardInterrupt:
            if cluster:
                cluster.cancel(workspace)
            print("stopped; the same command goes on where this one ended", file=sys.stderr)
            return 130
    if code and time.time() > deadline and not progress.of("FAILED"):
        done = len(wanted) - len(progress.of("waiting"))
        left = duration(progress.time_left_s())
        print(f"no more time: {done} of {len(wanted)} runs are finished, about {left} left; the same command goes on")
        return 130
    if code and not progress.stale:
        raise SardinoError(f"Snakemake could not start: {_last_words(log)} (all in {log})")
    if progress.stale and not code:
        # Waiting in a queue is no measure of the work.
        executed = [] if cluster else progress.of("done")
        publish_summary(workspace, runs, executed, time.time() - started, peak_mb)
    _tell(workspace, wanted, progress, time.time() - started)
    return 1 if code else 0


def show(workspace: Workspace) -> bool:
    """Print a profile's published tables and where the figures lie; False if there are none yet."""
    summary, report = workspace.results / "summary.txt", workspace.results / "report.html"
    tables = [summary] if summary.is_file() else sorted(workspace.results.glob("table*.md"))
    for table in tables:
        print("\n" + table.read_text(encoding="utf-8").rstrip())
    if figures := sorted(workspace.figures.glob("*.png")):
        print(f"\nfigures: {_shown(workspace.figures)}/ ({', '.join(path.stem for path in figures)})")
    if tables:
        print(f"tables:  {_shown(workspace.results)}/")
    if report.is_file():
        print(f"report:  {_shown(report)}")
    return bool(tables)


def publish_summary(workspace: Workspace, runs: list[Run], executed: list[Run], seconds: float, peak_mb: float) -> None:
    """Write results/<profile>/run.json if this session executed every run.

    A session that went on where another stopped cannot say what the whole takes.
    """
    if {run.name for run in executed} == {run.name for run in runs}:
        last = read_record(workspace.record(runs[-1].name))
        took = {"wall_s": round(seconds, 1), "peak_memory_mb": round(peak_mb, 1), "hardware": last["hardware"]}
        made = {"revision": last["code"]["revision"], "finished": last["finished"]}
        summary = {"profile": workspace.profile.name, "runs": len(runs), **took, **made}
        write_json(summary, workspace.results / "run.json")


def memory_mb(pid: int) -> float:
    """What a process and its descendants hold now: an upper bound, pages that they share count several times."""
    total = 0
    for process in _family(pid):
        with suppress(psutil.NoSuchProcess):  # it ended between the listing and the look
            total += process.memory_info().rss
    return total / 2**20


@contextmanager
def _alone(workspace: Workspace) -> Iterator[TextIO]:
    """One reproduction of a profile at a time, by a lock that ends with the last process that has the file open.

    Snakemake is given the file too: one whose parent was killed is still at work, and filelock keeps its file to
    itself. What a killed reproduction left behind is cleared away.
    """
    workspace.build.mkdir(parents=True, exist_ok=True)
    with (workspace.build / "reproduce.lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            other = f"another reproduction of profile '{workspace.profile.name}'"
            raise SardinoError(f"{other} is running as process {lock.read()}: wait for it, or stop it") from error
        except OSError:  # a file system without locks
            pass
        _note(lock, os.getpid())
        for stale in (workspace.build / ".snakemake" / "locks", workspace.build / "progress"):
            shutil.rmtree(stale, ignore_errors=True)
        yield lock


def _note(lock: TextIO, *pids: int) -> None:
    """Tell whom to stop."""
    lock.truncate(0)
    lock.write(" and ".join(map(str, pids)))
    lock.flush()


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM and SIGINT stop the children, also where a shell started us in the background with SIGINT ignored."""
    stop = signal.default_int_handler  # it raises KeyboardInterrupt
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _execute(
    workspace: Workspace, wanted: list[Run], where: list[str], given: dict[str, Any], lock: TextIO, deadline: float
) -> tuple[int, Progress, float]:
    """Run Snakemake to its end and show its progress; its exit code, and the most memory all of it held, MiB."""
    log = _log(workspace)
    config = write_json(given, workspace.build / "snakemake.json")
    command: list[str | Path] = [sys.executable, "-m", "snakemake", "--snakefile", SNAKEFILE]
    command += ["--directory", workspace.build, "--configfile", config, *where]
    command += ["--keep-going", "--rerun-incomplete", "--rerun-triggers", "mtime", "input", "params", "--nocolor"]
    command += ["--runtime-source-cache-path", workspace.build / ".snakemake" / "sources"]
    progress, peak_mb, stopping = Progress(workspace, until=deadline), 0.0, False
    with log.open("w", encoding="utf-8") as out:
        # Its own session: Ctrl-C reaches us, and we stop it in order.
        own: dict[str, Any] = {"start_new_session": True, "pass_fds": [lock.fileno()]}
        own["env"] = os.environ | {"SARDINO_UNTIL": str(deadline)}
        snakemake = subprocess.Popen(command, cwd=workspace.root, stdout=out, stderr=subprocess.STDOUT, **own)
        _note(lock, os.getpid(), snakemake.pid)
        try:
            while snakemake.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    snakemake.wait(POLL_S)
                if not progress.stale and (stale := _stale_runs(log, wanted)):
                    progress.stale, progress.expected_s = stale, _expected_s(workspace)
                if time.time() > deadline and not stopping:
                    stopping = True
                    snakemake.terminate()  # it begins no other run and waits for those under way
                progress.update()
                peak_mb = max(peak_mb, memory_mb(snakemake.pid))
        except BaseException:
            progress.clear()
            _stop(snakemake)
            raise
    progress.stale = _stale_runs(log, wanted)
    progress.update()
    progress.clear()
    return snakemake.returncode, progress, peak_mb


def _stop(snakemake: subprocess.Popen[Any]) -> None:
    """End Snakemake, the runs and their kernels: ask, wait, insist."""
    family = _family(snakemake.pid)
    for request in (psutil.Process.terminate, psutil.Process.kill):
        for process in family:
            with suppress(psutil.Error):
                request(process)
        _, family = psutil.wait_procs(family, timeout=3)
    snakemake.wait(timeout=5)


def _family(pid: int) -> list[psutil.Process]:
    """A process with its descendants; none where it has ended."""
    try:
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    except psutil.Error:
        return []


def _stale_runs(log: Path, wanted: list[Run]) -> list[Run]:
    """The runs in Snakemake's "Job stats" table; empty before it is written, or if nothing is stale."""
    table = re.search(r"^Job stats:\n(.*?)^total\s", log.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names = {line.split()[0] for line in table[1].splitlines() if line.strip()} if table else set()
    return [run for run in wanted if run.name in names]


def _expected_s(workspace: Workspace) -> dict[str, float]:
    """What each run is expected to take: shares of the time that the profile says of all.

    They follow what runs took the last time, or forecasts where that is not known of all and counting is short beside
    the profile.
    """
    runs, took = plan(workspace.profile), {}
    for run in runs:
        with suppress(SardinoError):
            took[run.name] = float(read_record(workspace.newest_record(run.name))["wall_s"])
    if len(took) < len(runs) and workspace.profile.expected_minutes >= COUNTED_MINUTES:
        from sardino.study.forecast import find_device, forecast  # loads torch

        took = {row.name: row.hours for row in forecast(workspace.profile, find_device("cpu-1"))}
    mean = sum(took.values()) / len(took) if took else 1.0
    shares = {run.name: took.get(run.name, mean) for run in runs}
    scale = 60 * workspace.profile.expected_minutes / sum(shares.values())
    return {name: scale * share for name, share in shares.items()}


def _tell(workspace: Workspace, wanted: list[Run], progress: Progress, seconds: float) -> None:
    """The outcome: tables and figures, or which runs failed and why."""
    failures = progress.of("FAILED")
    missing = [run.name for run in wanted if not workspace.record(run.name).is_file() and run not in failures]
    if not failures and not missing:
        show(workspace)
        executed, same = len(progress.of("done")), len(progress.of("same"))
        done = f"{executed} runs executed" + (f", {same} the same as before" if same else "")
        print(f"\n{done if progress.stale else 'everything was up to date'} in {duration(seconds)}")
        with suppress(SardinoError):  # nothing was published before
            print(in_a_line(*verify(workspace)))
        return
    lines = [f"\n{len(failures)} of {len(wanted)} runs failed:"]
    for run in failures:
        lines.append(f"  {run.name}: {progress.message(run).splitlines()[0]}")
        if workspace.failed(run.name).is_file():
            lines.append(f"    traceback: {_shown(workspace.failed(run.name))}")
    if missing:
        lines.append(f"  not finished: {', '.join(missing)}")
    lines.append(f"log: {_shown(_log(workspace))}; stopped after {duration(seconds)}")
    print("\n".join(lines), file=sys.stderr)


def _last_words(log: Path) -> str:
    """The error Snakemake reported; where its line ends in a colon, the next one says more."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if "Error" in line:
            return " ".join(lines[number : number + 2]) if line.endswith(":") else line
    return lines[-1] if lines else "it said nothing"


def _log(workspace: Workspace) -> Path:
    return workspace.build / "snakemake.log"


def _shown(path: Path) -> str:
    """Relative to the current folder where that is shorter to read."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
