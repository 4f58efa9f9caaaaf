"""The speed of one CPU core, from what a profile's published trainings took."""

import json
from dataclasses import asdict, dataclass

import numpy as np
from scipy.optimize import nnls

from sardino.errors import SardinoError
from sardino.reporting.publish import write_text
from sardino.reporting.record import read_record
from sardino.workflow.devices import SPEED
from sardino.workflow.forecast import run_work
from sardino.workflow.plan import OVERHEAD_S, plan
from sardino.workflow.workspace import Workspace


@dataclass(frozen=True)
class CpuSpeed:
    """What one core keeps up in trainings like the small profiles'.

    Args:
        matrix_gflops, convolution_gflops: of products and of convolutions.
        runs: how many trainings it was found from.
        profile, cpu, revision: whose, on what, by which code.
    """

    matrix_gflops: float
    convolution_gflops: float
    runs: int
    profile: str
    cpu: str
    revision: str


def calibrated(workspace: Workspace) -> CpuSpeed:
    """Speeds that explain the published trainings' wall times best, by non-negative least squares.

    The error of each run is taken relative to what it took, so that short runs count as much as long ones.

    Raises:
        SardinoError: the profile is not published, ran on a GPU, or on several threads a run.
    """
    work, took, records = [], [], []
    for run in plan(workspace.profile):
        path = workspace.results / "runs" / f"{run.name}.json"
        if run.kind in ("pretrain", "finetune", "baseline") and path.is_file():
            count = run_work(workspace.profile, run)
            record = read_record(path)
            work.append((count.matrix / 1e9, count.convolution / 1e9))
            took.append(float(record["wall_s"]) - OVERHEAD_S)
            records.append(record)
    name = workspace.profile.name
    if len(records) < 4:
        raise SardinoError(f"profile '{name}' has {len(records)} published trainings: run `sardino reproduce {name}`")
    if workspace.profile.threads != 1 or any(record["hardware"]["gpu"] for record in records):
        raise SardinoError(f"the trainings of '{name}' did not run on one CPU thread each")
    seconds = np.maximum(took, 1.0)
    matrix, convolution = nnls(np.array(work) / seconds[:, None], np.ones(len(seconds)))[0]
    if not (matrix > 0 and convolution > 0):
        raise SardinoError(f"the trainings of '{name}' do not tell products from convolutions")
    newest = max(records, key=lambda record: record["finished"])
    return CpuSpeed(
        round(1 / float(matrix), 2),
        round(1 / float(convolution), 2),
        len(records),
        name,
        newest["hardware"]["cpu"],
        newest["code"]["revision"][:10],
    )


def calibrate(workspace: Workspace) -> CpuSpeed:
    """`calibrated`, kept for `--device cpu-1`."""
    speed = calibrated(workspace)
    write_text(json.dumps(asdict(speed), indent=1) + "\n", SPEED)
    return speed
