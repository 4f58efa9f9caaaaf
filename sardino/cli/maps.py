"""`sardino attend` and `sardino map`: a model over whole scenes, to Cloud-Optimized GeoTIFFs."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from sardino.cli.ingest import cluster
from sardino.cli.pretrain import STOPPED
from sardino.errors import SardinoError

ScenesArgument = Annotated[
    list[Path],
    typer.Argument(
        help="GeoTIFF, VRT or any raster of GDAL; NetCDF (.nc) or Zarr folder. Several: one map each.",
        metavar="SCENE...",
    ),
]
OutOption = Annotated[
    Path, typer.Option("--out", "-o", help="Map to make (.tif); of several scenes, the folder for their maps.")
]
ChannelsOption = Annotated[
    str, typer.Option(help="Names of the scene's bands in its order, with commas, where the file has none or others.")
]
UnitOption = Annotated[
    str,
    typer.Option(help="db, linear (power) or amplitude, where the file does not say; becomes decibels (10 log10)."),
]
WindowOption = Annotated[
    int | None, typer.Option(min=1, help="Side of a window in pixels; that of the model's tiles by default.")
]
OverlapOption = Annotated[
    int | None,
    typer.Option(min=0, help="Pixels that windows share; a third by default. More: fainter seams, slower."),
]
BatchOption = Annotated[
    int | None, typer.Option(min=1, help="Windows at once; fewer take less memory, more fill a GPU.")
]
DeviceOption = Annotated[str, typer.Option(help="cuda, mps or cpu; the best there is if empty.")]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="CPU threads; by default all cores it may use.")]
PrecisionOption = Annotated[
    str,
    typer.Option(
        help="auto, float32 or bfloat16. auto is bfloat16 on processors and GPUs that have it, which is faster; "
        "float32 gives the same map on every machine, but for the last digits."
    ),
]
DaskOption = Annotated[
    str,
    typer.Option(
        help="Many scenes on a cluster, one task each: the address of a dask.distributed scheduler "
        "(tcp://host:8786), or local[N] for N processes of this machine. All see the same disk."
    ),
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace maps that exist; throw away unfinished ones and begin anew.")
]


def attend(
    scenes: ScenesArgument,
    out: OutOption,
    model: Annotated[
        Path | None,
        typer.Option(help="Folder of `sardino pretrain`, or of a segmenter, whose ViT is taken; else the built-in."),
    ] = None,
    network: Annotated[str, typer.Option(help="teacher or student, of a pre-training.")] = "teacher",
    block: Annotated[int, typer.Option(help="Block of the ViT, from 0; -1 is the last.")] = -1,
    full_size: Annotated[
        bool, typer.Option("--full-size", help="At the scene's pixels (bilinear), not one value a patch.")
    ] = False,
    channels: ChannelsOption = "",
    unit: UnitOption = "",
    window: WindowOption = None,
    overlap: OverlapOption = None,
    batch: BatchOption = None,
    device: DeviceOption = "",
    threads: ThreadsOption = None,
    precision: PrecisionOption = "auto",
    dask: DaskOption = "",
    overwrite: OverwriteOption = False,
) -> None:
    """Attention of a pre-trained ViT over a whole scene: a band for each head.

    The class token's attention to each patch, 1 where it is spread evenly over the window. The scene is read window by
    window, whatever its size; windows overlap and are blended. The map has the scene's CRS; a pixel of it is a patch.

    The scene must be what the model was trained on: channels by name, backscatter in dB, pixel size. One that is not
    is refused with the command that converts it. Stop with Ctrl-C whenever you like: the same command goes on.

    Example: sardino attend scene.tif -o attention.tif --model build/pretrained
    """
    from sardino.mapping.job import Job
    from sardino.mapping.model import default_model

    if network not in ("teacher", "student"):
        raise SardinoError(f"--network is teacher or student, not {network}")
    job = Job(
        scenes[0],
        out,
        "attention",
        model or default_model("backbone"),
        network=network,  # type: ignore[arg-type]  # checked above
        block=block,
        full_size=full_size,
    )
    run(job, scenes, out, channels, unit, window, overlap, batch, device, threads, precision, dask, overwrite)


def map_landcover(
    scenes: ScenesArgument,
    out: OutOption,
    model: Annotated[
        Path | None,
        typer.Option(help="Folder of a segmenter, from build/<profile>/segmenters; else the built-in."),
    ] = None,
    confidence: Annotated[
        Path | None,
        typer.Option(help="Also write the probability of the class shown, in percent (.tif; a folder for several)."),
    ] = None,
    channels: ChannelsOption = "",
    unit: UnitOption = "",
    window: WindowOption = None,
    overlap: OverlapOption = None,
    batch: BatchOption = None,
    device: DeviceOption = "",
    threads: ThreadsOption = None,
    precision: PrecisionOption = "auto",
    dask: DaskOption = "",
    overwrite: OverwriteOption = False,
) -> None:
    """Land cover of a whole scene by a fine-tuned segmenter: codes of its legend, with colours and names.

    The scene is read window by window, whatever its size; the probabilities of windows that overlap are blended, and
    the highest wins. A pixel without any valid channel stays nodata.

    The scene must be what the model was trained on: channels by name, backscatter in dB, pixel size. One that is not
    is refused with the command that converts it. Stop with Ctrl-C whenever you like: the same command goes on.

    Example: sardino map scene.tif -o landcover.tif --confidence confidence.tif --model FOLDER;
    many scenes: sardino map scenes/*.tif -o maps --dask tcp://host:8786
    """
    from sardino.mapping.job import Job
    from sardino.mapping.model import default_model

    job = Job(scenes[0], out, "landcover", model or default_model("segmenter"), confidence=confidence)
    run(job, scenes, out, channels, unit, window, overlap, batch, device, threads, precision, dask, overwrite)


def run(
    job: Any,
    scenes: Sequence[Path],
    out: Path,
    channels: str,
    unit: str,
    window: int | None,
    overlap: int | None,
    batch: int | None,
    device: str,
    threads: int | None,
    precision: str,
    dask: str,
    overwrite: bool,
) -> None:
    """Make the maps of a job's kind with progress; exit code 75 where Ctrl-C stopped it, 2 where one is missing."""
    from sardino.mapping.channels import UNITS

    if unit not in ("", *UNITS):
        raise SardinoError(f"--unit is {', '.join(UNITS)}, not {unit}")
    if device not in ("", "cuda", "mps", "cpu"):
        raise SardinoError(f"--device is cuda, mps or cpu, not {device}")
    if precision not in ("auto", "float32", "bfloat16"):
        raise SardinoError(f"--precision is auto, float32 or bfloat16, not {precision}")
    job = replace(
        job,
        channels=tuple(name.strip() for name in channels.split(",")) if channels else (),
        unit=unit,
        window_px=window,
        overlap_px=overlap,
        batch=batch,
        device=device,
        threads=threads,
        precision=precision,
        overwrite=overwrite,
    )
    single = out.suffix.lower() in (".tif", ".tiff")
    if single and (len(scenes) > 1 or dask):
        raise SardinoError(f"the maps of several scenes go into a folder: give one with -o, not {out}")
    try:
        if single:
            _one(job)
        else:
            _many(job, scenes, out, dask)
    except KeyboardInterrupt:
        typer.echo("stopped: the same command goes on from here", err=True)
        raise typer.Exit(STOPPED) from None


def _one(job: Any) -> None:
    """One map, its windows shown as they are done."""
    from sardino.mapping.job import make_map
    from sardino.progress import track

    def windows(counts: Any, total: int, done: int) -> Any:
        # A batch counts as many as it holds: time left follows from windows.
        each = (1 for count in counts for _ in range(count))
        return track(each, total, job.out.name, done=done)

    make_map(job, windows, say=_warn)
    for path in job.targets.values():
        typer.echo(path)


def _many(job: Any, scenes: Sequence[Path], out: Path, dask: str) -> None:
    """A map of each scene in a folder, its scenes shown as they are done."""
    from sardino.mapping.many import make_all
    from sardino.progress import track

    folders = [out, *([job.confidence] if job.confidence else [])]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    jobs = [
        replace(
            job,
            scene=scene.resolve(),
            out=out.resolve() / f"{scene.stem}.{job.kind}.tif",
            confidence=job.confidence.resolve() / f"{scene.stem}.confidence.tif" if job.confidence else None,
            model=job.model.resolve(),
        )
        for scene in scenes
    ]
    address, count = _cluster_of(dask)
    with cluster(address, count) as client:
        made = make_all(jobs, client, lambda items, total: track(items, total, "scenes"))
    for one in made:
        for doubt in one.doubts:
            _warn(doubt)
        if not one.fault:
            typer.echo(one.job.out)
    if missing := [one for one in made if one.fault]:
        for one in missing:
            typer.echo(f"no map: {one.fault}", err=True)
        raise SardinoError(f"{len(missing)} of {len(made)} scenes have no map: put right what is named, run it again")


def _cluster_of(dask: str) -> tuple[str, int]:
    """Address, or "local", and the number of processes of local[N]."""
    found = re.fullmatch(r"local(?:\[(\d+)\])?", dask)
    return ("local", int(found[1] or 1)) if found else (dask, 1)


def _warn(sentence: str) -> None:
    typer.echo(f"warning: {sentence}", err=True)
