"""What a whole reproduction took: time and memory, published beside the tables it made."""

import json
import time
from dataclasses import dataclass

import psutil

from sardino.reporting.record import read_record
from sardino.workflow.plan import Run
from sardino.workflow.workspace import Workspace

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
    """Write results/<profile>/run.json if this session executed every run, and bring README's numbers up to date.

    A session that went on where another stopped cannot say what the whole takes.
    """
    # These load pandas, which a sweep that finds nothing to do should not wait for.
    from sardino.reporting.publish import write_text
    from sardino.reporting.readme import refresh

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
    readme = workspace.root / "README.md"
    if readme.is_file():
        refresh(readme, workspace.root / "results")
