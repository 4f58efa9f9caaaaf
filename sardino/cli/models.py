"""`sardino pretrain`: a ViT on a tile store; `sardino attend`, `map` and `embed`: a model over whole scenes."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import NonNegativeFloat, NonNegativeInt
from typer import Argument, Exit, echo

from sardino.cli.flags import Overwrite, Texts, assignment, shown, tell_ranges, with_options
from sardino.cli.ranks import STOPPED, Device, Strategy, ranks
from sardino.cli.stores import cluster
from sardino.dino.recipe import Run, find_recipe, size_of
from sardino.errors import SardinoError
from sardino.mapping.job import Job
from sardino.options import Count, Flag
from sardino.progress import track
from sardino.weights.adoption import Adoption

OF_EMBEDDINGS = ("components", "fit", "dtype", "per")
Cache = Literal["auto", "memory", "none"]
SCENES = "GeoTIFF, VRT or any raster of GDAL; NetCDF (.nc) or Zarr, as a folder or zipped. Several: one map each."
Scenes = Annotated[list[Path], Argument(help=SCENES, metavar="SCENE...")]
Out = Annotated[Path, "Map to make (.tif); of several scenes, the folder for their maps.", Flag("--out -o")]
Dask = Annotated[
    str,
    "Many scenes on a cluster, one task each: the address of a dask.distributed scheduler (tcp://host:8786), or "
    "local[N] for N processes of this machine. All see the same disk.",
]
Backbone = Annotated[
    Path | None,
    "Folder of `sardino pretrain` or a segmenter, whose ViT is taken; else the built-in.",
    Flag("--model --backbone"),
]
Sources = Annotated[list[Path], Argument(help=f"{SCENES} Or one tile store.", metavar="SCENE...|STORE")]
Embeddings = Annotated[
    Path,
    "Raster of a scene (.tif or .zarr), table of a tile store (.parquet), or a folder for several scenes.",
    Flag("--out -o"),
]
Segmenter = Annotated[
    Path | None, "Folder of `sardino finetune`, or one of build/<profile>/segmenters; else the built-in."
]


@with_options(Run, batch=32, watch_every=10, save_every=200)
def pretrain(
    store: Annotated[Path, "Tile store, from `sardino ingest` or build/<profile>/store."],
    out: Annotated[Path, "Folder of the weights, their card and log; a run that was stopped goes on from there."],
    region: Annotated[Texts, "Train on this region alone; repeat for more."] = None,
    vit: Annotated[
        str,
        "tiny, small, base (timm's), laptop, or WIDTHxBLOCKSxHEADS. The paper compares tiny and base; start with the "
        "smaller: its tokens were as good at a tenth of the cost.",
    ] = "tiny",
    patch: Annotated[Count, "Side of a patch in pixels. Half the patch is 4 times the tokens, finer maps."] = 16,
    texture: Annotated[
        bool, "Let patches see local deviations and the means around them too, which a linear embedding cannot compute."
    ] = False,
    recipe: Annotated[
        str,
        "small: DINO scaled to your tiles, the one to start with; dino: the reference, for a million tiles; paper: its "
        "Table 3, whose learning rate hardly moves a backbone in a short run; dino-masked: small, for hidden patches "
        "too. Masked modelling, whose step is shorter: filtered tells means and deviations of hidden patches and "
        "seasons, pixels the pixels of hidden patches. dense pre-trains a whole hybrid: its U-Net, which `sardino "
        "finetune --encoding hybrid` goes on with, tells them at each pixel.",
    ] = "small",
    change: Annotated[
        Texts,
        "NAME=VALUE of the recipe, a range as 0.1,0.4; repeat for more. Loss stuck at ln K: lower teacher_temperature "
        "to 0.02 or prototypes to 256. Loss near 0: raise teacher_temperature, or centre_momentum to 0.99. Distance "
        "near 0: raise base_learning_rate tenfold. Few tiles: momentum 0.98, fewer prototypes.",
        Flag("--set"),
    ] = None,
    epochs: Annotated[
        NonNegativeFloat, "Passes over the tiles; 100 suit thousands of tiles, more suit hundreds."
    ] = 100,
    steps: Annotated[Count | None, "Length in steps, instead of --epochs."] = None,
    probe_every: Annotated[NonNegativeInt | None, "Steps between probes; 5 epochs by default, 0 for the end."] = None,
    device: Annotated[Device | None, "The best there is by default."] = None,
    strategy: Annotated[Strategy, "On ranks of torchrun: ddp copies, fsdp shards the network; auto by size."] = "auto",
    cache: Annotated[Cache, "Whether tiles are held in memory; auto holds what takes less than a gigabyte."] = "auto",
    tensorboard: Annotated[bool, "Write event files too: tensorboard --logdir OUT."] = False,
    restart: Annotated[bool, "Throw away the snapshots of an earlier run."] = False,
    **options: Any,
) -> None:
    """Pre-train a ViT on the training tiles of a store, without labels, by DINO or another objective (--recipe).

    Several processes: torchrun --nproc-per-node 4 -m sardino pretrain STORE OUT ...; the result is that of one
    process with the same batch. SIGTERM and SIGUSR1 save and stop with exit code 75: the same command goes on;
    `sardino slurm` prints a job script that does so by itself.

    Watch the log, not the loss alone. A teacher entropy at ln K is collapse to the uniform; an effective rank
    near 1 is collapse to a constant; a distance near 0 is a backbone that does not move; of masked modelling an
    explained near 0 is a decoder that tells the mean; the probe (mIoU of frozen
    tokens on validation tiles) is what counts, and an early snapshot is often better than the last on few tiles.
    """

    from sardino.data.tiles.store import TileStore
    from sardino.dino.vit import Architecture
    from sardino.study.arm import pretrain_on

    tiles = TileStore.open(store)
    regions = region or tiles.regions
    architecture = Architecture.of(size_of(vit, patch, texture), len(tiles.channels), tiles.tile_px)
    count = len(tiles.ids("train", regions))
    per_epoch = max(1, count // options["batch"])
    length = steps or max(1, round(epochs * per_epoch))
    chosen = find_recipe(recipe).fitted(count, length).changed(**dict(map(assignment, change or ())))
    run = Run(steps=length, probe_every=5 * per_epoch if probe_every is None else probe_every, **options)
    keeping: dict[str, Any] = {"cache": cache, "restart": restart, "tensorboard": tensorboard}
    with ranks(device, strategy) as parallel:
        result, digests = pretrain_on(tiles, regions, architecture, chosen, run, parallel, out, **keeping)
        if not parallel.first:
            return
        history = result.history
        echo(f"{length} steps on {count} tiles; loss {history.loss[0]:.3f} -> {history.loss[-1]:.3f}")
        if history.probes["step"]:
            knn, linear, line, beside = (history.probes[name][-1] for name in ("knn", "linear", "line", "beside"))
            echo(f"probe on validation tiles: mIoU {knn:.3f} by neighbours, {linear:.3f} linear")
            echo(f"the line to beat, hand-made features: {line:.3f}; tokens beside these: {beside:.3f}")
        for sentence in result.warnings:
            echo(f"warning: {sentence}")
        for name in digests:
            echo(f"{out / name}.safetensors")


@with_options(Adoption)
def adopt(
    weights: Annotated[Path, "File of others: .safetensors, or .pth, .pt and the like. No code in it is run."],
    out: Annotated[Path, "Folder for the backbone, as `sardino pretrain` writes it."],
    overwrite: Overwrite = False,
    **options: Any,
) -> None:
    """Take over a ViT that was pre-trained elsewhere: its weights, and what must be said of its input.

    `sardino attend --model OUT` then maps its attention, `sardino finetune --backbone OUT` trains a segmenter on it.
    Registers and scales of layers (DINOv2) are kept; a ViT that computes something else than timm's is refused, by the
    names of its weights.

    Weights do not say what they were fed with, and nothing is guessed: see what is printed. A wrong unit, order of
    channels or number of heads gives numbers without meaning, and no error. The weights keep their licence.

    Example: sardino adopt B2_vits16_mae_ep99.pth build/ssl4eo --from ssl4eo-s12;
    colour images, fed with VV of three seasons between -25 and 0 dB: sardino adopt dino_vits16.pth build/dino
    --from dino --channels winter_vv,spring_vv,summer_vv --unit 0..1 --range -25,0
    --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225
    """
    from sardino.weights.adopt import adopt as adopted

    card = adopted(weights, out, Adoption(**options), overwrite)
    shape = card.architecture
    registers = f", {shape.registers} registers" if shape.registers else ""
    echo(
        f"ViT {shape.width}-{shape.depth}/{shape.patch}, {shape.heads} heads{registers}, tiles of {shape.tile_px} px",
        err=True,
    )
    statistics = zip(card.channels, card.normalisation["mean"], card.normalisation["std"], strict=True)
    for name, mean, std in statistics:
        echo(f"{name}: ({card.unit} - {mean:g}) / {std:g}", err=True)
    echo(out / "teacher.safetensors")


def slurm() -> None:
    """Print a SLURM job script for `sardino pretrain` that saves in time and queues itself again.

    sardino slurm > pretrain.sbatch; sbatch pretrain.sbatch STORE OUT --vit base --batch 512
    """
    echo((Path(__file__).parent / "pretrain.sbatch").read_text(encoding="utf-8"), nl=False)


@with_options(Job, "scene", "kind", "confidence", *OF_EMBEDDINGS)
def attend(scenes: Scenes, *, out: Out, model: Backbone = None, dask: Dask = "", **options: Any) -> None:
    """Attention of a pre-trained ViT over a whole scene: a band for each head.

    The class token's attention to each patch, 1 where it is spread evenly. The scene is read window by window, whatever
    its size. Windows overlap; one query, the mean of their class tokens', asks all of them. Each has a softmax of its
    own: so they are aligned, by a factor a head, before they are blended. The map has the scene's CRS; a pixel of it is
    a patch.

    The scene must be what the model was trained on: channels by name, backscatter in dB, pixel size. One that is not
    is refused with the command that converts it. Stop with Ctrl-C whenever you like: the same command goes on.

    Example: sardino attend scene.tif -o attention.tif --model build/pretrained
    """
    _run(scenes, dask, model, "backbone", kind="attention", out=out, **options)


@with_options(Job, "scene", "kind", "confidence", "block", "full_size")
def embed(scenes: Sources, *, out: Embeddings, model: Backbone = None, dask: Dask = "", **options: Any) -> None:
    """Embeddings of your own scenes: the tokens of a pre-trained ViT, for maps from a few labels or for neighbours.

    Of a scene, a raster: a pixel is a patch, a band a dimension of its token, in the scene's CRS. The scene is read
    window by window, whatever its size; windows are as large as the tiles that the model learnt on, and blended where
    they overlap. A patch without any valid pixel is nodata. --components keeps the first principal components of the
    tokens of training tiles; where the model's folder has none, --fit STORE fits them.

    Of a tile store, a table (GeoParquet): a row a tile, with its id, region, split, centre and token, the mean of its
    patches; with --per patch a row a patch.

    The scene must be what the model was trained on: channels by name, backscatter in dB, pixel size. One that is not
    is refused with the command that converts it. Stop with Ctrl-C whenever you like: the same command goes on.

    Example: sardino embed scene.tif -o embeddings.tif --components 16 --dtype int8;
    of a store: sardino embed build/laptop/store -o embeddings.parquet --per patch
    """
    from sardino.data.tiles.store import ARRAYS

    options |= {"kind": "embedding", "out": out}
    table = out.suffix.lower() == ".parquet"
    if not table and (stores := [scene for scene in scenes if (scene / ARRAYS).exists()]):
        raise SardinoError(f"{stores[0]} is a tile store, whose embeddings are a table: give -o a .parquet, not {out}")
    if table and scenes[0].is_file():
        raise SardinoError(f"{scenes[0]} is a scene, whose embeddings are a raster: give -o a .tif or .zarr, not {out}")
    if table:
        _tabulate(scenes, dask, model, **options)
    else:
        _run(scenes, dask, model, "backbone", **options)


@with_options(Job, "scene", "kind", "network", "block", "full_size", *OF_EMBEDDINGS)
def map_(scenes: Scenes, *, out: Out, model: Segmenter = None, dask: Dask = "", **options: Any) -> None:
    """Land cover of a whole scene by a fine-tuned segmenter: codes of its legend, with colours and names.

    The scene is read window by window, whatever its size; the probabilities of windows that overlap are blended, and
    the highest wins. A pixel without any valid channel stays nodata.

    The scene must be what the model was trained on: channels by name, backscatter in dB, pixel size. One that is not
    is refused with the command that converts it. Stop with Ctrl-C whenever you like: the same command goes on.

    Example: sardino map scene.tif -o landcover.tif --confidence confidence.tif --model FOLDER;
    many scenes: sardino map scenes/*.tif -o maps --dask tcp://host:8786
    """
    _run(scenes, dask, model, "segmenter", kind="landcover", out=out, **options)


def _run(scenes: list[Path], dask: str, model: Path | None, built_in: Any, **options: Any) -> None:
    """Make the maps of a kind with progress; exit code 75 where Ctrl-C stopped it, 2 where one is missing."""
    from sardino.data.rasters.scene import open_scene
    from sardino.data.tiles.value_ranges import ValueRanges
    from sardino.mapping.model import default_model
    from sardino.mapping.scene_map import make_map

    if model is None:
        model = default_model(built_in, options["channels"] or open_scene(scenes[0], options["crs"]).names)
    job = Job(scene=scenes[0], model=model, **options)
    single = bool(job.out.suffix) and (not job.out.is_dir() or job.out.suffix == ".zarr")
    if single and (len(scenes) > 1 or dask):
        raise SardinoError(f"the maps of several scenes go into a folder: give one with -o, not {job.out}")

    if job.per != "tile":
        raise SardinoError(f"{job.scene} is a scene, whose map has a pixel a patch in any case: leave out --per")

    def windows(counts: Any, total: int, done: int, what: str) -> Any:
        # A batch counts as many as it holds: time left follows from windows.
        each = (1 for count in counts for _ in range(count))
        return track(each, total, f"{job.out.name}, {what}" if what else job.out.name, done=done)

    try:
        if single:
            make_map(job, windows, say=_warn, ranges=(ranges := ValueRanges()))
            tell_ranges(ranges, "dB")
            echo("\n".join(map(str, job.targets.values())))
        else:
            _many(job, scenes, dask)
    except KeyboardInterrupt:
        echo("stopped: the same command goes on from here", err=True)
        raise Exit(STOPPED) from None


def _tabulate(scenes: list[Path], dask: str, model: Path | None, **options: Any) -> None:
    """Write the table of a tile store with progress."""
    from sardino.data.tiles.store import TileStore
    from sardino.mapping.model import default_model
    from sardino.mapping.table import make_table

    if len(scenes) > 1 or dask:
        raise SardinoError(f"{options['out']} is made of one tile store, here: give one, and no --dask")
    job = Job(scene=scenes[0], model=model or default_model("backbone", TileStore.open(scenes[0]).channels), **options)
    try:
        make_table(job, shown("parts"))
    except KeyboardInterrupt:
        echo("stopped: the same command goes on from here", err=True)
        raise Exit(STOPPED) from None
    echo(job.out)


def _many(job: Job, scenes: list[Path], dask: str) -> None:
    """A map of each scene in a folder, its scenes shown as they are done."""
    from sardino.mapping.model import load_vit
    from sardino.mapping.scene_map import make_all
    from sardino.mapping.store_tokens import fitted
    from sardino.weights.components import FILE

    if job.fit:  # once, for all of them
        vit = load_vit(job.model, job.network)
        job = job.changed(fit=fitted(job, vit, job.out / FILE).resolve())
    jobs = []
    for scene in scenes:  # in whole paths: a worker of a cluster stands in another folder
        sure = job.confidence and job.confidence.resolve() / f"{scene.stem}.confidence.tif"
        paths = {"out": job.out.resolve() / f"{scene.stem}.{job.kind}.tif", "model": job.model.resolve()}
        jobs.append(job.changed(scene=scene.resolve(), confidence=sure, **paths))
    local = re.fullmatch(r"local(?:\[(\d+)\])?", dask)
    with cluster("local" if local else dask, int(local[1] or 1) if local else 1) as client:
        made = make_all(jobs, client, shown("scenes"))
    for one in made:
        for doubt in one.doubts:
            _warn(doubt)
        if not one.fault:
            tell_ranges(one.ranges, "dB")
            echo(one.job.out)
    if missing := [one.fault for one in made if one.fault]:
        echo("\n".join(f"no map: {fault}" for fault in missing), err=True)
        raise SardinoError(f"{len(missing)} of {len(made)} scenes have no map: put right what is named, run it again")


def _warn(sentence: str) -> None:
    echo(f"warning: {sentence}", err=True)
