"""The report: notebook 09, executed on a profile's published results, as one HTML page that can be sent.

It holds its images, and asks no server.
"""

import os
import re
from pathlib import Path
from typing import Any

import nbformat

from sardino.files import write_text
from sardino.study.workspace import Workspace

TEMPLATE = Path(__file__).with_name("report_template")
LINK = re.compile(r"\]\((\d\d_\w+\.ipynb)\)")  # a notebook's, to one that lies beside it
# Spaces at which no line may break: in 0.1 %, in 2 min and in [0.072, 0.090].
TOGETHER = re.compile(r"(?<=\d) (?=(?:%|s|min|GB)(?!\w)|\d\d:\d\d)|(?<=\d,) (?=[+-]?\d[\d.]*\])")


def publish_report(workspace: Workspace) -> Path:
    """Write results/<profile>/report.html from the executed notebook, whole or not at all, without its code."""
    notebook = nbformat.read(workspace.notebook("report"), as_version=4)
    target = workspace.results / "report.html"
    folder = Path(os.path.relpath(workspace.root / "notebooks", target.parent)).as_posix()
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if text := output.get("data", {}).get("text/markdown"):
                output.data["text/markdown"] = together(LINK.sub(rf"]({folder}/\1)", text))
    return write_text(as_page(notebook, workspace.profile.title, TEMPLATE), target)


def together(text: str) -> str:
    return TOGETHER.sub("\N{NO-BREAK SPACE}", text)


def as_page(notebook: Any, title: str, template: Path) -> str:
    """A notebook's prose and outputs as one HTML page, by an nbconvert template, which may build on the report's."""
    from nbconvert import HTMLExporter

    folders = (template.parent, TEMPLATE.parent)
    exporter = HTMLExporter(
        template_name=template.name,
        extra_template_basedirs=[str(folder) for folder in folders],
        extra_template_paths=[str(folder) for folder in folders],
        **dict.fromkeys(("exclude_input", "exclude_input_prompt", "exclude_output_prompt"), True),
    )
    html, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": f"sardino: {title}"}})
    return str(html)
