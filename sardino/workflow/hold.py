"""The hold: one reproduction of a profile at a time, and all its processes ended together."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from sardino.errors import SardinoError
from sardino.workflow.workspace import Workspace


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
