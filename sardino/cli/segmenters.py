"""`sardino finetune`: a segmenter from a store of labelled tiles; `sardino evaluate`: its scores on one."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from typer import echo

from sardino.cli.flags import Texts, with_options
from sardino.cli.ranks import Device, ranks
from sardino.dino.recipe import Network
from sardino.mapping.job import Job
from sardino.options import Flag
from sardino.segmentation.settings import EncodingName
from sardino.study.profile import Finetuning, Percent


@with_options(Finetuning, "recipe", "lr_grid", "lr_fraction", "backbone_lr")
def finetune(
    store: Annotated[Path, "Tile store with labels, from `sardino import`, `sardino ingest` or `sardino world`."],
    out: Annotated[Path, "Folder of the model, for `sardino map`; one that was stopped goes on from there."],
    encoding: Annotated[
        EncodingName,
        "What becomes of backscatter: tokens of a ViT to a decoder; attention maps to a U-Net; unet, a U-Net on "
        "backscatter alone, which takes no backbone; unet_attention, one that sees attention maps beside; hybrid, one "
        "whose lowest level sees tokens.",
    ] = "tokens",
    backbone: Annotated[
        Path | None, "Folder of `sardino pretrain`; else the built-in one, of the synthetic world, if it fits."
    ] = None,
    network: Annotated[Network, "Of the pre-training."] = "teacher",
    frozen: Annotated[bool, "Train the decoder alone: quicker, and for few labels safer."] = False,
    region: Annotated[Texts, "Train and test on this region alone; repeat for more."] = None,
    labels: Annotated[Percent, "Percent of the labelled training tiles that are used."] = 100.0,
    lr: Annotated[
        list[float] | None,
        "The decoder's peak rate; repeat for a grid, whose middle rate is kept unless another is clearly better on "
        f"validation tiles. By default {', '.join(f'{rate:g}' for rate in Finetuning().lr_grid)}, of tokens times "
        "--tokens-lr. The backbone's rate goes with it.",
    ] = None,
    seed: Annotated[int, Field(ge=0), "Of weights and order; three seeds tell luck from learning."] = 0,
    device: Annotated[Device | None, "The best there is by default."] = None,
    restart: Annotated[bool, "Throw away what an earlier fine-tuning has left in OUT."] = False,
    **options: Any,
) -> None:
    """Fine-tune a segmenter on the labelled training tiles of a store, as the cells of the tables are.

    A pre-trained ViT waits for its decoder first, then learns slowly, lower blocks more slowly. A moving average of
    the weights is what is scored. Validation tiles choose the learning rate; test tiles are scored once, at the end,
    and the model's page (OUT/README.md) has those scores. OUT/finetuning.json has losses and the validation curve.

    Several processes: torchrun --nproc-per-node 4 -m sardino finetune STORE OUT ...; they share each batch, batch norms
    included, and the result is that of one process with the same batch.

    Stop it whenever you like, by a signal or by a power cut: the same command goes on from the last look at the
    validation tiles (--looks), and on a CPU ends with the same bytes. SIGTERM and SIGUSR1 save first; exit code 75.

    Example: sardino finetune build/world build/model --encoding tokens --backbone build/pretrained
    """

    from sardino.data.tiles.store import TileStore
    from sardino.evaluation.scores import RISING
    from sardino.study.segmenter import finetune_on
    from sardino.study.supervision import MEASURED

    tiles, rates = TileStore.open(store), [*dict.fromkeys(lr or [])]
    options |= {"lr_grid": rates} if rates else {}
    tuning = Finetuning(**options)
    if not rates:
        tuning = tuning.of(encoding)
    if len(rates) == 1:
        tuning = tuning.scaled(rates[0]).changed(lr_grid=[])
    given: dict[str, Any] = {"backbone": backbone, "network": network, "frozen": frozen, "percent": labels}
    given |= {"seed": seed, "restart": restart}
    with ranks(device) as parallel:
        card, history = finetune_on(tiles, region or tiles.regions, encoding, tuning, out, parallel, **given)
        if not parallel.first:
            return
    if history["learning_rates"]["scores"]:
        told = (f"{each['lr']:g}: {_score(each['val_miou'])}" for each in history["learning_rates"]["scores"])
        why = history["learning_rates"].get("why", "the best")  # as models of older versions chose it
        echo(f"learning rate {card.training['lr']:g}, {why}; validation mIoU of {', '.join(told)}")
    losses, tiles_used = history["losses"], card.trained_on["labelled_tiles"]
    echo(f"{len(losses)} steps on {tiles_used} labelled tiles; loss {losses[0]:.3f} -> {losses[-1]:.3f}")
    for line in card.scores:
        echo(line)
    if card.measured[MEASURED["miou"]] <= card.measured[MEASURED["miou_majority"]]:
        echo("warning: always the most frequent class does as well: more labels or more --steps are wanted", err=True)
    if card.training["gain_last_fifth"] > RISING:
        echo("warning: it still rose on validation tiles when its steps ended: more --steps make it better", err=True)
    echo(out)


@with_options(Job, *(Job.model_fields.keys() - {"device", "precision"}))
def evaluate(
    model: Annotated[Path, "Folder of a segmenter, as `sardino map --model` takes it."],
    store: Annotated[Path, "Tile store with labels."],
    out: Annotated[
        Path | None, "Folder of the tables and the figure; MODEL/evaluation-SPLIT by default.", Flag("--out -o")
    ] = None,
    against: Annotated[Path | None, "Another segmenter's folder: differences from it, on the very same tiles."] = None,
    split: Annotated[str, "Tiles that are judged: train, val or test."] = "test",
    region: Annotated[Texts, "Judge tiles of this region alone; repeat for more."] = None,
    **options: Any,
) -> None:
    """Scores of a segmenter on the labelled tiles of a store: mIoU, IoU of each class, accuracy, macro F1.

    Each has a 95 % interval, from geographic blocks resampled. scores.csv holds them, confusion.csv and its figure what
    each class was taken for. With --against the differences from another model have intervals too, which are narrower
    than those of both scores suggest, since both saw the same tiles.

    The store must be what the model was trained on: channels, unit, tile and pixel size, and classes by code and name.

    Example: sardino evaluate FOLDER build/store -o build/evaluation --against OTHER
    """
    from sardino.study.evaluate import evaluate as judge

    given: dict[str, Any] = {"against": against, "split": split, "regions": region, **options}
    told, files = judge(model, store, out or model / f"evaluation-{split}", **given)
    echo("\n".join([told, *map(str, files)]))


def _score(value: float | None) -> str:
    return "diverged" if value is None else f"{value:.3f}"
