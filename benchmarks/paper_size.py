"""The paper's sizes within minutes: the speed of pre-training, of each row of its tables, and of maps.

    python benchmarks/paper_size.py --minutes 9              # the best device there is
    python benchmarks/paper_size.py --device cpu --batch 2   # two cores; most rows of the tables are left out

The profile `paper-size` says what is run: tiles of 448 px with 12 channels of the synthetic world, ViT-Tiny/16 and
ViT-Base/16, the paper's recipe; what is not the paper's is the number of tiles and of steps. It calls what the
notebooks call, in this process and a temporary folder. Rows are written after each stage. A stage is left out and
named, in the rows too, where it is not expected to end within the minutes: by the forecast's operations, and by what
earlier stages of its kind took of theirs.

The limit of a step is the machine's matrix rate in its precision, the best of a few square products after it. A map's
network runs in a worker thread that has entered autocast; the same windows in the main thread, in the same precision
and in float32, tell whether the thread computes as it is told.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from pretraining import matrix_rate, seconds
from row import Row, write_benchmark

from sardino.data.sources.world.synthetic import World, write_scene
from sardino.data.tiles.store import TileStore
from sardino.data.tiles.value_ranges import ValueRanges
from sardino.dino.runtime import best_device, cores, precision_on
from sardino.errors import SardinoError, first_line
from sardino.mapping.blend import batches, predict, window_rows
from sardino.mapping.job import Job
from sardino.mapping.scene_map import batch_of, layout_of, make_map, opened
from sardino.study.arm import architecture_of, pretrain_arm, recipe_of
from sardino.study.forecast import find_device, forecast, pretraining_tile
from sardino.study.plan import Run, plan
from sardino.study.preparation import prepare
from sardino.study.row import Experiment, train_cell
from sardino.study.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]
SCENE_TILES = 3
"""Side of the scene that is mapped, in tiles."""
PRODUCT_PX = {"cuda": 8192, "cpu": 2048}
"""Side of the square product whose rate is the limit."""
ROUNDS = 3


def with_batch(space: Workspace, arm: str, batch: int) -> Workspace:
    """The same workspace, where an arm's pre-training takes another number of tiles a step."""
    profile = space.profile
    changed = {**profile.pretraining, arm: profile.arm(arm).model_copy(update={"batch": batch})}
    return replace(space, profile=profile.model_copy(update={"pretraining": changed}))


