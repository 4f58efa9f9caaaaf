"""`sardino attend` and `sardino map`: a model over whole scenes, to Cloud-Optimized GeoTIFFs."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Exit, Option, echo

from sardino.cli.flags import shown, with_options
from sardino.cli.ingest import cluster
from sardino.cli.pretrain import STOPPED
from sardino.errors import SardinoError
from sardino.mapping.job import Job

ScenesArgument = Annotated[
    list[Path],
    Argument(
        help="GeoTIFF, VRT or any raster of GDAL; NetCDF (.nc) or Zarr folder. Several: one map each.",
        metavar="SCENE...",
    ),
]
OutOption = Annotated[
    Path, Option("--out", "-o", help="Map to make (.tif); of several scenes, the folder for their maps.")
]
DaskOption = Annotated[
    str,
    Option(
        help="Many scenes on a cluster, one task each: the address of a dask.distributed scheduler "
        "(tcp://host:8786), or local[N] for N processes of this machine. All see the same disk."
    ),
]


@with_options(Job, "scene", "kind", "confidence")
def attend(
    scenes: ScenesArgument,
    out: OutOption,
    model: Annotated[
        Path | None,
        Option(help="Folder of `sardino pretrain`, or of a segmenter, whose ViT is taken; else the built-in."),
    ] = None,
    dask: DaskOption = "",
    **options: Any,
) -> None:
    """Attention of a pre-trained ViT over a whole scene: a band for each head.

    The class token's attention to each patch, 1 where it is spread evenly over the window. The scene is read window by
    window, whatever its size; windows overlap and are blended. The map has the scene's CRS; a pixel of it is a patch.

    The scene must be what the model was trained on: channels by name, backscatter in dB, pixel size. One that is not
    is refused with the command that converts it. Stop with Ctrl-C whenever you like: the same command goes on.

    Example: sardino attend scene.tif -o attention.tif --model build/pretrained
    """
    from sardino.mapping.model import default_model

    _run(scenes, dask, kind="attention", out=out, model=model or default_model("backbone"), **options)


@with_options(Job, "scene", "kind", "network", "block", "full_size")
def map_landcover(
    scenes: ScenesArgument,
    out: OutOption,
    model: Annotated[
        Path | None, Option(help="Folder of a segmenter, from build/<profile>/segmenters; else the built-in.")
    ] = None,
    dask: DaskOption = "",
    **options: Any,
) -> None:
    """Land cover of a whole scene by a fine-tuned segmenter: codes of its legend, with colours and names.

    The scene is read window by window, whatever its size; the probabilities of windows that overlap are blended, and
    the highest wins. A pixel without any valid channel stays nodata.

    The scene must be what the model was trained on: channels by name, backscatter in dB, pixel size. One that is not
    is refused with the command that converts it. Stop with Ctrl-C whenever you like: the same command goes on.

    Example: sardino map scene.tif -o landcover.tif --confidence confidence.tif --model FOLDER;
    many scenes: sardino map scenes/*.tif -o maps --dask tcp://host:8786
    """
    from sardino.mapping.model import default_model

    _run(scenes, dask, kind="landcover", out=out, model=model or default_model("segmenter"), **options)


def _run(scenes: Sequence[Path], dask: str, **options: Any) -> None:
    """Make the maps of a kind with progress; exit code 75 where Ctrl-C stopped it, 2 where one is missing."""
    job = Job(scene=scenes[0], **options)
    single = job.out.suffix.lower() in (".tif", ".tiff")
    if single and (len(scenes) > 1 or dask):
        raise SardinoError(f"the maps of several scenes go into a folder: give one with -o, not {job.out}")
    try:
        if single:
            _one(job)
        else:
            _many(job, scenes, dask)
    except KeyboardInterrupt:
        echo("stopped: the same command goes on from here", err=True)
        raise Exit(STOPPED) from None


def _one(job: Job) -> None:
    """One map, its windows shown as they are done."""
    from sardino.mapping.scene_map import make_map
    from sardino.progress import track

    def windows(counts: Any, total: int, done: int) -> Any:
        # A batch counts as many as it holds: time left follows from windows.
        each = (1 for count in counts for _ in range(count))
        return track(each, total, job.out.name, done=done)

    make_map(job, windows, say=_warn)
    for path in job.targets.values():
        echo(path)


def _many(job: Job, scenes: Sequence[Path], dask: str) -> None:
    """A map of each scene in a folder, its scenes shown as they are done."""
    from sardino.mapping.scene_map import make_all

    jobs = [_job_of(scene, job) for scene in scenes]
    local = re.fullmatch(r"local(?:\[(\d+)\])?", dask)
    with cluster("local" if local else dask, int(local[1] or 1) if local else 1) as client:
        made = make_all(jobs, client, shown("scenes"))
    for one in made:
        for doubt in one.doubts:
            _warn(doubt)
        if not one.fault:
            echo(one.job.out)
    if missing := [one for one in made if one.fault]:
        for one in missing:
            echo(f"no map: {one.fault}", err=True)
        raise SardinoError(f"{len(missing)} of {len(made)} scenes have no map: put right what is named, run it again")


def _job_of(scene: Path, job: Job) -> Job:
    """The job of one of many scenes, in whole paths: a worker of a cluster stands in another folder."""
    sure = job.confidence and job.confidence.resolve() / f"{scene.stem}.confidence.tif"
    out = job.out.resolve() / f"{scene.stem}.{job.kind}.tif"
    return job.changed(scene=scene.resolve(), out=out, confidence=sure, model=job.model.resolve())


def _warn(sentence: str) -> None:
    echo(f"warning: {sentence}", err=True)
