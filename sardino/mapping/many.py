"""Maps of many scenes: one after the other here, or one task a scene on a Dask cluster."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sardino.errors import SardinoError
from sardino.mapping.job import Job
from sardino.mapping.scene_map import make_map

Progress = Callable[[Iterable[Any], int], Iterable[Any]]


@dataclass(frozen=True)
class Made:
    """What became of one scene: doubts about its map, or the reason why there is none."""

    job: Job
    doubts: tuple[str, ...] = ()
    fault: str = ""


def make_one(job: Job) -> Made:
    """The map of one scene on whatever machine this runs; a fault of its input is told, not raised."""
    try:
        return Made(job, tuple(make_map(job)))
    except SardinoError as error:
        return Made(job, fault=str(error))


def make_all(jobs: Sequence[Job], client: Any = None, progress: Progress = lambda items, total: items) -> list[Made]:
    """Make the map of each scene, in the order of the jobs; one that cannot be made does not hold up the others.

    Args:
        jobs: scenes, models and maps lie on a disk that all workers see; two maps of one name are refused.
        client: dask.distributed.Client; here, one after the other, without one.
        progress: wraps the loop over scenes that are done, and is told how many there are.
    """
    places = [path.resolve() for job in jobs for path in job.targets.values()]
    if twice := sorted({str(path) for path in places if places.count(path) > 1}):
        raise SardinoError(f"{twice[0]} would be the map of two scenes: give them in two calls")
    if client is None:
        return list(progress(map(make_one, jobs), len(jobs)))
    from distributed import as_completed

    # Not pure: a map that failed is tried again by the next call, not remembered.
    futures = {client.submit(make_one, job, pure=False, retries=1): number for number, job in enumerate(jobs)}
    made: dict[int, Made] = {}
    try:
        for future in progress(as_completed(list(futures), loop=client.loop), len(jobs)):
            number = futures[future]
            try:
                made[number] = future.result()
            except Exception as error:  # the worker died, or its environment lacks something
                made[number] = Made(jobs[number], fault=f"{jobs[number].scene}: {type(error).__name__}: {error}")
    finally:
        client.cancel(list(futures))
    return [made[number] for number in range(len(jobs))]
