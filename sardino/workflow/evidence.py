"""The evidence of a run: all that its result depends on, compared by content, so that only what must runs again."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import sardino
from sardino.errors import SardinoError
from sardino.reporting.record import read_record
from sardino.workflow.closure import fingerprint, import_closure
from sardino.workflow.plan import Run, settings
from sardino.workflow.report import TEMPLATE, published
from sardino.workflow.workspace import Workspace

TRAININGS = ("pretrain", "finetune", "baseline")
EVIDENCE = "evidence.txt"
TIMES = ("wall_s",)
"""Keys of results that differ from one execution to the next."""


def code_files(workspace: Workspace, run: Run) -> list[Path]:
    """A run's notebook source, the package files it imports, and the lock file.

    The drawing of a training's curves is no part of its result: nobody should train
    again for a colour.
    """
    source = workspace.root / "notebooks" / f"{run.notebook}.py"
    if not source.is_file():
        raise SardinoError(f"run '{run.name}' has no notebook: {source} does not exist")
    package = workspace.root / "sardino"
    if not package.is_dir():
        package = Path(sardino.__file__).parent
    imported = import_closure(source, package)
    if run.kind in TRAININGS:
        drawing = package / "reporting"
        imported = [file for file in imported if file.parent != drawing or file.name == "record.py"]
    if run.kind == "report":  # the page's frame, which its notebook does not import
        frame = package / "workflow" / TEMPLATE.name
        imported += [frame.with_name("report.py"), *sorted(path for path in frame.iterdir() if path.is_file())]
    lock = workspace.root / "requirements.lock"
    return [source, *imported, *([lock] if lock.is_file() else [])]


def evidence(workspace: Workspace, run: Run) -> dict[str, str]:
    """What a run's result depends on besides other runs, as texts to compare with those of the last execution."""
    return {
        "code": fingerprint(code_files(workspace, run)),
        "settings": json.dumps(settings(workspace.profile, run), sort_keys=True),
        "parameters": json.dumps(run.parameters, sort_keys=True),
        "input": workspace.data.name if workspace.data else "",
    }


def evidence_with_needs(workspace: Workspace, run: Run) -> dict[str, str]:
    """The evidence, what the records of the needed runs say, and for the report what is published."""
    needs = {f"needs {name}": substance(read_record(workspace.record(name))) for name in run.needs}
    shown = {"published": published(workspace)} if run.kind == "report" else {}
    return {**evidence(workspace, run), **needs, **shown}


def substance(record: dict[str, Any]) -> str:
    """Hash of what a record says, not of when and where it was made."""
    said = {key: record[key] for key in ("kind", "parameters", "data", "results")}
    return hashlib.sha256(json.dumps(_timeless(said), sort_keys=True).encode()).hexdigest()


def keep(workspace: Workspace, run: Run, known: dict[str, str]) -> None:
    """Set a finished run's record and notebook aside, with the evidence they were made from.

    Snakemake deletes both before it executes the run again; where it turns out that
    nothing the run depends on has changed, `restore` brings them back.
    """
    folder = workspace.build / "kept" / run.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / EVIDENCE).unlink(missing_ok=True)
    for path in (workspace.record(run.name), workspace.notebook(run.name)):
        shutil.copy2(path, folder / path.name)
    _replace(folder / EVIDENCE, json.dumps(known))


def kept(workspace: Workspace, run: Run) -> bool:
    """Whether a run's record is one whose evidence is known."""
    return (workspace.build / "kept" / run.name / EVIDENCE).is_file()


def restore(workspace: Workspace, run: Run, known: dict[str, str]) -> bool:
    """Bring back what a run made from the very same evidence; False if there is none."""
    folder = workspace.build / "kept" / run.name
    try:
        same = json.loads((folder / EVIDENCE).read_text(encoding="utf-8")) == known
    except (OSError, ValueError):
        return False
    if not same:
        return False
    # The notebook keeps its date and tells when it was executed; the record is new to Snakemake.
    workspace.notebook(run.name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(folder / workspace.notebook(run.name).name, workspace.notebook(run.name))
    workspace.record(run.name).parent.mkdir(parents=True, exist_ok=True)
    _replace(workspace.record(run.name), (folder / workspace.record(run.name).name).read_text(encoding="utf-8"))
    return True


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key not in TIMES}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
