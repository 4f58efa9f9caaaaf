"""The grid as a table: every run of a profile, with the operations, memory, disk and hours it is predicted to take.

Operations are counted on the real networks at the profile's sizes (sardino.workflow.counting) times steps, seeds
and label fractions; nothing is built or read, so the paper's sizes are forecast in seconds.
"""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, fields
from math import ceil
from typing import Any

from sardino.models.vit import Architecture
from sardino.tiles.landcover import WORLDCOVER
from sardino.tiles.radiometry import CHANNELS
from sardino.training.recipe import find_recipe
from sardino.workflow.counting import Count, pretraining_tile, supervised_tile
from sardino.workflow.devices import Device
from sardino.workflow.plan import OVERHEAD_S, Run, plan
from sardino.workflow.profile import Profile

TRAIN, TEST = 0.6, 0.2
"""Shares of a region's tiles (paper, Figure 3)."""
STORED_BYTES = {"world": 2 * len(CHANNELS) + 1 + 12, "folder": 2 * len(CHANNELS) + 1, "store": 0}
"""Of a pixel: backscatter, label, and the reference layers of the synthetic world; a store of one's own is linked."""
PROCESS_GB = 1.0
"""A kernel with its libraries."""
EVALUATED = 16
"""Tiles of a batch without gradient."""
SNAPSHOTS = 3
"""The newest two and the best."""
OUTPUT_GB = 0.002
"""A notebook, a record and its figures."""


@dataclass(frozen=True)
class Forecast:
    """One row of the grid.

    Args:
        arm, encoding, initialisation: of a training; "" elsewhere.
        fractions, seeds: that the run covers, as in "0.1 1 10".
        needs: names of the runs whose records it reads.
        tflop: floating-point operations, 10^12.
        memory_gb: weights, gradients, optimiser state, what the backward pass keeps (float32; bfloat16 takes
            about half) and the process itself.
        disk_gb: what it writes and leaves, snapshots at their most.
        hours: on the device, alone.
    """

    name: str
    notebook: str
    arm: str
    encoding: str
    initialisation: str
    fractions: str
    seeds: str
    needs: str
    tflop: float
    memory_gb: float
    disk_gb: float
    hours: float


def forecast(profile: Profile, device: Device) -> list[Forecast]:
    """All runs of a profile in the plan's order."""
    return [_row(profile, run, device) for run in plan(profile)]


def run_work(profile: Profile, run: Run) -> Count:
    """Operations of one run; none where it trains nothing."""
    arm = str(run.parameters.get("arm") or run.parameters.get("regions") or profile.arms[0])
    if run.kind == "pretrain":
        return _pretraining(profile, arm)[0]
    return _cells(profile, run, arm)[0] if run.kind in ("finetune", "baseline") else Count()


