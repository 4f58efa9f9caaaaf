"""Publish the executed notebooks that readers see, from the runs that a profile left in its build folder.

    python tools/publish.py laptop                     # after `sardino reproduce laptop`
    python tools/publish.py laptop 05_attention        # one of them

Each notebooks/NN_name.ipynb becomes one run of its source; prose is today's. Where the source has other code than was
executed, nothing is published. Runs of smoke become tests/notebooks/ instead, with outputs of the compared cells alone:
what nbval compares a new run with.
"""

import ast
import sys
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

from sardino.errors import SardinoError
from sardino.files import write_text
from sardino.reporting.rows import pretraining_run, row_run
from sardino.study.notebook import INJECTED, clean, run_notebook
from sardino.study.plan import Run, plan
from sardino.study.profile import Profile
from sardino.study.workspace import Workspace

REFERENCE = "smoke"  # the profile whose runs new ones are compared with: its numbers mean nothing to a reader
MOST_BYTES = 1_500_000  # of a published notebook: code hosts render no larger ones
COMPARED = "nbval-check-output"


def main(profile: str = "laptop", *names: str) -> None:
    """Publish these notebooks, or all, and print where they lie."""
    workspace = Workspace.open(profile)
    sources = {path.stem: path for path in sorted((workspace.root / "notebooks").glob("[0-9]*.py"))}
    if not sources or not set(names) <= sources.keys():
        raise SardinoError(f"notebooks are {', '.join(sources)}")
    for name in names or sources:
        print(publish_notebook(workspace, sources[name]))


def publish_notebook(workspace: Workspace, source: Path) -> Path:
    """Put a notebook's representative run where readers, or the tests, look for it.

    A notebook that is no part of the plan is executed at its own parameters. A run that is missing, executed other code
    or is too large to be read is refused.

    `source`: notebooks/NN_name.py; its Markdown is taken, and its code, which must mean what was executed.
    """
    reference = workspace.profile.name == REFERENCE
    target = (workspace.root / "tests" / "notebooks" if reference else source.parent) / f"{source.stem}.ipynb"
    run = representative(workspace.profile, source.stem)
    executed = workspace.notebook(run.name if run else source.stem)
    if run is None:
        run_notebook(workspace, source, source.stem)
    again = f"run `sardino reproduce {workspace.reference}`"
    if not executed.is_file():
        raise SardinoError(f"{executed} does not exist: {again}")
    notebook = nbformat.read(executed, as_version=4)
    cells = _joined(nbformat.v4.upgrade(jupytext.read(source, fmt="py:percent")).cells, notebook.cells)
    if cells is None:
        raise SardinoError(f"{source.name} has other code than {executed}, which was executed before it: {again}")
    notebook.cells = cells
    for cell in cells if reference else ():
        if cell.cell_type == "code" and COMPARED not in cell.metadata.get("tags", ()):
            cell.outputs = []
    text = nbformat.writes(clean(notebook, source.stem, {})) + "\n"
    if len(text) > MOST_BYTES:
        raise SardinoError(f"{executed} has {len(text) / 1e6:.1f} MB, more than {MOST_BYTES / 1e6:g}: show less in it")
    return write_text(text, target)


def representative(profile: Profile, notebook: str) -> Run | None:
    """The run that readers are shown of a notebook: of the first arm, and where there are several one in the middle."""
    runs = {run.name: run for run in plan(profile) if run.notebook == notebook}
    shown = row_run("tokens", "unfrozen", profile.arms[0]), pretraining_run(profile.arms[0])
    return next((runs[name] for name in shown if name in runs), next(iter(runs.values()), None))


def _joined(written: list[NotebookNode], executed: list[NotebookNode]) -> list[NotebookNode] | None:
    """The source's cells with what they gave, and the cell of injected parameters; None where the code differs."""
    given = [cell for cell in executed if INJECTED in cell.metadata.get("tags", ())]
    codes = [cell for cell in executed if cell.cell_type == "code" and cell not in given]
    fresh = [cell for cell in written if cell.cell_type == "code"]
    if list(map(_meaning, codes)) != list(map(_meaning, fresh)):
        return None
    for cell, ran in zip(fresh, codes, strict=True):
        cell.outputs, cell.execution_count = ran.outputs, ran.execution_count
    for cell in given:
        cell.source = cell.source.strip()
    place = next(n for n, cell in enumerate(written) if "parameters" in cell.metadata.get("tags", ())) + 1
    return [*written[:place], *given, *written[place:]]


def _meaning(cell: NotebookNode) -> tuple[str, list[str]]:
    """Two cells with equal meanings give the same outputs; comments and layout do not count."""
    return ast.dump(ast.parse(cell.source)), list(cell.metadata.get("tags", ()))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except SardinoError as error:
        sys.exit(f"error: {error}")
