"""The plan: which notebook runs a profile asks for, and what each needs."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sardino.errors import SardinoError
from sardino.reporting.record import read_records
from sardino.reporting.rows import (
    ENCODINGS,
    INITIALISATIONS,
    UNETS,
    baseline_rows,
    pretraining_run,
    row_kind,
    row_run,
)
from sardino.study.profile import Profile
from sardino.study.workspace import Workspace


@dataclass(frozen=True)
class Run:
    """One execution of one notebook; it writes the record of its name.

    Args:
        notebook: stem of the source in notebooks/.
        kind: the record's kind.
        parameters: injected besides `profile` and `data`.
        needs: names of runs whose records it reads.
    """

    name: str
    notebook: str
    kind: str
    parameters: dict[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()


def plan(profile: Profile) -> list[Run]:
    """All runs of a profile, each after those it needs.

    One finetune run is one row of Table 1 (all fractions and seeds), one baseline run one row of Table 2.
    """
    runs = [
        Run("data", "01_data_preparation", "data"),
        Run("realism", "08_realism", "realism"),
        Run("quickstart", "00_quickstart", "quickstart", needs=("data",)),
    ]
    for arm, seeds in pretrainings(profile).items():
        for seed in seeds:
            # The first seed goes without saying, so that further ones leave its run as it is.
            parameters = {"arm": arm} if seed == profile.seeds[0] else {"arm": arm, "seed": seed}
            name = pretraining_run(profile.pretrained(arm, seed))
            runs.append(Run(name, "02_pretraining", "pretrain", parameters, ("data",)))
    first = profile.arms[0]
    rows = [(arm, encoding, start) for arm in profile.arms for encoding in ENCODINGS for start in INITIALISATIONS]
    rows += [(first, encoding, start) for encoding in UNETS for start in baseline_rows(encoding)]
    for arm, encoding, start in rows:
        row = {"regions": arm, "encoding": encoding, "initialisation": start}
        name, needs = row_run(encoding, start, arm), _weights_of(profile, arm, start)
        runs.append(Run(name, "03_finetuning", row_kind(encoding), row, needs))
    pretrained = tuple(map(pretraining_run, profile.pretraining))
    trained = tuple(run.name for run in runs if run.kind == "pretrain")
    cells = tuple(run.name for run in runs if run.kind in ("finetune", "baseline"))
    unets = tuple(run.name for run in runs if run.kind == "baseline")
    models = tuple(row_run(encoding, "unfrozen", first) for encoding in ("attention", "unet_attention"))
    return [
        *runs,
        Run("floors", "04_baselines", "floors", needs=("data", *unets)),
        Run("attention", "05_attention", "attention", needs=(*pretrained, *models)),
        Run("tables", "06_tables", "tables", needs=("data", *trained, *cells)),
        Run("claims", "07_claims", "claims", needs=("tables", "attention")),
        Run("report", "09_report", "report", needs=("claims", "realism", "floors")),
    ]


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


def planned_records(space: Workspace, *kinds: str) -> list[dict[str, Any]]:
    """Records of the plan's runs of these kinds, in the plan's order; those of runs that it no longer has are left."""
    planned = [run.name for run in plan(space.profile) if run.kind in kinds]
    records = [record for record in read_records(space.runs) if record["name"] in planned]
    return sorted(records, key=lambda record: planned.index(record["name"]))


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
        shape = profile.architecture(arm).to_dict()
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
    return ("data", *(pretraining_run(profile.pretrained(arm, seed)) for seed in profile.seeds))
