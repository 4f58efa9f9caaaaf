"""The engine's benchmark, on toy notebooks: edits and kills that it counts, none of which a sweep may fail."""

import json
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks/sweep.py"


def test_edits_rerun_no_training_and_kills_leave_nothing_half_done(project, tmp_path):
    out = tmp_path / "sweep.json"
    project.notebook("02_pretraining", imports="from sardino.reporting.figures.curves import draw_pretraining")
    options = ["--project", str(project.root), "--only", "pretrain-europe", "--rounds", "1", "--kills", "2"]
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), *options, "--out", str(out)], capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = {row["name"]: row for row in json.loads(out.read_text())}
    assert len(rows) == 6 and "nothing changed" in done.stdout
    assert [row["value"] for row in rows.values() if row["bar"] == 0] == [0] * 4