@dataclass(frozen=True)
class Stages:
    """The stages of one run; each yields its figures.

    Args:
        space: a profile of the synthetic world, and an empty build folder.
        device: of training and maps.
    """

    space: Workspace
    device: torch.device

    def data(self) -> Iterator[Row]:
        """Tile stores on all cores, and the scene."""
        workers, started = min(cores(), 16), time.perf_counter()
        tiles = sum(len(store.index) for store in prepare(self.space, workers).values())
        name = f"Synthetic world to store, {self.space.profile.data.tile_px} px, {workers} processes"
        yield Row(name, tiles / (time.perf_counter() - started), "tiles/s")
        side = SCENE_TILES * self.space.profile.data.tile_px
        write_scene(World(seed=1), "europe", self.scene, (side, side))

    def pretraining(self, run: Run) -> Iterator[Row]:
        """Steps after the first, and maps of the network's attention; a batch that does not fit a GPU is halved."""
        arm, space = run.parameters["arm"], self.space
        while True:
            batch = space.profile.arm(arm).batch
            try:
                results = pretrain_arm(space, arm, self.device)
                break
            except torch.OutOfMemoryError:
                if batch < 4:
                    raise
            space = with_batch(space, arm, batch // 2)  # outside the handler, which keeps the failed step's memory
        speeds, memory = results["curves"]["images_per_s"], results["curves"]["memory_gib"]
        name = f"{run.name}: {results['steps']} steps, batch {batch}, {results['precision']}"
        speed = statistics.median(speeds[1:] or speeds)
        yield Row(name, speed, "tiles/s")
        yield Row(f"{name}, a step", batch / speed, "s/step")
        store = TileStore.open(space.build / space.profile.arm(arm).store)
        work = pretraining_tile(architecture_of(space, arm, store), recipe_of(space, arm, store))
        kind, px = getattr(torch, results["precision"]), PRODUCT_PX.get(self.device.type, 2048)
        rate, peak = speed * work.operations, max(matrix_rate(self.device, px, kind) for _ in range(ROUNDS + 1))
        yield Row(f"{name}, rate", rate / 1e12, "TFLOP/s", "best square product", peak / 1e12, rate / peak)
        yield Row(f"{name}, most memory", max(memory), "GiB")
        yield from self.map(run, "attention", space.pretrain(arm))

    def cell(self, run: Run) -> Iterator[Row]:
        """One training at the most labels with its test, and a map of land cover, once for each kind of network."""
        profile, given = self.space.profile, run.parameters
        experiment = Experiment.open(
            self.space, given["regions"], given["encoding"], given["initialisation"], self.device
        )
        cell = train_cell(experiment, max(profile.fractions), 0, profile.seeds[0], experiment.tuning.lr)
        name = f"{run.name}: {cell.row['steps']} steps, batch {profile.finetuning.batch}, and the test"
        yield Row(name, cell.row["wall_s"], "s")
        if given["initialisation"] == "unfrozen" or given["encoding"] == "unet":
            yield from self.map(run, "landcover", self.space.segmenter(run.name))

    def map(self, run: Run, kind: str, model: Path) -> Iterator[Row]:
        """Speed of one map from the model's file to the map's, and of its network in the worker thread and outside."""
        started, out = time.perf_counter(), self.space.build / f"{run.name}.tif"
        asked = {"scene": self.scene, "out": out, "kind": kind, "model": model, "device": self.device.type}
        job = Job.model_validate(asked)
        make_map(job)
        megapixels = (SCENE_TILES * self.space.profile.data.tile_px) ** 2 / 1e6
        name = f"{run.name}: map of {kind}, {megapixels:.3g} megapixels"
        yield Row(name, megapixels / (time.perf_counter() - started), "Mpx/s")
        source, product = opened(job)
        layout, half = layout_of(job, source, product), precision_on(self.device) == "bfloat16"
        rows = window_rows(source, layout, product.model.normalisation, (0, 0), 1, ValueRanges())
        given = list(batches(rows, layout, batch_of(job, layout, self.device)))
        cell, side = layout.cell, layout.columns.window * layout.cell

        def in_the_thread() -> None:
            for _ in predict(iter(given), product, layout, self.device, cores(), half):
                pass

        @torch.inference_mode()
        def outside(half: bool) -> None:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
                for each in given:
                    images = torch.from_numpy(each.row.images)
                    windows = torch.stack([images[:, :, p * cell : p * cell + side] for p in each.places])
                    product.predict(windows.to(self.device))

        def speed(work: Callable[[], object]) -> float:
            return layout.windows / min(seconds(work, self.device) for _ in range(ROUNDS))

        ours, name = speed(in_the_thread), f"{run.name}: network of the map in a worker thread"
        for precision in ["bfloat16", "float32"] if half else ["float32"]:
            theirs = speed(partial(outside, precision == "bfloat16"))
            yield Row(name, ours, "windows/s", f"in the main thread, {precision}", theirs, ours / theirs)

    @property
    def scene(self) -> Path:
        return self.space.build / "scene.tif"


def measure(space: Workspace, device: torch.device, ends: float, out: Path) -> str:
    """Stage after stage until time.monotonic() is `ends`; the table of what was measured, and what was not and why."""
    stages, runs = Stages(space, device), plan(space.profile)
    rows, left_out, done = list(stages.data()), [], {"data"}
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    device_like = find_device("h100" if device.type == "cuda" else "cpu-1")
    hours = {row.name: row.hours for row in forecast(space.profile, device_like)}
    slowest = dict.fromkeys(("pretrain", "finetune"), 0.0)  # seconds that a forecast hour took, at most
    ordered = [(run, "pretrain", stages.pretraining) for run in runs if run.kind == "pretrain"]
    ordered += [(run, "finetune", stages.cell) for run in runs if run.kind in ("finetune", "baseline")]
    for run, kind, stage in ordered:
        began = time.monotonic()
        if began + slowest[kind] * hours[run.name] > ends:
            left_out.append(f"{run.name} (the time left is too short)")
        elif not done.issuperset(run.needs):
            left_out.append(f"{run.name} (what it starts from is missing)")
        else:
            print(run.name, flush=True)
            try:
                rows += [replace(row, name=f"{row.name}, {where}") for row in stage(run)]
                done.add(run.name)
            except (SardinoError, torch.OutOfMemoryError) as error:
                left_out.append(f"{run.name} ({first_line(error)})")
            slowest[kind] = max(slowest[kind], (time.monotonic() - began) / hours[run.name])
        missing = [Row(f"left out: {', '.join(left_out)}", len(left_out), "stages")] if left_out else []
        table = write_benchmark([*rows, *missing], out)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=9.0, help="within which each stage is expected to end")
    parser.add_argument("--device", choices=("cuda", "mps", "cpu"), help="the best there is by default")
    parser.add_argument("--batch", type=int, help="tiles of a pre-training step; by default the profile's")
    parser.add_argument("--profile", default="paper-size", help="another one of the synthetic world, or a .toml file")
    parser.add_argument("--out", type=Path, default=ROOT / "results/benchmarks/paper_size.json", help="where rows go")
    asked = parser.parse_args()
    ends = time.monotonic() + 60 * asked.minutes
    device = torch.device(asked.device) if asked.device else best_device()
    with tempfile.TemporaryDirectory(prefix="sardino-paper-size-") as build:
        space = replace(Workspace.open(asked.profile, root=ROOT), build=Path(build))
        for arm in space.profile.pretraining if asked.batch else ():
            space = with_batch(space, arm, asked.batch)
        print(measure(space, device, ends, asked.out))


if __name__ == "__main__":
    sys.exit(main())
