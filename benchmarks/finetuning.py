"""An epoch of a frozen arm's training: on its backbone's kept features against through the backbone at each step.

    python benchmarks/finetuning.py
    python benchmarks/finetuning.py --device cuda

An epoch is every labelled tile once, forward through the backbone and the decoder, backward through the decoder, one
optimiser step a batch: the fine-tuning's own loop, from which only the reading differs. The tiles lie in memory and the
features on disk, memory-mapped. Arms: all three that have a backbone at the laptop profile's sizes, and tokens and
attention maps with the paper's ViT-Tiny/16 and ViT-Base/16 on tiles of 448 pixels. What it takes to make the features
once is told in epochs without them. Rounds of the two take turns, and medians over the rounds are reported.

No cache can save more than the backbone costs: the decoder's own forward and backward remain. That limit is measured
too, as an epoch on features that lie in memory already, and the share of it that the cache on disk reaches.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from row import Row, write_benchmark

from sardino.data.tiles.radiometry import CHANNELS
from sardino.dino.batches import MemoryTiles, TileSource
from sardino.dino.vit import Architecture, build_vit
from sardino.segmentation.finetune import Settings, finetune
from sardino.segmentation.kept_features import Features, FeatureTiles
from sardino.segmentation.segmenter import EncodingName, Segmenter, build_segmenter
from sardino.study.profile import Profile

CLASSES = 11
BAR = 5.0
PEER = "backbone at each step"


@dataclass(frozen=True)
class Size:
    """One setting.

    Args:
        name: as the row says it.
        shape: width, depth, heads and patch of the ViT.
        px: side of a tile.
        unet_width, unet_depth, decoder_width, batch: of the fine-tuning.
        encodings: what is measured.
        share: of the tiles and rounds asked for; the large network takes a second a tile.
    """

    name: str
    shape: tuple[int, int, int, int]
    px: int
    unet_width: int
    unet_depth: int
    decoder_width: int
    batch: int
    encodings: tuple[EncodingName, ...]
    share: float = 1.0


def sizes() -> list[Size]:
    """The laptop's and the paper's backbones; the latter with the laptop's decoders, as the paper states no width."""
    profile = Profile.load("laptop")
    tuning, tiny = profile.finetuning, profile.architecture("europe")
    decoders = (tuning.unet_width, tuning.unet_depth, tuning.decoder_width, tuning.batch)
    shape, px = (tiny.width, tiny.depth, tiny.heads, tiny.patch), profile.data.tile_px
    return [
        Size("laptop's ViT", shape, px, *decoders, encodings=("attention", "tokens", "unet_attention")),
        Size("ViT-Tiny/16", (192, 12, 3, 16), 448, *decoders, encodings=("attention", "tokens")),
        Size("ViT-Base/16", (768, 12, 12, 16), 448, *decoders, encodings=("attention", "tokens"), share=0.25),
    ]


def arm(size: Size, encoding: EncodingName, device: torch.device) -> Segmenter:
    """A frozen arm with random weights; what they are does not change what it takes."""
    torch.manual_seed(0)
    return build_segmenter(
        encoding,
        build_vit(Architecture(*size.shape, channels=len(CHANNELS), tile_px=size.px)),
        channels=len(CHANNELS),
        classes=CLASSES,
        unet_width=size.unet_width,
        unet_depth=size.unet_depth,
        decoder_width=size.decoder_width,
        frozen=True,
    ).to(device)


def epoch(size: Size, model: Segmenter, train: TileSource, device: torch.device) -> Callable[[], object]:
    """One pass over the tiles, a look at one validation tile at its end."""
    steps = -(-len(train) // size.batch)
    settings = Settings(steps=steps, batch=size.batch, lr=1e-3, backbone_lr=1e-4, validate_every=steps)
    one = (
        FeatureTiles(train.features, train.ids[:1], train.join, train.images)
        if isinstance(train, FeatureTiles)
        else None
    )
    judged = one or MemoryTiles(*train.read([0]))
    return lambda: finetune(model, train, judged, settings, classes=CLASSES, seed=0, device=device)


def measure(size: Size, encoding: EncodingName, tiles: int, rounds: int, device: torch.device) -> list[Row]:
    """The row of an arm, and what making its features takes."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(tiles, len(CHANNELS), size.px, size.px, generator=generator)
    labels = torch.randint(0, CLASSES, (tiles, size.px, size.px), generator=generator).to(torch.uint8)
    source, ids = MemoryTiles(images, labels), [str(n) for n in range(tiles)]
    model = arm(size, encoding, device)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        features = Features.of(model, source, ids, {}, Path(folder), device)
        making = time.perf_counter() - started
        assert features is not None
        kept = FeatureTiles(features, ids, *((model.join, source) if encoding == "unet_attention" else ()))
        held = Features(features.folder, np.array(features.values), np.array(features.labels), features.row)
        at_best = FeatureTiles(held, ids, kept.join, kept.images)
        sources = {"kept": kept, "made": source, "best": at_best}
        works = {name: epoch(size, model, on, device) for name, on in sources.items()}
        seconds: dict[str, list[float]] = {name: [] for name in works}
        for number in range(rounds + 1):
            for name, work in works.items():
                started = time.perf_counter()
                work()
                if number:  # the first round warms up
                    seconds[name].append(time.perf_counter() - started)
    ours, theirs, best = (statistics.median(seconds[name]) for name in ("kept", "made", "best"))
    where = f"{torch.get_num_threads()} CPU threads" if device.type == "cpu" else device.type.upper()
    what = f"{encoding.replace('_', ' + ')}, {size.name}, {size.px} px, {tiles} tiles, {where}"
    return [
        Row(f"Epoch of a frozen arm: {what}", ours, "s", PEER, theirs, theirs / ours, BAR),
        Row(
            f"The same, share of what any cache could save: {what}", ours, "s", "features in memory", best, best / ours
        ),
        Row(f"Making the features once: {what}", making, "s", f"an epoch, {PEER}", theirs, theirs / making),
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
    rows = []
    for size in sizes()[: 1 if arguments.small else None]:
        for encoding in size.encodings:
            tiles, rounds = (max(1, round(size.share * n)) for n in (arguments.tiles, arguments.rounds))
            rows += measure(size, encoding, tiles, rounds, torch.device(arguments.device))
    print(write_benchmark(rows, arguments.out))


if __name__ == "__main__":
    sys.exit(main())
