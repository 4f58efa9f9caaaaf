"""Whether pre-training learns: a frozen backbone's tokens against its own random start, and against the raw channels.

    python benchmarks/learning.py            # the laptop profile's Europe arm: three seeds, and the paper's recipe once

The arm is pre-trained with the profile's recipe for each seed, and with the paper's recipe (Table 3) for the first one,
on the same tiles for as many steps. At intervals, teacher and student are probed on test tiles with 10 % of the
training labels, patch by patch (sardino.dino.probe). The peer is the very ViT that the run started from; means
of the raw channels are shown beside. Nothing is chosen by these figures: recipes are chosen on validation tiles.

Snapshots pass through a temporary folder; those of the paper's recipe, with its 65536 prototypes, take some gigabytes.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from row import Row, write_benchmark
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from sardino.data.tiles.normalisation import Normalisation
from sardino.data.tiles.store import TileStore
from sardino.dino.batches import open_tiles
from sardino.dino.parallel import Parallel, weights_of
from sardino.dino.pretrain import pretrain
from sardino.dino.probe import PERCENT, ProbeTiles
from sardino.dino.recipe import Recipe, Run, find_recipe
from sardino.dino.snapshot import open_snapshot
from sardino.dino.step import Learner
from sardino.dino.vit import Architecture, build_vit
from sardino.files import write_csv
from sardino.reporting.figures.style import MUTED, PALETTE, WIDTH, new_figure, save_figure, styled
from sardino.reporting.record import provenance
from sardino.study.arm import architecture_of, recipe_of
from sardino.study.preparation import open_or_prepare
from sardino.study.workspace import Workspace

ARM = "europe"
LEAST = 4.0
"""mIoU points above random initialisation, in every seed."""
JUDGES = {"linear": "Linear probe", "knn": "Nearest neighbours"}
RAW = "raw channels"
COLUMNS = ["recipe", "seed", "network", "step", *JUDGES]


@dataclass(frozen=True)
class Setting:
    """All that the runs share.

    Args:
        store, regions, normalisation: the tiles.
        architecture: the arm's ViT.
        steps, batch: of each run.
        every: steps between probes.
        network: the one that the profile uses downstream, "student" or "teacher".
    """

    store: TileStore
    regions: list[str]
    normalisation: Normalisation
    architecture: Architecture
    steps: int
    batch: int
    every: int
    network: str


def train(setting: Setting, seed: int, recipe: Recipe, folder: Path) -> Iterator[tuple[int, str, VisionTransformer]]:
    """Pre-train, and yield (step, "student" or "teacher", backbone) at intervals, step 0 being the random start.

    All that this benchmark knows of pre-training is here: the start is the learner's own, the rest are its snapshots.
    """
    ids = setting.store.ids("train", setting.regions)
    parallel = Parallel(torch.device("cpu"))
    start = weights_of(Learner(setting.architecture, recipe, parallel, seed=seed).student.backbone)
    yield from ((0, name, _vit(setting.architecture, start)) for name in ("student", "teacher"))
    kept = -(-setting.steps // setting.every)
    pretrain(
        open_tiles(setting.store, ids, None),
        ids,
        setting.normalisation,
        setting.architecture,
        recipe,
        Run(steps=setting.steps, batch=setting.batch, seed=seed, save_every=setting.every, keep=kept),
        parallel,
        folder=folder,
        label=f"{recipe.name}, seed {seed}",
    )
    for path in sorted((folder / "snapshots").glob("step-*")):
        found = open_snapshot(path)
        for name in ("student", "teacher"):
            whole = load_file(path / f"{name}.safetensors")
            own = {key.removeprefix("backbone."): w for key, w in whole.items() if key.startswith("backbone.")}
            yield found.step, name, _vit(setting.architecture, own)


def _vit(architecture: Architecture, weights: dict[str, Tensor]) -> VisionTransformer:
    vit = build_vit(architecture)
    vit.load_state_dict(weights, strict=True)
    return vit


def curves(setting: Setting, plan: Sequence[tuple[int, Recipe]]) -> pd.DataFrame:
    """One row a probe, mIoU in points; raw channels as a recipe of their own.

    Args:
        setting: shared by all runs.
        plan: seed and recipe of each.
    """
    probe = ProbeTiles(setting.store, setting.regions, setting.normalisation, split="test", most=10**9)
    rows = [{"recipe": RAW, "seed": 0, "network": RAW, "step": 0, **_points(probe.raw(setting.architecture.patch))}]
    for seed, recipe in plan:
        with TemporaryDirectory() as folder:
            for step, network, vit in train(setting, seed, recipe, Path(folder)):
                scores = _points(probe(vit))
                rows.append({"recipe": recipe.name, "seed": seed, "network": network, "step": step, **scores})
    return pd.DataFrame(rows, columns=COLUMNS)


def _points(scores: dict[str, float]) -> dict[str, float]:
    return {name: 100 * scores[name] for name in JUDGES}


def rows_of(frame: pd.DataFrame, main: str, network: str) -> list[Row]:
    """The benchmark's rows: gains over random initialisation seed by seed, and what they are gains of.

    Args:
        frame: as `curves` makes it.
        main: the recipe that must reach the bar; any other is told beside it.
        network: the one that counts.
    """
    raw = frame[frame["recipe"] == RAW].iloc[0]
    other = "teacher" if network == "student" else "student"
    rows = []
    for recipe in [main, *sorted(set(frame["recipe"]) - {main, RAW})]:
        runs = frame[frame["recipe"] == recipe]
        start, end, end_of_other = _scores(runs, network, 0), _scores(runs, network, -1), _scores(runs, other, -1)
        for seed, gain in (end["linear"] - start["linear"]).items() if recipe == main else ():
            name = f"{JUDGES['linear']}, {recipe} recipe, seed {seed}: gain over random init"
            rows.append(Row(name, float(gain), "mIoU points", bar=LEAST, kind="least"))
        for judge, title in JUDGES.items():
            name = f"{title}, {recipe} recipe, seed{'s' if len(end) > 1 else ''} {', '.join(map(str, end.index))}"
            rows.append(_against(f"{name}: {network}", end[judge], "random init", start[judge].mean()))
            rows.append(_against(f"{name}: {network}", end[judge], RAW, raw[judge]))
            if recipe == main:
                rows.append(_against(f"{name}: {other}", end_of_other[judge], "random init", start[judge].mean()))
    return rows


def _scores(runs: pd.DataFrame, network: str, place: int) -> pd.DataFrame:
    """By seed: what each judge found at one place of the run, 0 the first and -1 the last."""
    chosen = runs[runs["network"] == network].sort_values("step")
    return chosen.groupby("seed").nth(place).set_index("seed").sort_index()[[*JUDGES]]


def _against(name: str, values: pd.Series, peer: str, theirs: float) -> Row:
    mean = float(values.mean())
    return Row(name, mean, "mIoU points", peer, float(theirs), mean / max(float(theirs), 1e-9))


@styled
def draw(frame: pd.DataFrame, synthetic: bool) -> Figure:
    """Probes over steps: each seed thin and their mean thick, random init and raw channels as lines across.

    Args:
        frame: as `curves` makes it.
        synthetic: whether the tiles are of the synthetic world.
    """
    figure = new_figure(WIDTH, 3.3)
    where = provenance(synthetic=synthetic)
    figure.suptitle(f"Frozen tokens over pre-training, {PERCENT} % of the labels, test tiles ({where})")
    raw = frame[frame["recipe"] == RAW].iloc[0]
    runs = frame[frame["recipe"] != RAW]
    panels = figure.subplots(1, len(JUDGES))
    for axes, (judge, title) in zip(panels, JUDGES.items(), strict=True):
        axes.axhline(raw[judge], color=MUTED, linestyle=(0, (1, 1.5)), label="means of the raw channels")
        start = runs[runs["step"] == 0].drop_duplicates("seed")[judge].mean()  # a seed starts alike with every recipe
        axes.axhline(start, color=MUTED, linestyle="--", linewidth=0.9, label="random init")
        for color, (recipe, chosen) in zip(PALETTE, runs.groupby("recipe", sort=False), strict=False):
            for network, line in (("student", "-"), ("teacher", "--")):
                table = chosen[chosen["network"] == network].pivot(index="step", columns="seed", values=judge)
                count = len(table.columns)
                if count > 1:
                    axes.plot(table.index, table, color=color, linestyle=line, linewidth=0.5, alpha=0.6)
                label = f"{recipe} recipe, {network}, {f'mean of {count} seeds' if count > 1 else 'one seed'}"
                axes.plot(table.index, table.mean(axis=1), color=color, linestyle=line, label=label)
        axes.set(title=title, xlabel="Step", ylabel="mIoU of patches (points)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(True)
        axes.set_axisbelow(True)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="laptop", help="whose Europe arm is pre-trained")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=None, help="by default the profile's")
    parser.add_argument("--every", type=int, default=None, help="steps between probes; by default a sixth of them")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads; by default torch's choice")
    parser.add_argument("--build", type=Path, default=None, help="folder with the profile's store, or to make it in")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/learning.json"), help="where rows go")
    parser.add_argument("--figures", type=Path, default=Path("figures/benchmarks"), help="where the figure goes")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    space = Workspace.open(options.profile)
    if options.build:
        space = replace(space, build=options.build)
    plan = space.profile.pretraining[ARM]
    store = open_or_prepare(space)[plan.store]
    steps = options.steps or plan.steps
    setting = Setting(
        store,
        plan.regions,
        Normalisation.of_store(store, store.ids("train", plan.regions)),
        architecture_of(space, ARM, store),
        steps,
        plan.batch,
        options.every or max(1, steps // 6),
        plan.network,
    )
    usual, paper = recipe_of(space, ARM, store), find_recipe("paper")
    frame = curves(setting, [*((seed, usual) for seed in range(options.seeds)), (0, paper)])
    write_csv(frame, options.out.with_suffix(".csv"))
    save_figure(draw(frame, store.synthetic), options.figures, options.out.stem)
    print(write_benchmark(rows_of(frame, usual.name, plan.network), options.out))


if __name__ == "__main__":
    main()
