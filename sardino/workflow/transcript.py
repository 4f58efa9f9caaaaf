"""The transcript: an executed notebook without what differs from run to run or tells about one machine."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from nbformat import NotebookNode

KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
"""papermill refuses a notebook without one; a fixed one keeps differences small."""
PAIRING = {"formats": "ipynb,py:percent"}
"""Opened in Jupyter, the notebook stays paired with its py:percent source."""

PROGRESS_BAR = re.compile(r"\d+%\|.*\||\d+(it|s)/(s|it)\b|\b\d+it \[")
WIDGET_HINT = re.compile(r"TqdmWarning: IProgress not found|from \.autonotebook import tqdm")
"""A dependency's remark that progress widgets are not installed: about one machine, not about the result."""
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def clean(notebook: NotebookNode, name: str, replacements: Mapping[str, str]) -> NotebookNode:
    """Make an executed notebook fit to be committed, in place.

    Cell ids come from the notebook's name and the cell's index; timestamps, durations,
    progress bars and the split of printed text into pieces go; `replacements` turns
    absolute paths into relative ones.
    """
    version = notebook.metadata.get("language_info", {})
    notebook.metadata = NotebookNode(
        {
            "kernelspec": KERNELSPEC,
            "language_info": {key: version[key] for key in ("name", "file_extension", "mimetype") if key in version},
            "jupytext": PAIRING,
        }
    )
    for index, cell in enumerate(notebook.cells):
        cell["id"] = hashlib.sha256(f"{name}:{index}".encode()).hexdigest()[:8]
        tags = cell.metadata.get("tags")
        cell.metadata = NotebookNode({"tags": tags} if tags else {})
        if cell.cell_type == "code":
            cell.outputs = [_replaced(output, replacements) for output in _outputs(cell.outputs)]
            if tags and "injected-parameters" in tags:
                cell.source = _replaced(cell.source, replacements)
    return notebook


def _outputs(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Outputs with printed text joined and progress bars dropped."""
    kept: list[NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream" and kept and kept[-1].get("name") == output.name:
            kept[-1].text += output.text
        elif "application/vnd.jupyter.widget-view+json" not in output.get("data", {}):
            kept.append(output)
    for output in kept:
        if output.output_type == "stream":
            output.text = _final_lines(output.text)
    return [output for output in kept if output.output_type != "stream" or output.text.strip()]


def _final_lines(text: str) -> str:
    """What a terminal would show in the end: text before a carriage return is overwritten."""
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in ANSI.sub("", text).split("\n")]
    return "\n".join(line for line in lines if not (PROGRESS_BAR.search(line) or WIDGET_HINT.search(line)))


def _replaced(value: Any, replacements: Mapping[str, str]) -> Any:
    """Every text in a nested value with the replacements made, longest first; image data is left alone."""
    if isinstance(value, str):
        for old in sorted(replacements, key=len, reverse=True):
            value = value.replace(old, replacements[old])
        return value
    if isinstance(value, list):
        return [_replaced(item, replacements) for item in value]
    if isinstance(value, dict):
        for key, item in value.items():
            if not str(key).startswith("image/"):
                value[key] = _replaced(item, replacements)
    return value
