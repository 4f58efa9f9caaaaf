"""The plan: which notebook runs a profile asks for, and what each needs."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sardino.errors import SardinoError
from sardino.study.profile import Architecture, Profile

INITIALISATIONS = ("scratch", "frozen", "unfrozen")
"""The rows of Tables 1 and 2."""
ENCODINGS = ("attention", "tokens")
"""The column groups of Table 1."""

SPEED_GFLOPS = 40.0
"""Training speed of one CPU thread; only ratios of costs matter, the display calibrates itself."""
OVERHEAD_S = 12.0
"""Kernel start, imports and reading the store."""


@dataclass(frozen=True)
class Run:
    """One execution of one notebook; it writes the record of its name.

    Args:
        notebook: stem of the source in notebooks/.
        parameters: injected besides `profile` and `data`.
        needs: names of runs whose records it reads.
        kind: the record's kind.
        cost: rough seconds on one CPU thread.
    """

    name: str
    notebook: str
    kind: str
    parameters: dict[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    cost: float = OVERHEAD_S


def plan(profile: Profile) -> list[Run]:
    """All runs of a profile, each after those it needs.

    One finetune run is one row of Table 1 (all fractions and seeds), one baseline run one row of Table 2.
    """
    runs = [Run("data", "01_data_preparation", "data", cost=OVERHEAD_S + _tiles(profile) * _pixels(profile) / 4e5)]
    runs.append(Run("realism", "08_realism", "realism", cost=3 * OVERHEAD_S))
    runs.append(Run("quickstart", "00_quickstart", "quickstart", needs=("data",)))
    for arm, seeds in pretrainings(profile).items():
        cost = _pretraining_cost(profile, arm)
        for seed in seeds:
            # The first seed goes without saying, so that further ones leave its run as it is.
            parameters = {"arm": arm} if seed == profile.seeds[0] else {"arm": arm, "seed": seed}
            name = f"pretrain-{profile.pretrained(arm, seed)}"
            runs.append(Run(name, "02_pretraining", "pretrain", parameters, ("data",), cost))
    for arm in profile.arms:
        for encoding in ENCODINGS:
            for initialisation in INITIALISATIONS:
                parameters = {"regions": arm, "encoding": encoding, "initialisation": initialisation}
                cost = _supervised_cost(profile, arm, encoding, initialisation)
                name = f"finetune-{arm}-{encoding}-{initialisation}"
                runs.append(
                    Run(name, "03_finetuning", "finetune", parameters, _weights_of(profile, arm, initialisation), cost)
                )
    first = profile.arms[0]
    for encoding, rows in (("unet", INITIALISATIONS[:1]), ("unet_attention", INITIALISATIONS)):
        for initialisation in rows:
            parameters = {"regions": first, "encoding": encoding, "initialisation": initialisation}
            cost = _supervised_cost(profile, first, encoding, initialisation)
            name = f"baseline-{encoding}-{initialisation}"
            runs.append(
                Run(name, "03_finetuning", "baseline", parameters, _weights_of(profile, first, initialisation), cost)
            )
    pretrained = tuple(f"pretrain-{arm}" for arm in profile.pretraining)
    trained = tuple(run.name for run in runs if run.kind == "pretrain")
    cells = tuple(run.name for run in runs if run.kind in ("finetune", "baseline"))
    unets = tuple(run.name for run in runs if run.kind == "baseline")
    runs.append(Run("floors", "04_baselines", "floors", needs=("data", *unets), cost=_floors_cost(profile)))
    models = (f"finetune-{first}-attention-unfrozen", "baseline-unet_attention-unfrozen")
    runs.append(Run("attention", "05_attention", "attention", needs=(*pretrained, *models), cost=3 * OVERHEAD_S))
    runs.append(Run("tables", "06_tables", "tables", needs=("data", *trained, *cells)))
    runs.append(Run("claims", "07_claims", "claims", needs=("tables", "attention")))
    runs.append(Run("report", "09_report", "report", needs=("claims", "realism", "floors")))
    return runs


def select(runs: list[Run], names: Iterable[str]) -> list[Run]:
    """The named runs and all that they need, in the plan's order."""
    by_name = {run.name: run for run in runs}
    wanted: set[str] = set()
    queue = list(names)
    while queue:
        name = queue.pop()
        if name not in by_name:
            raise SardinoError(f"no run is named '{name}'; the plan has {', '.join(by_name)}")
        if name not in wanted:
            wanted.add(name)
            queue += by_name[name].needs
    return [run for run in runs if run.name in wanted]


