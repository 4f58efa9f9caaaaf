"""The engine: what a sweep costs when nothing changed, what an edit reruns, and what SIGKILL leaves.

    python benchmarks/sweep.py

Everything happens in a temporary copy of the project. The profile is reproduced once; again with nothing changed;
again after an edit to the code that draws training curves; and from nothing once more, killed with all its
processes at random moments and started again each time, until it ends.
"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from row import Row, write_benchmark

from sardino.errors import SardinoError
from sardino.reporting.record import TRAININGS, read_record
from sardino.study.kept import DEPENDENCIES

ROOT = Path(__file__).parents[1]
PARTS = ("sardino", "notebooks", "pyproject.toml", "requirements.lock")
DRAWING = "sardino/reporting/figures/curves.py"
NOTHING_CHANGED_S = 15.0


class Sweep:
    """A copy of the project, and its reproduction as a process of its own."""

    def __init__(self, source: Path, root: Path, profile: str, options: list[str]) -> None:
        self.root, self.profile = root, profile
        root.mkdir()
        for part in PARTS:
            if (source / part).is_dir():
                shutil.copytree(source / part, root / part, ignore=shutil.ignore_patterns("__pycache__", "*.ipynb"))
            else:
                shutil.copy2(source / part, root / part)
        self.command = [sys.executable, "-m", "sardino.cli.app", "reproduce", profile, *options]
        self.environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "SARDINO_BUILD")}

    def start(self) -> subprocess.Popen[bytes]:
        out = (self.root / "sweep.log").open("ab")
        with out:
            return subprocess.Popen(self.command, cwd=self.root, env=self.environment, stdout=out, stderr=out)

    def finish(self) -> float:
        """Seconds of a whole reproduction; its failure ends the benchmark."""
        started = time.perf_counter()
        if self.start().wait():
            raise SystemExit((self.root / "sweep.log").read_text()[-3000:])
        return time.perf_counter() - started

    def kill_after(self, seconds: float) -> bool:
        """SIGKILL to every process of the sweep; False if it had ended by then."""
        process = self.start()
        try:
            process.wait(timeout=seconds)
            return False
        except subprocess.TimeoutExpired:
            pass
        top = psutil.Process(process.pid)
        family = [top, *top.children(recursive=True)]
        for member in family:
            try:
                member.kill()
            except psutil.NoSuchProcess:
                continue
        process.wait()
        psutil.wait_procs(family, timeout=10)
        return True

    def records(self) -> dict[str, bytes]:
        return {path.stem: path.read_bytes() for path in self._record_files()}

    def done(self) -> dict[str, bytes]:
        """Records of the runs that ended: with their notebook, and the dependencies that they were made from."""
        kept = (self.root / "build" / self.profile / "kept").glob(f"*/{DEPENDENCIES}")
        return {path.parent.name: (path.parent / "runs" / f"{path.parent.name}.json").read_bytes() for path in kept}

    def unreadable(self) -> int:
        """Records that are not whole."""
        bad = 0
        for path in self._record_files():
            try:
                read_record(path)
            except SardinoError:
                bad += 1
        return bad

    def tables(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.root / "results" / self.profile).glob("*.csv")}

    def _record_files(self) -> list[Path]:
        files = (self.root / "build" / self.profile / "runs").glob("*.json")
        return [path for path in files if not path.name.startswith(".")]


def at_most(name: str, value: float, unit: str, most: float) -> Row:
    return Row(name, value, unit, bar=most, kind="most")


def edited(sweep: Sweep, whole_s: float) -> list[Row]:
    """What runs after an edit to a figure's code, and how long that takes beside the whole reproduction."""
    drawing, before = sweep.root / DRAWING, sweep.records()
    drawing.write_text(drawing.read_text() + "\nEDITED = 1\n")
    seconds = sweep.finish()
    changed = [name for name, record in sweep.records().items() if record != before[name]]
    trained = [name for name in changed if name.startswith(TRAININGS)]
    what = "After an edit to the code of a figure"
    return [
        at_most(f"{what}: trainings run again", len(trained), "runs", 0),
        Row(f"{what}: all that takes", seconds, "s", "from nothing", whole_s, whole_s / seconds),
    ]


def killed(sweep: Sweep, expected: dict[str, bytes], whole_s: float, kills: int, seed: int) -> list[Row]:
    """What a sweep leaves that is killed again and again."""
    chance = random.Random(seed)
    done: dict[str, bytes] = {}
    made, partial, twice = 0, 0, set()
    while made < kills:
        if not sweep.kill_after(chance.uniform(1.0, 2 * whole_s / (kills + 1) + 5.0)):
            break
        made += 1
        partial += sweep.unreadable()
        now = sweep.done()
        twice |= {name for name, record in done.items() if now.get(name, record) != record}
        done.update(now)
    sweep.finish()
    final, tables = sweep.records(), sweep.tables()
    twice |= {name for name, record in done.items() if final.get(name) != record}
    differ = [name for name in expected.keys() | tables.keys() if expected.get(name) != tables.get(name)]
    what = f"SIGKILL at {made} random moments, then on to the end"
    return [
        at_most(f"{what}: tables that differ by a byte, of {len(expected)}", len(differ), "files", 0),
        at_most(f"{what}: runs done twice, of {len(final)}", len(twice), "runs", 0),
        at_most(f"{what}: records that are not whole", partial, "files", 0),
    ]


def main() -> None:
    """Measure and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="smoke")
    parser.add_argument("--project", type=Path, default=ROOT, help="the project folder to copy")
    parser.add_argument("--only", action="append", default=[], help="a run's name, with all it needs")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=3, help="of the reproduction with nothing changed")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "results/benchmarks/sweep.json")
    asked = parser.parse_args()
    options = [f"--cores={asked.cores}", *(f"--only={name}" for name in asked.only)]
    with tempfile.TemporaryDirectory(prefix="sardino-sweep-") as temporary:
        sweep = Sweep(asked.project, Path(temporary) / "whole", asked.profile, options)
        whole_s = sweep.finish()
        tables, runs = sweep.tables(), len(sweep.records())
        again_s = statistics.median(sweep.finish() for _ in range(asked.rounds))
        rows = [
            at_most(f"`{asked.profile}` again with nothing changed, {runs} runs", again_s, "s", NOTHING_CHANGED_S),
            *edited(sweep, whole_s),
        ]
        other = Sweep(asked.project, Path(temporary) / "killed", asked.profile, options)
        rows += killed(other, tables, whole_s, asked.kills, asked.seed)
    print(write_benchmark(rows, asked.out))


if __name__ == "__main__":
    main()
