"""The plan: which notebook runs a profile asks for, what each needs, and whether one is stale.

All that a run's result depends on is compared by content, so that only what must runs again.
"""

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

import sardino
from sardino.errors import SardinoError
from sardino.reporting.record import TRAININGS, read_record, read_records, substance
from sardino.reporting.rows import (
    INITIALISATIONS,
    SELF_TRAINED,
    UNETS,
    WIDE,
    baseline_rows,
    pretraining_run,
    row_kind,
    row_run,
)
from sardino.study.profile import Profile
from sardino.study.workspace import Workspace

CARD = "card.json"  # sardino.weights.card.Card.FILE, without torch, for which no sweep should wait
DATA = (".csv", ".toml")  # files that a module may read from its own folder or a folder in it


@dataclass(frozen=True)
class Run:
    """One execution of one notebook; it writes the record of its name."""

    name: str
    notebook: str  # stem of the source in notebooks/
    kind: str  # the record's
    parameters: dict[str, Any] = field(default_factory=dict)  # besides `profile` and `data`
    needs: tuple[str, ...] = ()  # runs whose records it reads


def plan(profile: Profile) -> list[Run]:
    """All runs of a profile, each after those it needs.

    One finetune run is one row of Table 1 (all fractions and seeds), one baseline run one row of Table 2.
    """
    runs = [
        Run("data", "01_data_preparation", "data"),
        Run("realism", "08_realism", "realism"),
        Run("quickstart", "00_quickstart", "quickstart", needs=("data",)),
    ]
    trained_here = [arm for arm, each in profile.pretraining.items() if not each.adopted]
    for arm in trained_here:
        # With all seeds where cells are fine-tuned from it. The first goes without saying: more leave its run as it is.
        for seed in profile.seeds if arm in profile.arms else profile.seeds[:1]:
            parameters = {"arm": arm} if seed == profile.seeds[0] else {"arm": arm, "seed": seed}
            name = pretraining_run(profile.pretrained(arm, seed))
            runs.append(Run(name, "02_pretraining", "pretrain", parameters, ("data",)))
    first = profile.arms[0]
    encodings: list[tuple[str, str]] = [
        (arm, encoding) for arm in profile.arms for encoding in profile.arm(arm).encodings
    ]
    rows = [(arm, encoding, start) for arm, encoding in encodings for start in INITIALISATIONS]
    unets = [*UNETS, *[WIDE] * bool(profile.wide_unet_width)]
    rows += [(first, encoding, start) for encoding in unets for start in baseline_rows(encoding)]
    arm_of = {"unet": first, **{encoding: arm for arm, encoding in encodings}}
    rows += [(arm_of[encoding], encoding, SELF_TRAINED) for encoding in profile.self_trained]
    for arm, encoding, start in rows:
        # A cell of a seed starts from the pre-training with that seed, and one run holds the cells of all seeds.
        scratch = start == "scratch" or encoding == "unet"
        seeds = [] if scratch or arm not in trained_here else profile.seeds
        needs = ("data", *(pretraining_run(profile.pretrained(arm, seed)) for seed in seeds))
        row = {"regions": arm, "encoding": encoding, "initialisation": start}
        runs.append(Run(row_run(encoding, start, arm), "03_finetuning", row_kind(encoding), row, needs))
    pretrained = map(pretraining_run, trained_here)
    trained = [run.name for run in runs if run.kind in ("pretrain", "finetune", "baseline")]
    models = [row_run(encoding, "unfrozen", first) for encoding in ("attention", "unet_attention")]
    return [
        *runs,
        Run("floors", "04_baselines", "floors", needs=("data",)),
        Run("attention", "05_attention", "attention", needs=(*pretrained, *models)),
        Run("tables", "06_tables", "tables", needs=("data", *trained, "floors")),
        Run("claims", "07_claims", "claims", needs=("tables", "attention")),
        Run("report", "09_report", "report", needs=("claims", "realism")),
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
    silent: dict[str, Any] = dict.fromkeys(
        ("title", "hardware", "expected_minutes", "threads", "autopsy", "keep"), True
    )
    if run.parameters.get("encoding") != WIDE:  # which may come later
        silent["wide_unet_width"] = True
    if run.parameters.get("initialisation") != SELF_TRAINED:
        silent["self_trained"] = True
    silent["pretraining"] = {"__all__": {"encodings"}}  # which runs there are, and of none what it does
    caches = {"data": {"cache", "loader_workers"}, "finetuning": {"feature_cache_gb"}}
    content = profile.model_dump(exclude={**silent, **caches})
    if run.kind == "realism":
        return {"name": content["name"], "seed": profile.data.seed}
    shared = {key: content[key] for key in ("name", "data", "examples")}
    if run.kind == "data":
        # The stores that are built follow from the arms' regions, not from how they train.
        stores = {arm: [p.store, p.regions] for arm, p in profile.pretraining.items()}
        # Which tiles get pixels follows from the labels that are granted.
        granted = {"labelled": [profile.labelled_region, profile.fractions, profile.draws]}
        return {**shared, "stores": stores, **({} if profile.data.makes_all else granted)}
    if run.kind == "pretrain":
        arm, seed = run.parameters["arm"], run.parameters.get("seed", profile.seeds[0])
        shape, own = profile.architecture(arm).to_dict(), content["pretraining"][arm]
        return {**shared, "seeds": [seed], "architecture": shape, "pretraining": own}
    if run.kind in ("finetune", "baseline", "floors"):  # another arm may come later
        arms = {profile.arms[0], run.parameters.get("regions", profile.arms[0])}
        shapes = {arm: profile.architecture(arm).to_dict() for arm in sorted(arms)}
        return {**content, "architectures": shapes, "pretraining": {a: content["pretraining"][a] for a in sorted(arms)}}
    return content


def own_dependencies(workspace: Workspace, run: Run) -> dict[str, str]:
    """What a run's result depends on besides other runs, as texts to compare with those of the last execution."""
    return {
        "code": hash_of_code(code_files(workspace, run)),
        "settings": json.dumps(settings(workspace.profile, run), sort_keys=True),
        "parameters": json.dumps(run.parameters, sort_keys=True),
        "input": workspace.data.name if workspace.data else "",
        **_adopted(workspace, run),
    }


def _adopted(workspace: Workspace, run: Run) -> dict[str, str]:
    """One hash of the cards of the adopted weights that a run reads; a card holds the digest of its weights."""
    if run.kind not in ("finetune", "baseline", "attention"):
        return {}
    arms = [run.parameters.get("regions", "")] if run.kind != "attention" else [*workspace.profile.pretraining]
    cards = [workspace.pretrain(arm) / CARD for arm in arms if arm and workspace.profile.arm(arm).adopted]
    if missing := [str(card.parent) for card in cards if not card.is_file()]:
        raise SardinoError(f"{', '.join(missing)} holds no weights: `sardino adopt` makes such a folder")
    return {"adopted": _hash_of((card, card.read_bytes()) for card in cards)} if cards else {}


def dependencies(workspace: Workspace, run: Run) -> dict[str, str]:
    """A run's own dependencies, what the records of the needed runs say, and for the report what is published."""
    needs = {f"needs {name}": substance(read_record(workspace.record(name))) for name in run.needs}
    shown = {"published": hash_of_published(workspace)} if run.kind == "report" else {}
    return {**own_dependencies(workspace, run), **needs, **shown}


def code_files(workspace: Workspace, run: Run) -> list[Path]:
    """A run's notebook source, the package files it imports, and the lock file."""
    source = workspace.root / "notebooks" / f"{run.notebook}.py"
    if not source.is_file():
        raise SardinoError(f"run '{run.name}' has no notebook: {source} does not exist")
    package = workspace.root / "sardino"
    if not package.is_dir():
        package = Path(sardino.__file__).parent
    files = [source, *imported_files(source, package)]
    if run.kind in TRAININGS:  # their curves are no part of the result: nobody should train again for a colour
        drawing = package / "reporting"
        told = (drawing / "record.py", drawing / "rows.py")
        files = [file for file in files if drawing not in file.parents or file in told]
    if run.kind == "report":  # the page's frame, which its notebook does not import
        frame = package / "study" / "report_template"
        files += [frame.with_name("report.py"), *sorted(path for path in frame.iterdir() if path.is_file())]
    lock = workspace.root / "requirements.lock"
    return [*files, lock] if lock.is_file() else files


def imported_files(source: Path, package: Path) -> list[Path]:
    """All files of a package that a module or a py:percent notebook imports, directly or not, itself left out; sorted.

    Imports inside functions count too. A data file counts with the modules of its folder; profiles do not, because a
    run depends on values in them and is told those.
    """
    found: set[Path] = set()
    queue = [source]
    while queue:
        source = queue.pop()
        fresh = {*_imports_as_of(source, package, source.stat().st_mtime_ns)} - found
        found |= fresh
        queue += fresh
    folders = {file.parent for file in found} - {package}
    data = {file for folder in folders for pattern in ("*", "*/*") for file in folder.glob(pattern)}
    return sorted(found | {file for file in data if file.suffix in DATA and file.parent.name != "profiles"})


def hash_of_code(files: Iterable[Path]) -> str:
    """One hash of what files mean: of a Python file the syntax tree, so comments and layout do not count."""
    return _hash_of((file, _dumped(_parsed(file)) if file.suffix == ".py" else file.read_bytes()) for file in files)


def hash_of_published(workspace: Workspace) -> str:
    """One hash of all published files that the report shows: a redrawn figure makes it stale."""
    results = workspace.results
    places = [(results, "*.md"), (results, "*.csv"), (results / "runs", "*.json"), (workspace.figures, "*.png")]
    shown = [path for folder, pattern in places for path in sorted(folder.glob(pattern))]
    return _hash_of((path, path.read_bytes()) for path in shown if not path.name.startswith("."))


def _hash_of(files: Iterable[tuple[Path, bytes]]) -> str:
    """Of files' names and contents, in this order."""
    digest = hashlib.sha256()
    for path, content in files:
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(content).digest())
    return digest.hexdigest()


@cache  # a plan's runs share most of their files, so what is in each is found once
def _imports_as_of(source: Path, package: Path, _changed_ns: int) -> tuple[Path, ...]:
    return tuple(_imports(source, package))


def _imports(source: Path, package: Path) -> Iterator[Path]:
    """Files of the package imported by one source, with the __init__.py of each folder on the way."""
    for node in ast.walk(_parsed(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                inside = source.relative_to(package.parent).parent
                base = resolve_name("." * node.level + base, ".".join(inside.parts))
            # "from a import b" may name a module b or something inside a.
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        for name in names:
            path = package.parent
            for part in name.split(".") if name.split(".")[0] == package.name else ():
                path = path / part
                yield from (file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file())


def _parsed(file: Path) -> ast.Module:
    try:
        return _parsed_as_of(file, file.stat().st_mtime_ns)
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise SardinoError(f"{file} cannot be read as Python: {error}") from error


@cache
def _parsed_as_of(file: Path, _changed_ns: int) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


@cache
def _dumped(tree: ast.Module) -> bytes:
    return ast.dump(tree).encode()
