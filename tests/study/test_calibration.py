"""The speed of a core comes back from the times that it would have taken."""

import json
from dataclasses import replace

import pytest

from sardino.errors import SardinoError
from sardino.study import forecast as calibration
from sardino.study import forecast as devices
from sardino.study.forecast import calibrate, calibrated, run_work
from sardino.study.plan import OVERHEAD_S, plan
from sardino.study.workspace import Workspace

MATRIX, CONVOLUTION = 50.0, 80.0


@pytest.fixture
def published(project):
    """The smoke profile's trainings, as long as a core of known speed would have taken."""
    space = Workspace.open("smoke", root=project.root)
    folder = space.results / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    for run in plan(space.profile):
        if run.kind in ("pretrain", "finetune", "baseline"):
            work = run_work(space.profile, run)
            record = {
                **{"format": "sardino-run", "version": 1, "name": run.name, "kind": run.kind, "profile": "smoke"},
                **{"parameters": {}, "data": {}, "results": {}, "finished": "2026-01-01T00:00:00+00:00"},
                "hardware": {"cpu": "a CPU", "gpu": None},
                "code": {"revision": "0123456789abcdef"},
                "wall_s": OVERHEAD_S + 1000 * (work.matrix / MATRIX + work.convolution / CONVOLUTION) / 1e9,
            }
            (folder / f"{run.name}.json").write_text(json.dumps(record))
    return space


def test_planted_speeds_are_found(published):
    """Times are made a thousand times longer, so that none is shorter than the second a run counts at least."""
    speed = calibrated(published)
    assert 1000 * speed.matrix_gflops == pytest.approx(MATRIX, abs=10)
    assert speed.convolution_gflops * 1000 == pytest.approx(CONVOLUTION, abs=10)
    assert (speed.profile, speed.cpu, speed.revision) == ("smoke", "a CPU", "0123456789")


def test_what_is_kept_is_what_forecasts_use(published, tmp_path, monkeypatch):
    kept = tmp_path / "cpu_speed.json"
    monkeypatch.setattr(calibration, "SPEED", kept)
    monkeypatch.setattr(devices, "SPEED", kept)
    speed = calibrate(published)
    core = devices._core()
    assert (core.matrix_gflops, core.convolution_gflops) == (speed.matrix_gflops, speed.convolution_gflops)
    assert f"{speed.runs} trainings of `smoke`, a CPU" in core.source


def test_other_trainings_are_refused(published, project):
    with pytest.raises(SardinoError, match="did not run on one CPU thread"):
        calibrated(replace(published, profile=published.profile.model_copy(update={"threads": 4})))
    for path in (published.results / "runs").glob("finetune-*.json"):
        path.unlink()
    for path in (published.results / "runs").glob("baseline-*.json"):
        path.unlink()
    with pytest.raises(SardinoError, match="published trainings: run `sardino reproduce smoke`"):
        calibrated(published)
