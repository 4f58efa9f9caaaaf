"""The report: notebook 09, executed on published results, as one HTML file that can be sent."""

import os
import re
from pathlib import Path
from typing import Any

from sardino.files import write_text
from sardino.study.workspace import Workspace

TEMPLATE = Path(__file__).with_name("report_template")
RUN = "report"
LINK = re.compile(r"\]\((\d\d_\w+\.ipynb)\)")
"""A notebook's link to one that lies beside it."""
TOGETHER = re.compile(r"(?<=\d) (?=(?:%|s|min|GB)(?!\w)|\d\d:\d\d)|(?<=\d,) (?=[+-]?\d[\d.]*\])")
"""Spaces at which no line may break: in 0.1 %, in 2 min and in [0.072, 0.090]."""


def publish_report(workspace: Workspace) -> Path:
    """Write results/<profile>/report.html from the executed notebook, whole or not at all.

    Images are in the file, code is left out, and nothing in it makes a browser ask a server.
    """
    import nbformat

    notebook = nbformat.read(workspace.notebook(RUN), as_version=4)
    target = workspace.results / "report.html"
    folder = Path(os.path.relpath(workspace.root / "notebooks", target.parent)).as_posix()
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if text := output.get("data", {}).get("text/markdown"):
                output.data["text/markdown"] = TOGETHER.sub("\N{NO-BREAK SPACE}", LINK.sub(rf"]({folder}/\1)", text))
    return write_text(page(notebook, workspace.profile.title), target)


def page(notebook: Any, title: str, template: Path = TEMPLATE) -> str:
    """A notebook's prose and outputs as one HTML page, without its code.

    Args:
        notebook: an nbformat node.
        title: of the window.
        template: folder of an nbconvert template, in this package.
    """
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
        template_name=template.name,
        extra_template_basedirs=[str(template.parent)],
        extra_template_paths=[str(template.parent)],  # one template may build on another here
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    html, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": f"sardino: {title}"}})
    return str(html)
