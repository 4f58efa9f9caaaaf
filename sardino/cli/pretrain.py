"""`sardino pretrain`: DINO on any tile store, on a CPU, a GPU, or the ranks that torchrun starts."""

from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Argument, Exit, Option, echo

from sardino.cli.flags import with_options
from sardino.dino.recipe import Run
from sardino.errors import SardinoError

STOPPED = 75
"""Exit code after a signal: not finished, run the same command again (EX_TEMPFAIL)."""

StoreArgument = Annotated[Path, Argument(help="Tile store, from `sardino ingest` or build/<profile>/store.")]
OutArgument = Annotated[
    Path, Argument(help="Folder of the weights, their card and log; a run that was stopped goes on from there.")
]


@with_options(Run, batch=32, watch_every=10, save_every=200)
def pretrain(
    store: StoreArgument,
    out: OutArgument,
    region: Annotated[list[str] | None, Option(help="Train on this region alone; repeat for more.")] = None,
    vit: Annotated[
        str,
        Option(
            help="tiny, small, base (timm's), laptop, or WIDTHxBLOCKSxHEADS. The paper compares tiny and base; start "
            "with the smaller: its tokens were as good at a tenth of the cost."
        ),
    ] = "tiny",
    patch: Annotated[
        int, Option(min=1, help="Side of a patch in pixels. Half the patch is 4 times the tokens, finer maps.")
    ] = 16,
    recipe: Annotated[
        str,
        Option(
            help="small: DINO scaled to your tiles, the one to start with; dino: the reference, for a million tiles; "
            "paper: its Table 3, whose learning rate hardly moves a backbone in a short run."
        ),
    ] = "small",
    change: Annotated[
        list[str] | None,
        Option(
            "--set",
            help="NAME=VALUE of the recipe; repeat for more. Loss stuck at ln K: lower teacher_temperature to 0.02 or "
            "prototypes to 256. Loss near 0: raise teacher_temperature, or centre_momentum to 0.99. Distance near 0: "
            "raise base_learning_rate tenfold. Few tiles: momentum 0.98, fewer prototypes.",
        ),
    ] = None,
    epochs: Annotated[
        float, Option(min=0, help="Passes over the tiles; 100 suit thousands of tiles, more suit hundreds.")
    ] = 100,
    steps: Annotated[int | None, Option(min=1, help="Length in steps, instead of --epochs.")] = None,
    probe_every: Annotated[
        int | None, Option(min=0, help="Steps between probes of the teacher; 5 epochs by default, 0 for the end.")
    ] = None,
    device: Annotated[Literal["cuda", "mps", "cpu"] | None, Option(help="The best there is by default.")] = None,
    strategy: Annotated[
        Literal["auto", "ddp", "fsdp"],
        Option(help="Under torchrun: ddp copies the network to each rank, fsdp shards it; auto by size."),
    ] = "auto",
    cache: Annotated[
        Literal["auto", "memory", "none"],
        Option(help="Whether tiles are held in memory while it runs; auto holds what takes less than a gigabyte."),
    ] = "auto",
    tensorboard: Annotated[
        bool, Option("--tensorboard", help="Write event files too: tensorboard --logdir OUT.")
    ] = False,
    restart: Annotated[bool, Option("--restart", help="Throw away the snapshots of an earlier run.")] = False,
    **options: Any,
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
    from sardino.dino.recipe import find_recipe
    from sardino.dino.runtime import best_device
    from sardino.dino.vit import Architecture
    from sardino.dino.vit_size import size_of
    from sardino.study.arm import pretrain_on

    tiles = TileStore.open(store)
    regions = region or tiles.regions
    architecture = Architecture.of(size_of(vit, patch), len(tiles.channels), tiles.tile_px)
    count = len(tiles.ids("train", regions))
    per_epoch = max(1, count // options["batch"])
    length = steps or max(1, round(epochs * per_epoch))
    chosen = find_recipe(recipe).fitted(count, length).changed(**dict(map(setting, change or ())))
    run = Run(steps=length, probe_every=5 * per_epoch if probe_every is None else probe_every, **options)
    with join(torch.device(device) if device else best_device(), strategy) as parallel:
        try:
            result, digests = pretrain_on(
                tiles,
                regions,
                architecture,
                chosen,
                run,
                parallel,
                out,
                cache=cache,
                restart=restart,
                tensorboard=tensorboard,
            )
        except Stopped as stopped:
            if parallel.first:
                echo(str(stopped), err=True)
            raise Exit(STOPPED) from stopped
        if not parallel.first:
            return
        history = result.history
        echo(f"{length} steps on {count} tiles; loss {history.loss[0]:.3f} -> {history.loss[-1]:.3f}")
        if history.probes["step"]:
            knn, linear = history.probes["knn"][-1], history.probes["linear"][-1]
            echo(f"probe on validation tiles: mIoU {knn:.3f} by neighbours, {linear:.3f} linear")
        for sentence in result.warnings:
            echo(f"warning: {sentence}")
        for name in digests:
            echo(f"{out / name}.safetensors")


def slurm() -> None:
    """Print a SLURM job script for `sardino pretrain` that saves in time and queues itself again.

    sardino slurm > pretrain.sbatch; sbatch pretrain.sbatch STORE OUT --vit base --batch 512
    """
    echo((Path(__file__).parent / "pretrain.sbatch").read_text(encoding="utf-8"), nl=False)


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
