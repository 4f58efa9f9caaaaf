"""Many scenes: the same maps one after the other, on a Dask cluster, and past one that cannot be made."""

import pytest
from distributed import Client, LocalCluster
from made import backscatter, read, segmenter, write_scene

from sardino.errors import SardinoError
from sardino.mapping.job import Job
from sardino.mapping.scene_map import make_all


@pytest.fixture
def jobs(tmp_path):
    model = segmenter(tmp_path / "model")
    scenes = [write_scene(tmp_path / f"s{n}.tif", backscatter(60 + 10 * n, 50, seed=n)) for n in range(3)]
    return [
        Job(scene=s, out=s.with_suffix(".map.tif"), kind="landcover", model=model, device="cpu", threads=1)
        for s in scenes
    ]


def test_a_cluster_gives_what_this_process_gives(jobs):
    assert [made.fault for made in make_all(jobs)] == ["", "", ""]
    here = [read(job.out) for job in jobs]
    for job in jobs:
        job.out.unlink()
    # Threads of one process, reached by address as any scheduler is.
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        Client(cluster.scheduler_address, set_as_default=False) as client,
    ):
        made = make_all(jobs, client)
        again = make_all(jobs, client)
    assert [(one.job, one.fault) for one in made] == [(job, "") for job in jobs]
    assert all((read(job.out) == values).all() for job, values in zip(jobs, here, strict=True))
    assert all("exists already" in one.fault for one in again)


def test_a_scene_that_cannot_be_made_does_not_hold_up_the_others(jobs):
    jobs[1].scene.write_text("no raster")
    made = make_all(jobs)
    assert [bool(one.fault) for one in made] == [False, True, False] and "is it a raster" in made[1].fault
    assert jobs[2].out.exists() and not jobs[1].out.exists()


def test_maps_of_one_name_are_refused(jobs):
    with pytest.raises(SardinoError, match="would be the map of two scenes"):
        make_all([jobs[0], jobs[0]])
