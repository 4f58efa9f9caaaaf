"""The gallery: the published figures of all profiles on one HTML page that asks no server."""

import base64
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sardino.errors import SardinoError
from sardino.files import write_text
from sardino.reporting.pages.contents import facts, illustrations
from sardino.reporting.record import provenance, read_records
from sardino.study.profile import known_profiles
from sardino.study.report import TOGETHER, page
from sardino.study.workspace import Workspace, project_root

TEMPLATE = Path(__file__).with_name("gallery_template")
UNPUBLISHED = "smoke"
"""The profile whose numbers mean nothing; it is shown where it is named."""
DRAWS = re.compile(r'run\.save\(\w+, f?"([a-z0-9_]+)')
"""Where a notebook's source saves a figure; a name goes on where the figure is of one part."""
QUESTION = re.compile(r"\*\*(.+?)\*\*", re.DOTALL)
CAUTION = {True: "No pixel was measured: it says nothing about real land.", False: "The radar pixels were measured."}


def make_gallery(names: Sequence[str] = (), root: Path | None = None) -> Path:
    """Write results/gallery.html, whole or not at all.

    Args:
        names: profiles in the order of the page; without any, all that are published.
        root: the project folder.

    Returns:
        the page.

    Raises:
        SardinoError: nothing is published, or a profile that was named is not.
    """
    import nbformat.v4 as v4

    root = root or project_root()
    spaces = [Workspace.open(name, root=root) for name in names] or list(_published(root))
    if not spaces:
        raise SardinoError("no profile is published: run `sardino reproduce laptop`")
    drawn_by = _makers(root / "notebooks")
    cells = [v4.new_markdown_cell(_opening(spaces))]
    for space in spaces:
        cells += _profile(space, drawn_by)
    cells.append(v4.new_markdown_cell(_notebooks(root / "notebooks")))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"  # by default drawn at random, and no two pages would be the same
    html = page(v4.new_notebook(cells=cells), "Gallery", TEMPLATE)
    return write_text(html, root / "results" / "gallery.html")


def _published(root: Path) -> Iterator[Workspace]:
    """Built-in profiles with figures and records, from small to large."""
    for name in known_profiles():
        space = Workspace.open(name, root=root)
        if name != UNPUBLISHED and any(space.figures.glob("*.png")) and any((space.results / "runs").glob("*.json")):
            yield space


def _opening(spaces: Sequence[Workspace]) -> str:
    listed = "\n".join(f"- [{space.profile.title}](#{space.profile.title.replace(' ', '-')})" for space in spaces)
    return (
        "# Gallery\n\n"
        "**What do the runs look like?** Every figure here was drawn by a notebook, from its own run or from the "
        "records of others. Examples are the first by a fixed rule, not the best. Links below a figure open its PDF "
        "and an execution of the notebook that draws it; they work where this file lies in the "
        f"project's folder.\n\n{listed}\n- [Notebooks](#Notebooks)"
    )


def _profile(space: Workspace, drawn_by: dict[str, str]) -> list[Any]:
    """A profile's heading, where its pixels come from, its figures, and the runs' origin."""
    import nbformat.v4 as v4

    name = space.profile.name
    records = read_records(space.results / "runs")
    figures = illustrations(space.figures)
    if not (records and figures):
        raise SardinoError(f"profile '{name}' has no published figures: run `sardino reproduce {space.reference}`")
    derived = any(record["data"].get("derived") for record in records)
    synthetic = space.profile.synthetic
    report = f" [The report]({name}/report.html) has its tables and claims." * (space.results / "report.html").is_file()
    origin = f"**{provenance(synthetic=synthetic, derived=derived).capitalize()}** (profile `{name}`)."
    cells = [v4.new_markdown_cell(f"## {space.profile.title}\n\n{origin} {CAUTION[synthetic]}{report}")]
    for figure in figures:
        links = [f"[PDF](../figures/{name}/{figure.stem}.pdf)"] * (space.figures / f"{figure.stem}.pdf").is_file()
        if maker := drawn_by.get(figure.stem):
            links.append(f"[`{maker}`](../notebooks/{maker}.ipynb)")
        image = base64.b64encode(figure.png).decode()
        alt = f"{space.profile.title}: {figure.alt}"
        outputs = [
            v4.new_output("display_data", {"image/png": image}, metadata={"image/png": {"alt": alt}}),
            v4.new_output("display_data", {"text/markdown": " ".join([figure.caption, *links])}),
        ]
        cells.append(v4.new_code_cell(outputs=outputs, metadata={"tags": ["figure"]}))
    table = TOGETHER.sub("\N{NO-BREAK SPACE}", facts(records))
    return [*cells, v4.new_markdown_cell(f"### Origin of the runs of {name}\n\n{table}")]


def _makers(folder: Path) -> dict[str, str]:
    """Stem of a figure's file to that of the notebook that saves it."""
    found = {}
    for source in sorted(folder.glob("[0-9][0-9]_*.py")):
        for stem in DRAWS.findall(source.read_text(encoding="utf-8")):
            if source.with_suffix(".ipynb").is_file():
                found[stem] = source.stem
    return found


def _notebooks(folder: Path) -> str:
    """Each executed notebook with its title and its question."""
    import nbformat

    lines = []
    for path in sorted(folder.glob("[0-9][0-9]_*.ipynb")):
        first = nbformat.read(path, as_version=4).cells[0].source
        title = first.splitlines()[0].lstrip("# ")
        asked = QUESTION.search(first)
        lines.append(f"- [{title}](../notebooks/{path.name})" + (f": {' '.join(asked[1].split())}" if asked else ""))
    return "## Notebooks\n\nEach as one of its runs left it.\n\n" + "\n".join(lines)
