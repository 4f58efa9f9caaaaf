"""Fine-tuning steps in bfloat16 beside float32, and what keeping a frozen backbone's features saves.

    python benchmarks/finetuning.py
    python benchmarks/finetuning.py --device cuda

A step is the fine-tuning's own: reading and turning a batch, forward, backward, one optimiser step, the moving average.
At the laptop profile's sizes: the U-Net, and the three arms with a ViT that is trained on, in bfloat16 where the
hardware multiplies it, each against the same step in float32. Told beside it: a step while a pre-trained ViT waits for
its decoder, and the mean over both stages of such a training.

A frozen arm's epoch is every labelled tile once, the features on disk, memory-mapped. No cache can save more than the
backbone costs: the decoder's own forward and backward remain. That limit is measured as an epoch on features that lie
in memory already. What it takes to make the features once is told in epochs without them. Arms: all three at the
laptop's sizes, and tokens and attention maps with the paper's ViT-Tiny/16 and ViT-Base/16 on tiles of 448 pixels.

Rounds of what is compared take turns, and medians over the rounds are reported.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from row import Row, write_benchmark

from sardino.data.tiles.radiometry import CHANNELS
from sardino.dino.batches import MemoryTiles, TileSource
from sardino.dino.runtime import precision_on
from sardino.dino.vit import Architecture, build_vit
from sardino.segmentation.finetune import finetune
from sardino.segmentation.kept_features import Features, FeatureTiles
from sardino.segmentation.segmenter import Segmenter, build_segmenter
from sardino.segmentation.settings import EncodingName, Settings
from sardino.study.profile import Profile

CLASSES = 11
BAR = 1.6  # of a step in float32


@dataclass(frozen=True)
class Size:
    """One setting.

    Args:
        name: as the row says it.
        shape: width, depth, heads and patch of the ViT.
        px: side of a tile.
        decoder: sizes of the decoders; batch: of the fine-tuning.
        encodings: what is measured of frozen arms.
        share: of the tiles and rounds asked for; the large network takes a second a tile.
    """

    name: str
    shape: tuple[int, int, int, int]
    px: int
    decoder: Mapping[str, int]
    batch: int
    encodings: tuple[EncodingName, ...]
    share: float = 1.0


def sizes() -> list[Size]:
    """The laptop's and the paper's backbones; the latter with the laptop's decoders, as the paper states no width."""
    profile = Profile.load("laptop")
    tuning, tiny = profile.finetuning, profile.architecture("europe")
    decoders, batch = tuning.decoder, tuning.batch
    shape, px = (tiny.width, tiny.depth, tiny.heads, tiny.patch), profile.data.tile_px
    return [
        Size("laptop's ViT", shape, px, decoders, batch, ("attention", "tokens", "unet_attention")),
        Size("ViT-Tiny/16", (192, 12, 3, 16), 448, decoders, batch, ("attention", "tokens")),
        Size("ViT-Base/16", (768, 12, 12, 16), 448, decoders, batch, ("attention", "tokens"), share=0.25),
    ]


def arm(size: Size, encoding: EncodingName, device: torch.device, frozen: bool) -> Segmenter:
    """An arm with random weights; what they are does not change what it takes."""
    torch.manual_seed(0)
    vit = None if encoding == "unet" else build_vit(Architecture(*size.shape, channels=len(CHANNELS), tile_px=size.px))
    sizes = {"channels": len(CHANNELS), "classes": CLASSES, **size.decoder}
    return build_segmenter(encoding, vit, frozen=frozen, **sizes).to(device)


def images_of(size: Size, tiles: int) -> MemoryTiles:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(tiles, len(CHANNELS), size.px, size.px, generator=generator)
    return MemoryTiles(images, torch.randint(0, CLASSES, (tiles, size.px, size.px), generator=generator).byte())


def work(
    model: Segmenter, train: TileSource, settings: Settings, device: torch.device, pretrained: bool = False
) -> Callable[[], object]:
    """A training, and a look at one validation tile at its end."""
    one = (
        FeatureTiles(train.features, train.ids[:1], train.join, train.images)
        if isinstance(train, FeatureTiles)
        else MemoryTiles(*train.read([0]))
    )
    terms = {"classes": CLASSES, "seed": 0, "device": device, "pretrained": pretrained}
    return lambda: finetune(model, train, one, settings, **terms)


