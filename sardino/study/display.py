"""The display of a reproduction: which runs are under way, how far they are, and the time left."""

import json
import math
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from sardino.files import files_in
from sardino.progress import duration
from sardino.study.kept import ROWS, cells_folder
from sardino.study.plan import Run
from sardino.study.workspace import Workspace

PLAIN_INTERVAL_S = 30.0  # between lines where the output is a file or a pipe
PRIOR = 0.5  # weight of the predicted time, as a share of all work, against what this session has measured


@dataclass
class Progress:
    """Watches the files that runs leave in the workspace and tells about them."""

    workspace: Workspace
    stale: Sequence[Run] = ()  # the runs Snakemake is going to execute
    expected_s: Mapping[str, float] = field(default_factory=dict)  # by name, on the profile's hardware
    out: TextIO = field(default_factory=lambda: sys.stdout)  # a terminal gets a block drawn anew, else plain lines
    started: float = field(default_factory=time.time)
    until: float = math.inf  # when no more time is given, in the units of `started`: what began then stops, unfinished
    _told: dict[str, str] = field(default_factory=dict, init=False)
    _began: dict[str, float] = field(default_factory=dict, init=False)
    _drawn: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._spoke = self.started

    def state(self, run: Run) -> str:
        """Of a run: running, done, same (nothing that it depends on changed, it kept its record), FAILED or waiting.

        It failed where it left a message, or began and is gone without a record; out of time, it waits for the next.
        """
        space = self.workspace
        if self._fresh(space.progress(run.name)):
            return "running"
        if self._fresh(space.record(run.name)):
            return "done" if self._fresh(space.notebook(run.name)) else "same"
        gone = run.name in self._began and time.time() < self.until
        return "FAILED" if self._fresh(self._message(run)) or gone else "waiting"

    def of(self, *states: str) -> list[Run]:
        """Runs in one of these states."""
        return [run for run in self.stale if self.state(run) in states]

    def message(self, run: Run) -> str:
        """Why a run failed, in its own words."""
        if not (path := self._message(run)).is_file():
            return "its process ended without a word, most likely for want of memory"
        return path.read_text(encoding="utf-8").strip()

    def time_left_s(self) -> float:
        """What is left of the predicted time, over the speed of work so far; at the start that is one."""
        expected = {run.name: self.expected_s.get(run.name, 0.0) for run in self.stale}
        total = sum(expected.values())
        done = sum(expected[run.name] for run in self.of("done", "same", "FAILED"))
        done += sum(expected[run.name] * self._share(run) for run in self.of("running"))
        speed = (done + PRIOR * total) / (time.time() - self.started + PRIOR * total)
        return (total - done) / max(speed, 1e-9)

    def update(self) -> None:
        """Tell what has changed since the last call."""
        if not self.stale:
            return
        now, lines = time.time(), []
        for run in self.stale:
            state = self.state(run)
            if state == "running":
                self._began.setdefault(run.name, now)
            elif state not in ("waiting", self._told.get(run.name)):  # a run that failed may be tried again
                self._told[run.name] = state
                took = duration(now - self._began.get(run.name, now))
                lines.append(f"{state:6} {run.name} ({took})  {len(self._told)}/{len(self.stale)}")
        running = self.of("running")
        counts = f"{len(self._told)}/{len(self.stale)} runs finished, {len(running)} running"
        status = f"{counts}, {duration(now - self.started)} elapsed, about {duration(self.time_left_s())} left"
        if self.out.isatty():
            width = shutil.get_terminal_size().columns - 1
            block = [status, *(f"  {self._line(run)}" for run in running)]
            self.clear()
            for line in lines + block:
                self.out.write(line[:width] + "\n")
            self._drawn = len(block)
            self.out.flush()
            return
        if now - self._spoke >= PLAIN_INTERVAL_S and not lines:
            lines.append("; ".join([status, *map(self._line, running)]))
        for line in lines:
            self._spoke = now
            print(line, file=self.out, flush=True)

    def clear(self) -> None:
        """Take the live block off the terminal."""
        if self._drawn:
            self.out.write(f"\x1b[{self._drawn}F\x1b[J")
            self._drawn = 0
        self.out.flush()

    def _line(self, run: Run) -> str:
        label, done, total = self._heartbeat(run)
        step = f" {label} {done}/{total}".rstrip() if total else ""
        return f"{run.name}{step} ({duration(time.time() - self._began.get(run.name, time.time()))})"

    def _share(self, run: Run) -> float:
        """Done share of a run, 0 before its first heartbeat; of a row by the steps of its cells."""
        _, done, total = self._heartbeat(run)
        share = min(0.95, done / total) if total else 0.0
        if run.kind not in ROWS:
            return share
        profile = self.workspace.profile
        of = profile.finetuning.steps_for
        steps = [of(round(100 * share)) for share in profile.fractions for _ in profile.repetitions(share)]
        finished = len(files_in(cells_folder(self.workspace, run), "cell_*.npz"))
        return (sum(steps[:finished]) + share * sum(steps[finished : finished + 1])) / sum(steps)

    def _heartbeat(self, run: Run) -> tuple[str, int, int]:
        try:
            beat = json.loads(self.workspace.progress(run.name).read_text(encoding="utf-8"))
            return str(beat["label"]), int(beat["done"]), int(beat["total"])
        except (OSError, ValueError, KeyError, TypeError):
            return "", 0, 0

    def _message(self, run: Run) -> Path:
        return self.workspace.failed(run.name).with_suffix(".txt")

    def _fresh(self, path: Path) -> bool:
        """Whether a file is of this session."""
        try:
            return path.stat().st_mtime >= self.started - 0.01
        except OSError:
            return False
