"""The HTML pages that can be sent: a profile's report, and the gallery of all profiles' published figures.

The report is notebook 09, executed on published results. Both hold their images, and ask no server.
"""

import base64
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from sardino.errors import SardinoError
from sardino.files import write_text
from sardino.reporting.record import provenance, read_records
from sardino.study.profile import known_profiles
from sardino.study.workspace import Workspace, project_root

REPORT, GALLERY = (Path(__file__).with_name(f"{name}_template") for name in ("report", "gallery"))
LINK = re.compile(r"\]\((\d\d_\w+\.ipynb)\)")  # a notebook's, to one that lies beside it
# Spaces at which no line may break: in 0.1 %, in 2 min and in [0.072, 0.090].
TOGETHER = re.compile(r"(?<=\d) (?=(?:%|s|min|GB)(?!\w)|\d\d:\d\d)|(?<=\d,) (?=[+-]?\d[\d.]*\])")
UNPUBLISHED = "smoke"  # the profile whose numbers mean nothing; it is shown where it is named
# Where a notebook's source saves a figure; a name goes on where the figure is of one part.
DRAWS = re.compile(r'run\.save\(\w+, f?"([a-z0-9_]+)')
QUESTION = re.compile(r"\*\*(.+?)\*\*", re.DOTALL)
OPENING = """# Gallery

**What do the runs look like?** Every figure here was drawn by a notebook, from its own run or from the \
records of others. Examples are the first by a fixed rule, not the best. Links below a figure open its PDF \
and an execution of the notebook that draws it; they work where this file lies in the project's folder.
"""


def publish_report(workspace: Workspace) -> Path:
    """Write results/<profile>/report.html from the executed notebook, whole or not at all, without its code."""
    notebook = nbformat.read(workspace.notebook("report"), as_version=4)
    target = workspace.results / "report.html"
    folder = Path(os.path.relpath(workspace.root / "notebooks", target.parent)).as_posix()
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if text := output.get("data", {}).get("text/markdown"):
                output.data["text/markdown"] = _together(LINK.sub(rf"]({folder}/\1)", text))
    return write_text(_page(notebook, workspace.profile.title, REPORT), target)


def make_gallery(names: Sequence[str] = (), root: Path | None = None) -> Path:
    """Write results/gallery.html, whole or not at all, of profiles in the order of the page.

    Without names of all that are published; a profile that is named and is not published is refused.
    """
    root = root or project_root()
    spaces = [Workspace.open(name, root=root) for name in names] or list(_published(root))
    if not spaces:
        raise SardinoError("no profile is published: run `sardino reproduce laptop`")
    drawn_by, told = {}, ["## Notebooks\n\nEach as one of its runs left it.\n"]
    for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        source = path.with_suffix(".py")
        if source.is_file():
            drawn_by.update(dict.fromkeys(DRAWS.findall(source.read_text(encoding="utf-8")), path.stem))
        first = nbformat.read(path, as_version=4).cells[0].source
        asked = QUESTION.search(first)
        question = f": {' '.join(asked[1].split())}" if asked else ""
        told.append(f"- [{first.splitlines()[0].lstrip('# ')}](../notebooks/{path.name}){question}")
    titles = [space.profile.title for space in spaces]
    listed = [f"- [{title}](#{title.replace(' ', '-')})" for title in [*titles, "Notebooks"]]
    cells = [new_markdown_cell("\n".join([OPENING, *listed]))]
    for space in spaces:
        cells += _profile(space, drawn_by)
    cells.append(new_markdown_cell("\n".join(told)))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"  # by default drawn at random, and no two pages would be the same
    return write_text(_page(new_notebook(cells=cells), "Gallery", GALLERY), root / "results" / "gallery.html")


def _published(root: Path) -> Iterator[Workspace]:
    """Built-in profiles with figures and records, from small to large."""
    for name in known_profiles():
        space = Workspace.open(name, root=root)
        if name != UNPUBLISHED and any(space.figures.glob("*.png")) and any((space.results / "runs").glob("*.json")):
            yield space


def _profile(space: Workspace, drawn_by: dict[str, str]) -> list[Any]:
    """A profile's heading, where its pixels come from, its figures, and the runs' origin."""
    # It loads pandas, which the run of a notebook does without.
    from sardino.reporting.pages import facts, illustrations

    name, title, synthetic = space.profile.name, space.profile.title, space.profile.synthetic
    records, figures = read_records(space.results / "runs"), illustrations(space.figures)
    if not (records and figures):
        raise SardinoError(f"profile '{name}' has no published figures: run `sardino reproduce {space.reference}`")
    derived = any(record["data"].get("derived") for record in records)
    origin = f"**{provenance(synthetic=synthetic, derived=derived).capitalize()}** (profile `{name}`)."
    unreal, real = "No pixel was measured: it says nothing about real land.", "The radar pixels were measured."
    report = f" [The report]({name}/report.html) has its tables and claims." * (space.results / "report.html").is_file()
    cells = [new_markdown_cell(f"## {title}\n\n{origin} {unreal if synthetic else real}{report}")]
    for figure in figures:
        links = [f"[PDF](../figures/{name}/{figure.stem}.pdf)"] * (space.figures / f"{figure.stem}.pdf").is_file()
        if maker := drawn_by.get(figure.stem):
            links.append(f"[`{maker}`](../notebooks/{maker}.ipynb)")
        image = {"image/png": base64.b64encode(figure.png).decode()}
        alt = {"image/png": {"alt": f"{title}: {figure.alt}"}}
        caption = {"text/markdown": " ".join([figure.caption, *links])}
        outputs = [new_output("display_data", image, metadata=alt), new_output("display_data", caption)]
        cells.append(new_code_cell(outputs=outputs, metadata={"tags": ["figure"]}))
    return [*cells, new_markdown_cell(f"### Origin of the runs of {name}\n\n{_together(facts(records))}")]


def _together(text: str) -> str:
    return TOGETHER.sub("\N{NO-BREAK SPACE}", text)


def _page(notebook: Any, title: str, template: Path) -> str:
    """A notebook's prose and outputs as one HTML page, by an nbconvert template in this package."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
        template_name=template.name,
        extra_template_basedirs=[str(template.parent)],
        extra_template_paths=[str(template.parent)],  # one template may build on another here
        **dict.fromkeys(("exclude_input", "exclude_input_prompt", "exclude_output_prompt"), True),
    )
    html, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": f"sardino: {title}"}})
    return str(html)