def medians(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds of each, taking turns; a first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, each in works.items():
            started = time.perf_counter()
            each()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def measure_steps(size: Size, tiles: int, rounds: int, device: torch.device, where: str) -> list[Row]:
    """Steps in bfloat16 beside float32; none where the hardware has no bfloat16."""
    if precision_on(device) != "bfloat16":
        return []
    rows, steps, source = [], max(2, tiles // 4), images_of(size, tiles)
    half = Settings(steps=steps, growth=0, batch=size.batch, looks=5, precision="bfloat16")
    full = half.changed(precision="float32")
    for encoding in ("unet", *size.encodings):
        model = arm(size, encoding, device, frozen=False)
        works = {"half": work(model, source, half, device), "full": work(model, source, full, device)}
        if model.vit is not None:
            works["waits"] = work(model, source, half.changed(head_share=1), device, pretrained=True)
            works["both"] = work(model, source, half, device, pretrained=True)
        took = {name: seconds / steps for name, seconds in medians(works, rounds).items()}
        network = "U-Net" if model.vit is None else f"{encoding.replace('_', ' + ')}, {size.name}"
        what = f"{network}, {size.px} px, batch {size.batch}, {where}"
        peer, ratio = "float32", took["full"] / took["half"]
        rows.append(Row(f"Fine-tuning step in bfloat16: {what}", took["half"], "s", peer, took["full"], ratio, BAR))
        if "waits" in took:
            told = {"while the ViT waits": "waits", "mean of both stages of a pre-trained arm": "both"}
            for name, key in told.items():
                rows.append(
                    Row(f"The same, {name}: {what}", took[key], "s", peer, took["full"], took["full"] / took[key])
                )
    return rows


def measure_features(
    size: Size, encoding: EncodingName, tiles: int, rounds: int, device: torch.device, where: str
) -> list[Row]:
    """What keeping a frozen backbone's features saves, and what making them takes."""
    source, ids = images_of(size, tiles), [str(n) for n in range(tiles)]
    model = arm(size, encoding, device, frozen=True)
    settings = Settings(steps=-(-tiles // size.batch), growth=0, batch=size.batch, looks=5, turns=False)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        features = Features.of(model, source, ids, {}, Path(folder), device)
        making = time.perf_counter() - started
        assert features is not None
        kept = FeatureTiles(features, ids, *((model.join, source) if model.sees_images else ()))
        held = Features(features.folder, np.array(features.values), np.array(features.labels), features.row)
        sources = {"kept": kept, "made": source, "best": FeatureTiles(held, ids, kept.join, kept.images)}
        took = medians({name: work(model, on, settings, device) for name, on in sources.items()}, rounds)
    what = f"{encoding.replace('_', ' + ')}, {size.name}, {size.px} px, {tiles} tiles, {where}"
    whole = ("s", "backbone at each step", took["made"])
    limit = ("any cache's: features in memory", took["best"], took["best"] / took["kept"])
    return [
        Row(f"Epoch of a frozen arm on kept features: {what}", took["kept"], *whole, took["made"] / took["kept"]),
        Row(f"The same, share of the limit: {what}", took["kept"], "s", *limit),
        Row(f"Making the features once: {what}", making, *whole, took["made"] / making),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, default=64, help="labelled tiles of an epoch")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of which the median is taken")
    parser.add_argument("--small", action="store_true", help="the laptop's sizes alone")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--out", type=Path, default=Path("results/benchmarks/finetuning.json"), help="where the rows go"
    )
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    where = f"{torch.get_num_threads()} CPU threads" if device.type == "cpu" else device.type.upper()
    chosen = sizes()[: 1 if arguments.small else None]
    rows = measure_steps(chosen[0], arguments.tiles, arguments.rounds, device, where)
    for size in chosen:
        for encoding in size.encodings:
            tiles, rounds = (max(1, round(size.share * n)) for n in (arguments.tiles, arguments.rounds))
            rows += measure_features(size, encoding, tiles, rounds, device, where)
    print(write_benchmark(rows, arguments.out))


if __name__ == "__main__":
    sys.exit(main())
