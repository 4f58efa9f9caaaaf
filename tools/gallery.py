"""The gallery: the published figures of all profiles on one page, results/gallery.html; it asks no server.

python tools/gallery.py            # as `make gallery` does
python tools/gallery.py laptop     # of one profile, published or not
"""

import base64
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from sardino.errors import SardinoError
from sardino.files import write_text
from sardino.reporting.pages import facts, illustrations
from sardino.reporting.record import provenance, read_records
from sardino.study.profile import known_profiles
from sardino.study.report import as_page, together
from sardino.study.workspace import Workspace, project_root

TEMPLATE = Path(__file__).with_name("gallery_template")
UNPUBLISHED = "smoke"  # the profile whose numbers mean nothing; it is shown where it is named
# Where a notebook's source saves a figure; a name goes on where the figure is of one part.
DRAWS = re.compile(r'run\.save\(\w+, f?"([a-z0-9_]+)')
QUESTION = re.compile(r"\*\*(.+?)\*\*", re.DOTALL)
OPENING = """# Gallery

**What do the runs look like?** Every figure here was drawn by a notebook, from its own run or from the \
records of others. Examples are the first by a fixed rule, not the best. Links below a figure open its PDF \
and an execution of the notebook that draws it; they work where this file lies in the project's folder.
"""


def make_gallery(root: Path, names: Sequence[str] = ()) -> Path:
    """Write results/gallery.html, whole or not at all, of profiles in the order of the page.

    Without names of all that are published; a profile that is named and is not published is refused.
    """
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
    return write_text(as_page(new_notebook(cells=cells), "Gallery", TEMPLATE), root / "results" / "gallery.html")


def _published(root: Path) -> Iterator[Workspace]:
    """Built-in profiles with figures and records, from small to large."""
    for name in known_profiles():
        space = Workspace.open(name, root=root)
        if name != UNPUBLISHED and any(space.figures.glob("*.png")) and any((space.results / "runs").glob("*.json")):
            yield space


def _profile(space: Workspace, drawn_by: dict[str, str]) -> list[Any]:
    """A profile's heading, where its pixels come from, its figures, and the runs' origin."""
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
    return [*cells, new_markdown_cell(f"### Origin of the runs of {name}\n\n{together(facts(records))}")]


if __name__ == "__main__":
    try:
        print(make_gallery(project_root(), sys.argv[1:]))
    except SardinoError as error:
        sys.exit(f"error: {error}")