def as_csv(rows: Iterable[Any], kind: type) -> str:
    """Rows of a dataclass as CSV."""
    names = [field.name for field in fields(kind)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        values = [getattr(row, name) for name in names]
        writer.writerow([f"{value:.4g}" if isinstance(value, float) else value for value in values])
    return text.getvalue()


def _row(profile: Profile, run: Run, device: Device) -> Forecast:
    given = run.parameters
    arm = str(given.get("arm") or given.get("regions") or "")
    work, memory, disk = Count(), PROCESS_GB, OUTPUT_GB
    seconds, fractions, seeds = run.cost, "", ""
    if run.kind == "pretrain":
        work, memory, disk = _pretraining(profile, arm)
        seeds = str(given.get("seed", profile.seeds[0]))
    elif run.kind in ("finetune", "baseline"):
        arm = arm or profile.arms[0]
        work, memory, kept = _cells(profile, run, arm)
        fractions = " ".join(f"{fraction:g}" for fraction in profile.fractions)
        seeds = " ".join(map(str, profile.seeds))
        disk += kept + len(profile.seeds) * len(profile.fractions) * _confusions_gb(profile)
    elif run.kind == "data":
        disk += _store_gb(profile)
    if work.matrix or work.convolution:
        seconds = OVERHEAD_S + device.seconds(work.matrix, work.convolution)
    return Forecast(
        run.name,
        run.notebook,
        arm,
        str(given.get("encoding", "")),
        str(given.get("initialisation", "")),
        fractions,
        seeds,
        " ".join(run.needs),
        (work.matrix + work.convolution) / 1e12,
        memory,
        disk,
        seconds / 3600,
    )


def _pretraining(profile: Profile, arm: str) -> tuple[Count, float, float]:
    """Work, memory and disk of one pre-training."""
    asked = profile.arm(arm)
    images = round(TRAIN * sum(_tiles(profile, region) for region in asked.regions))
    recipe = find_recipe(asked.recipe).fitted(images, asked.steps).changed(**asked.overrides)
    tile = pretraining_tile(_shape(profile, arm), recipe)
    # Student, teacher, gradient and AdamW's two moments.
    weights = 4 * tile.parameters / 1e9
    memory = PROCESS_GB + 5 * weights + asked.batch / asked.accumulate * tile.kept / 1e9
    # Two networks are kept; a snapshot holds both and the moments.
    return tile.times(asked.steps * asked.batch), memory, OUTPUT_GB + (2 + 4 * SNAPSHOTS) * weights


def _cells(profile: Profile, run: Run, arm: str) -> tuple[Count, float, float]:
    """Work, memory and disk of one row of Table 1 or 2: all its fractions and seeds, and the search of its rate."""
    tuning, first = profile.finetuning, profile.arm(profile.arms[0]).regions[0]
    frozen = run.parameters["initialisation"] == "frozen"
    tile = supervised_tile(
        run.parameters["encoding"],
        frozen,
        _shape(profile, arm),
        len(WORLDCOVER),
        tuning.unet_width,
        tuning.unet_depth,
        tuning.decoder_width,
    )
    labelled = TRAIN * _tiles(profile, first) / 100
    judged, tested = tuning.validation_tiles, round(TEST * _tiles(profile, first))
    seen = max(1, round(labelled * max(profile.fractions))) + judged + tested
    disk = seen * tile.features.features / 1e9
    cached = frozen and 0 < disk <= tuning.feature_cache_gb
    read = tile.forward
    if cached:
        encoded = tile.features
        read = Count(read.matrix - encoded.matrix, read.convolution - encoded.convolution, read.kept)

    def trained(fraction: float) -> Count:
        """One training with its looks at the validation tiles."""
        steps = tuning.steps_for(max(1, round(labelled * fraction)))
        looks = max(1, round(steps / tuning.validate_every)) * judged
        return (tile.decode if cached else tile.step).times(steps * tuning.batch).plus(read.times(looks))

    seed = tile.features.times(seen) if cached else Count()
    for fraction in profile.fractions:
        seed = seed.plus(trained(fraction)).plus(read.times(tested))
    work = seed.times(len(profile.seeds)).plus(trained(profile.rate_fraction).times(len(tuning.lr_grid)))
    weights = 4 * (tile.step.parameters + 3 * tile.step.trained) / 1e9
    memory = PROCESS_GB + weights + max(tuning.batch, EVALUATED / 2) * tile.step.kept / 1e9
    # Runs share a cache; each is told the whole, because any may be the one that makes it. One segmenter is kept.
    return work, memory, 4 * tile.step.parameters / 1e9 + (len(profile.seeds) * disk if cached else 0.0)


def _shape(profile: Profile, arm: str) -> Architecture:
    """The arm's ViT; real chips with fewer channels take a little less."""
    return Architecture(**profile.architecture(arm).model_dump(), channels=len(CHANNELS), tile_px=profile.data.tile_px)


def _tiles(profile: Profile, region: str) -> int:
    """Of a region; of real input only the number per chip is known, so the plan's stand-in serves."""
    columns, rows = profile.data.regions.get(region, (40, 25))
    return columns * rows


def _store_gb(profile: Profile) -> float:
    tiles = sum(_tiles(profile, region) for region in profile.data.regions or profile.data.folders)
    return STORED_BYTES[profile.data.source] * tiles * profile.data.tile_px**2 / 1e9


def _confusions_gb(profile: Profile) -> float:
    """One matrix per test tile and the example maps, compressed to about a tenth."""
    tested = ceil(TEST * _tiles(profile, profile.arm(profile.arms[0]).regions[0]))
    return 0.1 * (4 * tested * len(WORLDCOVER) ** 2 + profile.examples * profile.data.tile_px**2) / 1e9
