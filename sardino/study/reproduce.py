"""The reproduction: Snakemake executes what is stale of a profile's plan, one display tells about it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from sardino.errors import SardinoError
from sardino.reporting.record import read_record
from sardino.study.cluster import Cluster
from sardino.study.display import Progress, duration
from sardino.study.plan import Run, plan, select
from sardino.study.stale import code_files, kept
from sardino.study.workspace import Workspace

# The hold: one reproduction of a profile at a time, and all its processes ended together.


@contextmanager
def alone(workspace: Workspace) -> Iterator[Path]:
    """One reproduction per profile at a time; what a killed one left behind is cleared away."""
    workspace.build.mkdir(parents=True, exist_ok=True)
    hold = workspace.build / "reproduce.pid"
    try:
        claims = json.loads(hold.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        claims = []
    for pid, born in claims:
        if _alive(pid, born):
            raise SardinoError(
                f"another reproduction of profile '{workspace.profile.name}' is running as process {pid}: "
                "wait for it, or stop it first"
            )
    claim(hold, os.getpid())
    for stale in (workspace.build / ".snakemake" / "locks", workspace.build / "progress"):
        shutil.rmtree(stale, ignore_errors=True)
    try:
        yield hold
    finally:
        hold.unlink(missing_ok=True)


def claim(hold: Path, *pids: int) -> None:
    """Note who is at work; a process is known by number and birth, because numbers are used again."""
    born = [[pid, psutil.Process(pid).create_time()] for pid in pids if psutil.pid_exists(pid)]
    partial = hold.with_suffix(".partial")
    partial.write_text(json.dumps(born), encoding="utf-8")
    os.replace(partial, hold)


def _alive(pid: int, born: float) -> bool:
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - born) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def stop(snakemake: subprocess.Popen[Any]) -> None:
    """End Snakemake, the runs and their kernels: ask, wait, insist."""
    try:
        top = psutil.Process(snakemake.pid)
        family = [top, *top.children(recursive=True)]
    except psutil.Error:
        return
    for request in (psutil.Process.terminate, psutil.Process.kill):
        for process in family:
            try:
                request(process)
            except psutil.Error:
                continue
        _, family = psutil.wait_procs(family, timeout=3)
    snakemake.wait(timeout=5)


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM and SIGINT stop the children, also where a shell started us in the background with SIGINT ignored."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# What a whole reproduction took: time and memory, published beside the tables it made.

SAMPLE_S = 2.0


@dataclass
class MemoryMeter:
    """The most memory a process and its descendants were seen to hold together.

    Resident sizes are added, so that pages shared between processes count several times:
    an upper bound.
    """

    peak_mb: float = 0.0
    _last: float = 0.0

    def sample(self, pid: int) -> None:
        """Look once, unless the last look was less than SAMPLE_S ago."""
        if time.monotonic() - self._last < SAMPLE_S:
            return
        self._last = time.monotonic()
        try:
            parent = psutil.Process(pid)
            family = [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        total = 0
        for process in family:
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:  # it ended between the listing and the look
                continue
        self.peak_mb = max(self.peak_mb, total / 2**20)


def publish_summary(workspace: Workspace, runs: list[Run], executed: list[Run], seconds: float, peak_mb: float) -> None:
    """Write results/<profile>/run.json if this session executed every run, and bring the pages' numbers up to date.

    A session that went on where another stopped cannot say what the whole takes.
    """
    # These load pandas, which a sweep that finds nothing to do should not wait for.
    from sardino.files import write_text
    from sardino.reporting.pages.readme import refresh

    if {run.name for run in executed} == {run.name for run in runs}:
        last = read_record(workspace.record(runs[-1].name))
        content = {
            "profile": workspace.profile.name,
            "runs": len(runs),
            "wall_s": round(seconds, 1),
            "peak_memory_mb": round(peak_mb, 1),
            "hardware": last["hardware"],
            "revision": last["code"]["revision"],
            "finished": last["finished"],
        }
        write_text(json.dumps(content, indent=1) + "\n", workspace.results / "run.json")
    refresh(workspace.root)


SNAKEFILE = Path(__file__).with_name("Snakefile")
POLL_S = 0.5
ALONE = ("--workflow-profile", "none", "--scheduler", "greedy")


def reproduce(
    profile: str,
    data: str = "",
    cores: int | None = None,
    only: Iterable[str] = (),
    root: Path | None = None,
    *,
    retries: int = 1,
    cluster: Cluster | None = None,
) -> int:
    """Bring all results of a profile up to date; what is up to date already is not run again.

    Args:
        profile: name or TOML path.
        data: folder of real input, for profiles that read one.
        cores: CPU cores to use; all by default.
        only: run names; they and what they need are enough.
        root: project folder, found from the current one by default.
        retries: how often a failed run is tried again, unless the fault is the input's.
        cluster: where each run is a job; None for this machine.

    Returns:
        Exit code: 0 if everything is up to date, 1 if a run failed, 130 if stopped.

    Raises:
        SardinoError: unknown profile or run, missing data folder, or another reproduction of this profile is alive.
    """
    started = time.time()
    workspace = Workspace.open(profile, data, root)
    if workspace.profile.data.source != "world":
        workspace.input_folder()
    runs = plan(workspace.profile)
    meter = MemoryMeter()
    wanted = select(runs, only) if (only := list(only)) else runs
    for run in wanted:
        code_files(workspace, run)  # a missing notebook is better told now than in Snakemake's words
    cores = cores or psutil.cpu_count() or 1
    place = f"{cores} cores" if cluster is None else str(cluster)
    print(f"{workspace.profile.title}: {len(wanted)} runs on {place}, log {_shown(workspace, _log(workspace))}")
    where = cluster.arguments(workspace) if cluster else [*ALONE, "--cores", str(cores)]
    command = ["--retries", str(retries), *where]
    given = {
        "profile": workspace.reference,
        "data": str(workspace.data or ""),
        "root": str(workspace.root),
        "only": only,
        "resources": cluster.resources(workspace, wanted) if cluster else {},
    }
    with alone(workspace) as hold:
        for run in wanted:
            if not kept(workspace, run):
                # A notebook executed by hand left it: nobody knows from which code, and Snakemake would take it.
                workspace.record(run.name).unlink(missing_ok=True)
        if cluster:
            cluster.cancel(workspace)  # the jobs of a sweep that was killed
        try:
            with terminable():
                code, progress = _execute(workspace, wanted, command, given, hold, meter)
        except KeyboardInterrupt:
            if cluster:
                cluster.cancel(workspace)
            print("stopped; the same command goes on where this one ended", file=sys.stderr)
            return 130
    if code and not progress.stale:
        raise SardinoError(f"Snakemake could not start: {_last_words(_log(workspace))} (all in {_log(workspace)})")
    if progress.stale and not code:
        # Waiting in a queue is no measure of the work.
        executed = [] if cluster else progress.executed()
        publish_summary(workspace, runs, executed, time.time() - started, meter.peak_mb)
    _tell(workspace, wanted, progress, time.time() - started)
    return 1 if code else 0


def _execute(
    workspace: Workspace, wanted: list[Run], where: list[str], given: dict[str, Any], hold: Path, meter: MemoryMeter
) -> tuple[int, Progress]:
    """Run Snakemake to its end and show its progress."""
    state = workspace.build / ".snakemake"
    config = workspace.build / "snakemake.json"
    config.write_text(json.dumps(given), encoding="utf-8")
    command: list[str | Path] = [sys.executable, "-m", "snakemake", "--snakefile", SNAKEFILE]
    command += ["--directory", workspace.build]
    command += ["--configfile", config, *where, "--keep-going", "--rerun-incomplete"]
    command += ["--rerun-triggers", "mtime", "input", "params", "--nocolor"]
    command += ["--runtime-source-cache-path", state / "sources"]
    progress = Progress(workspace, (), 0.0)
    with _log(workspace).open("w", encoding="utf-8") as log:
        snakemake = subprocess.Popen(  # its own session: Ctrl-C reaches us, and we stop it in order
            command, cwd=workspace.root, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        claim(hold, os.getpid(), snakemake.pid)
        try:
            while snakemake.poll() is None:
                if not progress.stale:
                    progress.stale = _stale_runs(_log(workspace), wanted)
                    progress.expected_s = _expected_s(workspace, progress.stale)
                progress.update()
                meter.sample(snakemake.pid)
                time.sleep(POLL_S)
        except BaseException:
            progress.clear()
            stop(snakemake)
            raise
    progress.stale = _stale_runs(_log(workspace), wanted)
    progress.update()
    progress.clear()
    return snakemake.returncode, progress


def _stale_runs(log: Path, wanted: list[Run]) -> list[Run]:
    """The runs in Snakemake's "Job stats" table; empty before it is written, or if nothing is stale."""
    table = re.search(r"^Job stats:\n(.*?)^total\s", log.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names = {line.split()[0] for line in table[1].splitlines() if line.strip()} if table else set()
    return [run for run in wanted if run.name in names]


def _expected_s(workspace: Workspace, stale: list[Run]) -> float:
    total = sum(run.cost for run in plan(workspace.profile))
    return 60 * workspace.profile.expected_minutes * sum(run.cost for run in stale) / total


def _tell(workspace: Workspace, wanted: list[Run], progress: Progress, seconds: float) -> None:
    """The outcome: tables and figures, or which runs failed and why."""
    failures = progress.failures()
    missing = [run for run in wanted if not workspace.record(run.name).is_file() and run not in failures]
    if failures or missing:
        print(f"\n{len(failures)} of {len(wanted)} runs failed:", file=sys.stderr)
        for run in failures:
            print(f"  {run.name}: {progress.message(run).splitlines()[0]}", file=sys.stderr)
            if workspace.failed(run.name).is_file():
                print(f"    traceback: {_shown(workspace, workspace.failed(run.name))}", file=sys.stderr)
        if missing:
            print(f"  not finished: {', '.join(run.name for run in missing)}", file=sys.stderr)
        print(f"log: {_shown(workspace, _log(workspace))}; stopped after {duration(seconds)}", file=sys.stderr)
        return
    show(workspace)
    executed, kept = len(progress.executed()), len(progress.finished()) - len(progress.executed())
    done = f"{executed} runs executed" + (f", {kept} the same as before" if kept else "")
    print(f"\n{done if progress.stale else 'everything was up to date'} in {duration(seconds)}")


def show(workspace: Workspace) -> bool:
    """Print a profile's published tables and where the figures lie; False if there are none yet."""
    summary = workspace.results / "summary.txt"
    tables = [summary] if summary.is_file() else sorted(workspace.results.glob("table*.md"))
    for table in tables:
        print("\n" + table.read_text(encoding="utf-8").rstrip())
    figures = sorted(workspace.figures.glob("*.png"))
    if figures:
        print(f"\nfigures: {_shown(workspace, workspace.figures)}/ ({', '.join(path.stem for path in figures)})")
    if tables:
        print(f"tables:  {_shown(workspace, workspace.results)}/")
    report = workspace.results / "report.html"
    if report.is_file():
        print(f"report:  {_shown(workspace, report)}")
    return bool(tables)


def _last_words(log: Path) -> str:
    """The error Snakemake reported; where its line ends in a colon, the next one says more."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if "Error" in line:
            return " ".join(lines[number : number + 2]) if line.endswith(":") else line
    return lines[-1] if lines else "it said nothing"


def _log(workspace: Workspace) -> Path:
    return workspace.build / "snakemake.log"


def _shown(workspace: Workspace, path: Path) -> str:
    """Relative to the current folder where that is shorter to read."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
