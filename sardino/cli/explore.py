"""`sardino explore`: the explorer's notebook for a scene, a store or synthetic land, opened in JupyterLab."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, echo

from sardino.cli.flags import with_options
from sardino.dino.recipe import Network
from sardino.mapping.job import Reading
from sardino.options import Flag

FOLDER = Path("build/explorer")
WHAT = "Scene as `sardino attend` takes it, or a tile store; else synthetic land, made once."
CELL = """from pathlib import Path

from sardino.explorer.answers import open_explorer
from sardino.explorer.view import ExplorerView

folder = Path({folder!r})
explorer = open_explorer(folder, {what!r}, {backbone!r}, **{options!r})
ExplorerView(explorer, folder / "maps")"""


@with_options(Reading)
def explore(
    what: Annotated[Path | None, Argument(help=WHAT, metavar="[SCENE|STORE]")] = None,
    backbone: Annotated[
        Path | None, "Folder of `sardino pretrain`, `sardino adopt` or a segmenter, whose ViT looks; else the built-in."
    ] = None,
    network: Annotated[Network, "Of a pre-training."] = "teacher",
    lab: Annotated[
        bool, "Start JupyterLab; else only name the notebook, for one that runs already.", Flag("--lab/--no-lab")
    ] = True,
    **options: Any,
) -> None:
    """Click a patch and see where a ViT attends from there, and which other patches have tokens like its own.

    Writes the notebook build/explorer/explore.ipynb and opens it in JupyterLab: choose Run, Run All Cells. Tiles of a
    store are chosen on a map of all of them or by their id; of a scene, windows of at most 448 px by a click or by row
    and column. Maps are saved beside the notebook as GeoTIFF. End JupyterLab with Ctrl-C.

    Example: sardino explore scene.tif --backbone build/pretrained
    """
    import nbformat.v4 as nb

    from sardino.explorer.answers import open_explorer
    from sardino.files import write_text
    from sardino.study.extras import require
    from sardino.study.notebook import KERNELSPEC

    require("study")
    folder = FOLDER.resolve()
    given, vit = (str(path.expanduser().resolve()) if path else "" for path in (what, backbone))
    # Opened here too: what is wrong is told where the command was typed.
    echo(open_explorer(folder, given, vit, network, **options).told)
    code = CELL.format(folder=str(folder), what=given, backbone=vit, options={"network": network, **options})
    cells = [nb.new_markdown_cell("# Explorer\n\nChoose *Run*, *Run All Cells*."), nb.new_code_cell(code)]
    notebook = nb.new_notebook(cells=cells, metadata={"kernelspec": KERNELSPEC})
    path = write_text(nb.writes(notebook), folder / "explore.ipynb")
    echo(path)
    if lab:
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", str(path)])
