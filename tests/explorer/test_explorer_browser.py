"""The explorer in JupyterLab as a reader uses it: run all, click a patch, choose a head or a tile, see it change."""

import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import jupytext
import nbformat
import numpy as np
import pytest
from PIL import Image

import sardino
from sardino.data.tiles.store import TileStore
from sardino.explorer.places import StoreTiles
from sardino.reporting.figures.exploration import BOTTOM, GAP, MARGIN, SIZE
from sardino.reporting.figures.exploration import EXPLORED_SIDE as SIDE
from sardino.study.notebook import KERNELSPEC

ROOT = Path(sardino.__file__).parents[1]
NAME = "10_explorer"
CANVAS, CHOOSER = (f".jupyter-matplotlib-canvas-div canvas >> nth={number}" for number in (1, 3))
PATCHES = 56
"""Along a side of the tiles that it opens on."""
WORDS = ".jupyter-widgets.widget-html >> nth=0"
PATIENCE = 300
"""Seconds before a step counts as failed: a busy machine is no fault."""


def lab_environment(folder: Path) -> dict[str, str]:
    """JupyterLab with folders of its own, nothing of the reader's; no news, no question on the way."""
    settings = folder / "settings/@jupyterlab/apputils-extension/notification.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
    places = {f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    places |= {f"JUPYTERLAB_{name}_DIR": str(folder / name.lower()) for name in ("SETTINGS", "WORKSPACES")}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    # The backend of a machine without a screen: the explorer must not depend on it.
    own = {"HOME": str(folder), "IPYTHONDIR": str(folder / "ipython"), "PYTHONPATH": path, "MPLBACKEND": "Agg"}
    return {**os.environ, **places, **own, "OMP_NUM_THREADS": "1", "JUPYTER_PREFER_ENV_PATH": "1"}


@pytest.fixture(scope="module")
def lab(browser, small_world, tmp_path_factory) -> Iterator[str]:
    """Address of a JupyterLab that serves a project with the notebook; it makes its few tiles itself."""
    source = (ROOT / "notebooks" / f"{NAME}.py").read_text()
    assert 'profile = "smoke"' in source
    notebook = jupytext.reads(source.replace('profile = "smoke"', 'profile = "../minute.toml"'), fmt="py:percent")
    notebook.metadata = nbformat.NotebookNode({"kernelspec": KERNELSPEC})
    nbformat.write(notebook, small_world / "notebooks" / f"{NAME}.ipynb")
    folder = tmp_path_factory.mktemp("lab")
    log = folder / "lab.log"
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"]
    command += [f"--ServerApp.root_dir={small_world}", "--LabApp.extension_manager=readonly"]
    with log.open("w") as written:
        server = subprocess.Popen(
            command, env=lab_environment(folder), cwd=folder, stdout=written, stderr=subprocess.STDOUT
        )
    try:
        yield _address(server, folder / "runtime", log)
    finally:
        server.terminate()  # it ends its kernels first
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _address(server: subprocess.Popen, runtime: Path, log: Path) -> str:
    """With the port that it found free and its token, as it writes them down for tools."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and server.poll() is None:
        for path in runtime.glob("jpserver-*.json"):
            try:
                told = json.loads(path.read_text())
            except ValueError:
                continue  # half written
            return f"{told['url']}lab/tree/notebooks/{NAME}.ipynb?token={told['token']}"
        time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def page(browser, lab):
    view = browser.new_page(viewport={"width": 1280, "height": 1000})
    view.set_default_timeout(1000 * PATIENCE)
    view.faults, view.asked = [], []
    view.on("pageerror", lambda error: view.faults.append(str(error)))
    view.on("console", lambda said: said.type == "error" and view.faults.append(f"{said.text} {said.location['url']}"))
    view.on("request", lambda request: view.asked.append(request.url))
    view.goto(lab)
    view.get_by_text("(ipykernel) | Idle").wait_for()  # before, JupyterLab would ask for a kernel
    view.get_by_role("menuitem", name="Run", exact=True).click()
    view.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    view.locator(CANVAS).wait_for()
    return view


def picture(page, unlike: np.ndarray | None = None) -> np.ndarray:
    """The canvas as it is seen, once it is another than `unlike` and has stopped to change."""
    before = None
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        shot = page.locator(CANVAS).screenshot()
        now = np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), np.int16)
        if before is not None and np.array_equal(now, before) and (unlike is None or differ(now, unlike)):
            return now
        before = now
        page.wait_for_timeout(200)
    raise AssertionError("the picture does not change")


def differ(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether any panel does; the rim of the canvas, which shows that it has the focus, does not count."""
    return any(not np.array_equal(panel(one, number), panel(other, number)) for number in range(3))


def panel(pixels: np.ndarray, number: int) -> np.ndarray:
    """One of the three panels of the figure."""
    scale = pixels.shape[1] / SIZE[0]
    left, top = MARGIN + number * (SIDE + GAP), SIZE[1] - BOTTOM - SIDE
    rows, columns = (slice(round(start * scale) + 2, round((start + SIDE) * scale) - 2) for start in (top, left))
    return pixels[rows, columns]


def click(page, row: int, column: int) -> None:
    """The middle of a patch, in the radar panel."""
    scale = page.locator(CANVAS).bounding_box()["width"] / SIZE[0]
    x, y = (start + (at + 0.5) * SIDE / PATCHES for start, at in ((MARGIN, column), (SIZE[1] - BOTTOM - SIDE, row)))
    page.locator(CANVAS).click(position={"x": x * scale, "y": y * scale})


def test_a_reader_clicks_and_sees_the_picture_change(page, small_world):
    words = page.locator(WORDS)
    first = picture(page)
    assert panel(first, 1).std() > 10 and "patch row" not in words.inner_text()

    click(page, 20, 30)
    clicked = picture(page, unlike=first)
    words.get_by_text("patch row 21, column 31").wait_for()
    assert not np.array_equal(panel(clicked, 1), panel(first, 1))

    click(page, 50, 5)
    moved = picture(page, unlike=clicked)
    words.get_by_text("patch row 51, column 6").wait_for()
    assert not np.array_equal(panel(moved, 1), panel(clicked, 1))

    page.get_by_label("Head", exact=True).select_option("head 2")
    head = picture(page, unlike=moved)
    assert not np.array_equal(panel(head, 1), panel(moved, 1))
    assert np.array_equal(panel(head, 0), panel(moved, 0)) and np.array_equal(panel(head, 2), panel(moved, 2))

    page.get_by_label("Beside", exact=True).select_option("Optical image")
    optical = picture(page, unlike=head)
    assert np.array_equal(panel(optical, 1), panel(head, 1)) and not np.array_equal(panel(optical, 2), panel(head, 2))

    page.get_by_role("button", name="Save maps as GeoTIFF").click()
    page.get_by_text("written:").wait_for()
    (path,) = (small_world / "build/minute/explorer/maps").iterdir()
    assert re.search(r"-patch-51-6-block-\d\.tif$", path.name)
    if folder := os.environ.get("SARDINO_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/explorer.png")


def test_a_reader_sees_what_is_alike_and_goes_to_other_tiles(page, small_world):
    words, before = page.locator(WORDS), picture(page)
    page.get_by_role("button", name="Alike", exact=True).click()
    alike = picture(page, unlike=before)
    words.get_by_text("Cosine similarity").wait_for()
    assert not np.array_equal(panel(alike, 1), panel(before, 1)) and np.array_equal(panel(alike, 0), panel(before, 0))

    tiles = StoreTiles(TileStore.open(small_world / "build/minute/explorer/world"))
    (typed,) = set(tiles.store.ids()) - {tiles.first}
    page.get_by_label("Find", exact=True).fill(typed)
    page.keyboard.press("Enter")
    words.get_by_text(f"Tile {typed}").wait_for()
    found = picture(page, unlike=alike)

    overview = tiles.overview()
    overview.draw_without_rendering()
    number, outline = tiles.outline(tiles.first)
    to_canvas = overview.axes[number].transData + overview.transFigure.inverted()
    across, up = to_canvas.transform(outline[:-1].mean(0))
    box = page.locator(CHOOSER).bounding_box()
    page.locator(CHOOSER).click(position={"x": across * box["width"], "y": (1 - up) * box["height"]})
    words.get_by_text(f"Tile {tiles.first}").wait_for()
    picture(page, unlike=found)


def test_no_other_server_is_asked_and_no_script_of_ours_fails(page):
    assert {urlsplit(url).hostname for url in page.asked if url.startswith("http")} == {"127.0.0.1"}
    assert [fault for fault in page.faults if re.search("widget|matplotlib|ipympl|comm", fault, re.IGNORECASE)] == []
