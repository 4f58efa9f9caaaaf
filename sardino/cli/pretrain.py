"""`sardino pretrain`: DINO on any tile store, on a CPU, a GPU, or the ranks that torchrun starts."""

from pathlib import Path
from typing import Annotated

import typer

from sardino.errors import SardinoError

SHAPES = {"tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12), "laptop": (96, 6, 3)}
"""Width, blocks and heads: timm's ViT-Tiny, -Small and -Base, and what a laptop trains in minutes."""
STOPPED = 75
"""Exit code after a signal: not finished, run the same command again (EX_TEMPFAIL)."""

StoreArgument = Annotated[Path, typer.Argument(help="Tile store, from `sardino ingest` or build/<profile>/store.")]
OutArgument = Annotated[
    Path, typer.Argument(help="Folder of the weights, their card and log; a run that was stopped goes on from there.")
]


def pretrain(
    store: StoreArgument,
    out: OutArgument,
    region: Annotated[list[str] | None, typer.Option(help="Train on this region alone; repeat for more.")] = None,
    vit: Annotated[
        str,
        typer.Option(
            help="tiny, small, base (timm's), laptop, or WIDTHxBLOCKSxHEADS. The paper compares tiny and base; start "
            "with the smaller: its tokens were as good at a tenth of the cost."
        ),
    ] = "tiny",
    patch: Annotated[
        int, typer.Option(min=1, help="Side of a patch in pixels. Half the patch is 4 times the tokens, finer maps.")
    ] = 16,
    recipe: Annotated[
        str,
        typer.Option(
            help="small: DINO scaled to your tiles, the one to start with; dino: the reference, for a million tiles; "
            "paper: its Table 3, whose learning rate hardly moves a backbone in a short run."
        ),
    ] = "small",
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="NAME=VALUE of the recipe; repeat for more. Loss stuck at ln K: lower teacher_temperature to 0.02 or "
            "prototypes to 256. Loss near 0: raise teacher_temperature, or centre_momentum to 0.99. Distance near 0: "
            "raise base_learning_rate tenfold. Few tiles: momentum 0.98, fewer prototypes.",
        ),
    ] = None,
    epochs: Annotated[
        float, typer.Option(min=0, help="Passes over the tiles; 100 suit thousands of tiles, more suit hundreds.")
    ] = 100,
    steps: Annotated[int | None, typer.Option(min=1, help="Length in steps, instead of --epochs.")] = None,
    batch: Annotated[
        int, typer.Option(min=2, help="Tiles of a step over all ranks; more is steadier: 32 at least, 256 if they fit.")
    ] = 32,
    accumulate: Annotated[
        int, typer.Option(min=1, help="Micro-batches of a step on each rank: less memory, the same result.")
    ] = 1,
    seed: Annotated[int, typer.Option(help="Weights, order and crops; three seeds tell luck from learning.")] = 0,
    device: Annotated[str, typer.Option(help="cuda, mps or cpu; the best there is if empty.")] = "",
    strategy: Annotated[
        str, typer.Option(help="Under torchrun: ddp copies the network to each rank, fsdp shards it; auto by size.")
    ] = "auto",
    precision: Annotated[
        str,
        typer.Option(help="auto: bfloat16 where the GPU or CPU has it in hardware, else float32; or either."),
    ] = "auto",
    compiled: Annotated[
        bool, typer.Option("--compile", help="Let torch.compile fuse blocks: a minute first, then faster; long runs.")
    ] = False,
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help="Compute activations twice to save memory: ViT-Base, large tiles.")
    ] = False,
    cache: Annotated[
        str, typer.Option(help="auto, memory, mapped (one uncompressed copy, for slow disks) or none.")
    ] = "auto",
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that read ahead; raise while the log's data_wait exceeds 0.1.")
    ] = 0,
    watch_every: Annotated[int, typer.Option(min=1, help="Steps between lines of the log.")] = 10,
    probe_every: Annotated[
        int | None, typer.Option(min=0, help="Steps between probes of the teacher; 5 epochs by default, 0 for the end.")
    ] = None,
    save_every: Annotated[int, typer.Option(min=1, help="Steps between snapshots.")] = 200,
    keep: Annotated[int, typer.Option(min=1, help="Newest snapshots to keep, besides the best by probe.")] = 2,
    looks: Annotated[float | None, typer.Option(help="SAR view: gamma speckle of so many looks on top.")] = None,
    gain_db: Annotated[float, typer.Option(min=0, help="SAR view: standard deviation of a gain in dB.")] = 0.0,
    ramp_db: Annotated[float, typer.Option(min=0, help="SAR view: largest incidence ramp across a view in dB.")] = 0.0,
    drop_season: Annotated[float, typer.Option(min=0, max=1, help="SAR view: chance to miss a season.")] = 0.0,
    orbit_swap: Annotated[float, typer.Option(min=0, max=1, help="SAR view: chance to swap the orbits.")] = 0.0,
    seasons_as_views: Annotated[
        bool, typer.Option("--seasons-as-views", help="SAR view: each view shows one season.")
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write event files too: tensorboard --logdir OUT.")
    ] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Throw away the snapshots of an earlier run.")] = False,
) -> None:
    """Pre-train a ViT on the training tiles of a store by DINO, without labels.

    Several processes: torchrun --nproc-per-node 4 -m sardino pretrain STORE OUT ...; the result is that of one
    process with the same batch. SIGTERM and SIGUSR1 save and stop with exit code 75: the same command goes on;
    `sardino slurm` prints a job script that does so by itself.

    Watch the log, not the loss alone. A teacher entropy at ln K is collapse to the uniform; an effective rank
    near 1 is collapse to a constant; a distance near 0 is a backbone that does not move; the probe (mIoU of frozen
    tokens on validation tiles) is what counts, and an early snapshot is often better than the last on few tiles.
    """
    import torch

    from sardino.data.tiles.store import TileStore
    from sardino.dino.parallel import join
    from sardino.dino.pretrain import Stopped
    from sardino.dino.radar_views import Physics
    from sardino.dino.recipe import Run, find_recipe
    from sardino.dino.runtime import best_device
    from sardino.dino.vit import Architecture
    from sardino.study.arm import pretrain_on

    for value, name, known in (
        (strategy, "--strategy", ("auto", "ddp", "fsdp")),
        (precision, "--precision", ("auto", "float32", "bfloat16")),
        (cache, "--cache", ("auto", "memory", "mapped", "none")),
        (device, "--device", ("", "cuda", "mps", "cpu")),
    ):
        if value not in known:
            raise SardinoError(f"{name} is one of {', '.join(filter(None, known))}, not {value}")
    tiles = TileStore.open(store)
    regions = region or tiles.regions
    width, depth, heads = shape_of(vit)
    architecture = Architecture(width, depth, heads, patch, len(tiles.channels), tiles.tile_px)
    count = len(tiles.ids("train", regions))
    per_epoch = max(1, count // batch)
    length = steps or max(1, round(epochs * per_epoch))
    chosen = find_recipe(recipe).fitted(count, length).changed(**dict(map(setting, change or ())))
    run = Run(
        steps=length,
        batch=batch,
        seed=seed,
        accumulate=accumulate,
        precision=precision,  # type: ignore[arg-type]  # checked above, as the others
        compiled=compiled,
        checkpointing=checkpointing,
        workers=workers,
        watch_every=watch_every,
        probe_every=5 * per_epoch if probe_every is None else probe_every,
        save_every=save_every,
        keep=keep,
        physics=Physics(looks, gain_db, ramp_db, drop_season, orbit_swap, seasons_as_views),
    )
    with join(torch.device(device) if device else best_device(), strategy) as parallel:  # type: ignore[arg-type]
        try:
            result, digests = pretrain_on(
                tiles,
                regions,
                architecture,
                chosen,
                run,
                parallel,
                out,
                cache=cache,  # type: ignore[arg-type]
                scratch=out / "cache",
                restart=restart,
                tensorboard=tensorboard,
            )
        except Stopped as stopped:
            if parallel.first:
                typer.echo(str(stopped), err=True)
            raise typer.Exit(STOPPED) from stopped
        if not parallel.first:
            return
        history = result.history
        typer.echo(f"{length} steps on {count} tiles; loss {history.loss[0]:.3f} -> {history.loss[-1]:.3f}")
        if history.probes["step"]:
            knn, linear = history.probes["knn"][-1], history.probes["linear"][-1]
            typer.echo(f"probe on validation tiles: mIoU {knn:.3f} by neighbours, {linear:.3f} linear")
        for sentence in result.warnings:
            typer.echo(f"warning: {sentence}")
        for name in digests:
            typer.echo(f"{out / name}.safetensors")


def slurm() -> None:
    """Print a SLURM job script for `sardino pretrain` that saves in time and queues itself again.

    sardino slurm > pretrain.sbatch; sbatch pretrain.sbatch STORE OUT --vit base --batch 512
    """
    typer.echo((Path(__file__).parent / "pretrain.sbatch").read_text(encoding="utf-8"), nl=False)


def shape_of(name: str) -> tuple[int, int, int]:
    """Width, blocks and heads of a named ViT, or of "WIDTHxBLOCKSxHEADS"."""
    if name in SHAPES:
        return SHAPES[name]
    parts = name.split("x")
    if len(parts) != 3 or not all(part.isdigit() and int(part) for part in parts):
        raise SardinoError(f"--vit is {', '.join(SHAPES)} or WIDTHxBLOCKSxHEADS such as 192x12x3, not {name}")
    width, depth, heads = map(int, parts)
    return width, depth, heads


def setting(text: str) -> tuple[str, object]:
    """A recipe's NAME=VALUE; a range is written LOW,HIGH."""
    name, equals, value = text.partition("=")
    try:
        if not equals:
            raise ValueError
        if value in ("true", "false"):
            return name, value == "true"
        if "," in value:
            low, high = map(float, value.split(","))
            return name, (low, high)
        return name, int(value) if value.lstrip("-").isdigit() else float(value)
    except ValueError:
        raise SardinoError(f"--set takes NAME=VALUE, as in momentum=0.98 or local_scale=0.1,0.4, not {text}") from None