def settings(profile: Profile, run: Run) -> dict[str, Any]:
    """The part of the profile a run's result depends on: another part may change without a rerun."""
    # Neither prose nor what is cached where changes a result.
    silent = ("title", "hardware", "expected_minutes", "threads")
    caches = {"data": {"cache", "loader_workers"}, "finetuning": {"feature_cache_gb"}}
    content = profile.model_dump(exclude={**dict.fromkeys(silent, True), **caches})
    if run.kind == "data":
        # The stores that are built follow from the arms' regions, not from how they train.
        stores = {arm: [p.store, p.regions] for arm, p in profile.pretraining.items()}
        return {**{key: content[key] for key in ("name", "data", "examples")}, "stores": stores}
    if run.kind == "realism":
        return {"name": content["name"], "seed": profile.data.seed}
    if run.kind == "pretrain":
        arm = run.parameters["arm"]
        shape = profile.architecture(arm).model_dump()
        own = {"architecture": shape, "pretraining": content["pretraining"][arm]}
        seed = run.parameters.get("seed", profile.seeds[0])
        return {**{key: content[key] for key in ("name", "data", "examples")}, "seeds": [seed], **own}
    return content


def pretrainings(profile: Profile) -> dict[str, list[int]]:
    """The seeds each arm is pre-trained with: all where cells are fine-tuned from it, else the first."""
    return {arm: profile.seeds if arm in profile.arms else profile.seeds[:1] for arm in profile.pretraining}


def _weights_of(profile: Profile, arm: str, initialisation: str) -> tuple[str, ...]:
    """A cell of a seed starts from the pre-training with that seed, and one run holds the cells of all seeds."""
    if initialisation == "scratch":
        return ("data",)
    return ("data", *(f"pretrain-{profile.pretrained(arm, seed)}" for seed in profile.seeds))


def _tiles(profile: Profile) -> int:
    return sum(columns * rows for columns, rows in profile.data.regions.values()) or 1000


def _pixels(profile: Profile) -> int:
    return profile.data.tile_px**2


def _vit_gflop(shape: Architecture, pixels: float) -> float:
    """One forward pass over one image: two operations per weight and token."""
    return 2 * 12 * shape.width**2 * shape.depth * pixels / shape.patch**2 / 1e9


def _unet_gflop(width: int, depth: int, pixels: float) -> float:
    """One forward pass: each level costs as much as the next, because widths double as sides halve."""
    return 2 * width**2 * pixels * (9 + 13.5 * depth + 36 * depth) / 1e9


def _pretraining_cost(profile: Profile, arm: str) -> float:
    """Student forward and backward on all crops, teacher forward on two: about eleven passes over a tile."""
    pretraining = profile.arm(arm)
    views = 11 * _vit_gflop(profile.architecture(arm), _pixels(profile))
    return OVERHEAD_S + pretraining.steps * pretraining.batch * views / SPEED_GFLOPS


def _floors_cost(profile: Profile) -> float:
    """A forest and a logistic regression learn from a few pixels and see all of the test tiles, once a feature set."""
    each = 1.5 + 1.5e-5 * 0.2 * _tiles(profile) * _pixels(profile)
    return OVERHEAD_S + len(profile.seeds) * len(profile.fractions) * each


def _supervised_cost(profile: Profile, arm: str, encoding: str, initialisation: str) -> float:
    tuning = profile.finetuning
    head = 3 * _unet_gflop(tuning.unet_width, tuning.unet_depth, _pixels(profile))
    vit = _vit_gflop(profile.architecture(arm), _pixels(profile))
    # A frozen backbone sees each tile once, not once a step.
    backbone = 0.0 if initialisation == "frozen" else 3 * vit
    if encoding == "tokens":
        head = 0.3 * head
    if encoding == "unet":
        backbone = 0.0
    training = 0.6 * _tiles(profile)

    def steps(fraction: float) -> int:
        return tuning.steps_for(max(1, round(training * fraction / 100)))

    trained = len(profile.seeds) * sum(map(steps, profile.fractions))
    trained += len(tuning.lr_grid) * steps(profile.rate_fraction)
    once = 0.0
    if initialisation == "frozen":
        labelled = training * max(profile.fractions) / 100 + 0.2 * _tiles(profile) + tuning.validation_tiles
        once = len(profile.seeds) * labelled * vit
    return OVERHEAD_S + (trained * tuning.batch * (head + backbone) + once) / SPEED_GFLOPS
