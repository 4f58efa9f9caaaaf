"""How good maps of whole scenes are: seams between windows, attention of windows, the place of the files.

    python benchmarks/seams.py              # trains its own segmenters on the synthetic world first: some minutes
    python benchmarks/seams.py --small      # one small run of each, to see that all works

Seams: a pixel is at a border where it is within 2 pixels of any window's edge inside the scene. A U-Net can take the
whole scene in one pass: that pass is the truth. A Vision Transformer sees its window alone, and one pass over more is
another function, with positions stretched: there the agreement with it at borders is shown beside that away from them,
and so is the agreement of two maps whose windows are shifted against each other by half a stride. A seam would show as
less agreement at borders.

Attention of windows is compared with that of a scene in one window, of land that the package's backbone has not seen,
head by head; steps of its logarithm across borders of windows with those elsewhere; and, since land may
change at a border, this ratio with that along the same lines in one window.
"""

from pathlib import Path
from unittest.mock import patch

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from rasterio.transform import Affine
from rasterio.windows import Window
from rio_cogeo.cogeo import cog_validate
from row import Row
from scenes import FULL, NAMES, Size, jobs_of, make_world, run

from sardino.data.sources.world.synthetic import World, write_scene
from sardino.data.tiles.landcover import WORLDCOVER
from sardino.mapping.job import Job
from sardino.mapping.model import default_model
from sardino.mapping.scene_map import layout_of, make_map, opened
from sardino.mapping.windows import Layout

AGREE, LIKE, APART = 99.0, 0.95, 0.01
"""Bars: percent of border pixels; correlation of each head's map, in windows and in one; hundredth of a pixel."""
BORDER_PX = 2


def crop(scene: Path, path: Path, top: int, left: int, side: int) -> Path:
    """A square part of a scene as a scene."""
    with rasterio.open(scene) as dataset:
        window = Window(left, top, side, side)
        profile = dataset.profile | {"height": side, "width": side, "transform": dataset.window_transform(window)}
        with rasterio.open(path, "w", **profile) as part:
            part.write(dataset.read(window=window))
            part.descriptions = dataset.descriptions
            part.update_tags(**dataset.tags())
    return path


def mapped(job: Job) -> NDArray[np.uint8]:
    make_map(job.changed(overwrite=True))
    with rasterio.open(job.out) as dataset:
        codes: NDArray[np.uint8] = dataset.read(1)
    return codes


def at_borders(layout: Layout) -> NDArray[np.bool_]:
    """Pixels near an edge of any window that is not an edge of the scene."""
    lines = []
    for axis in (layout.rows, layout.columns):
        near = np.zeros(axis.size, bool)
        for edge in {*axis.starts, *(start + axis.window for start in axis.starts)} - {0, axis.size}:
            near[edge - BORDER_PX : edge + BORDER_PX] = True
        lines.append(near)
    return lines[0][:, None] | lines[1][None, :]


def one_pass(job: Job) -> NDArray[np.uint8]:
    """Codes that the network gives to a scene taken whole."""
    source, product = opened(job)
    side = source.scene.shape[0]
    with source.reading() as read:
        images = torch.from_numpy(product.model.normalisation.apply(read(0, side, 0, side)))[None]
    with torch.inference_mode():
        index = product.model.network.eval()(images)[0].argmax(0).numpy().astype(np.uint8)
    codes: NDArray[np.uint8] = WORLDCOVER.decode(index)
    return codes


def seams(name: str, job: Job, folder: Path, side: int, convolutional: bool) -> list[Row]:
    """Agreement at borders and away from them, with one pass and with shifted windows, in percent of pixels."""
    part = job.changed(scene=crop(job.scene, folder / "part.tif", 0, 0, side))
    source, product = opened(part)
    layout = layout_of(part, source, product)
    border, ours = at_borders(layout), mapped(part)
    same = ours == one_pass(part)
    rows = [versus(f"Seams, {name}: agrees with one pass over the scene, at borders", same, border, convolutional)]
    shift = layout.rows.stride // 2 // product.model.step_px * product.model.step_px or product.model.step_px
    moved = part.changed(scene=crop(job.scene, folder / "moved.tif", shift, shift, side))
    same = ours[shift:, shift:] == mapped(moved)[:-shift, :-shift]
    rows.append(versus(f"Seams, {name}: agrees with windows shifted by {shift} px, at borders", same,
                       border[shift:, shift:], False))  # fmt: skip
    return rows


def versus(name: str, same: NDArray[np.bool_], border: NDArray[np.bool_], barred: bool) -> Row:
    at, away = 100 * float(same[border].mean()), 100 * float(same[~border].mean())
    if barred:
        return Row(name, at, "% of pixels", f"the least to reach (away from borders {away:.2f})", AGREE, at / AGREE, 1)
    return Row(name, at, "% of pixels", "away from borders", away, at / away)


def attention(job: Job) -> NDArray[np.float32]:
    make_map(job)
    with rasterio.open(job.out) as dataset:
        maps: NDArray[np.float32] = dataset.read()
    return maps


def border_steps(maps: NDArray[np.float32], layout: Layout) -> tuple[float, float]:
    """Mean step of the logarithm from cell to cell, across borders of windows and elsewhere."""
    at, away = [], []
    for number, axis in enumerate(layout.axes):
        steps = np.moveaxis(np.abs(np.diff(np.log(maps), axis=number + 1)), number + 1, 0)
        border = np.zeros(len(steps), bool)
        border[[e - 1 for e in {*axis.starts, *(s + axis.window for s in axis.starts)} - {0, axis.size}]] = True
        at.append(steps[border].ravel())
        away.append(steps[~border].ravel())
    return float(np.concatenate(at).mean()), float(np.concatenate(away).mean())


def alignment(folder: Path, side: int, window_px: int, threads: int) -> list[Row]:
    """Attention of the package's backbone in windows, aligned and as they are, beside that of the scene in one."""
    scene = folder / "unseen.tif"
    write_scene(World(seed=1), "europe", scene, (side, side))
    job = Job(
        scene=scene, out=folder / "aligned.tif", kind="attention", model=default_model("backbone"), window_px=side,
        device="cpu", threads=threads, precision="float32", overwrite=True,
    )  # fmt: skip
    one, job = attention(job), job.changed(window_px=window_px)
    layout, ours = layout_of(job, *opened(job)), attention(job)
    with patch("sardino.mapping.kept.align_windows", lambda _, maps, *__: np.ones(maps.shape[:2], np.float32)):
        plain = attention(job)
    found = [min(np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(one, m, strict=True)) for m in (ours, plain)]
    name = f"Attention in windows of {window_px} px"
    what = f"{name}: the head least like one window of {side} px"
    at, away = border_steps(ours, layout)
    same_at, same_away = border_steps(one, layout)
    ours_of, one_of = at / away, same_at / same_away
    return [
        Row(what, found[0], "correlation", bar=LIKE, kind="least"),
        Row(f"{what}, aligned", found[0], "correlation", "not aligned", found[1], found[0] / found[1]),
        Row(f"{name}: steps across borders", at, "mean of |log|", "steps elsewhere", away, away / at, 1.0),
        Row(
            f"{name}: steps across borders, of those elsewhere",
            ours_of,
            "ratio",
            "same lines in one window",
            one_of,
            one_of / ours_of,
        ),
    ]


def in_place(jobs: list[Job], folder: Path) -> Row:
    """Share of maps that are valid and lie where their scene lies, in UTM and in degrees."""
    good = []
    degrees = folder / "degrees.tif"
    for job in jobs:
        side = 3 * opened(job)[1].model.card.architecture.tile_px
        crop(job.scene, degrees, 0, 0, side)
        with rasterio.open(degrees, "r+") as dataset:
            dataset.crs, dataset.transform = "EPSG:4326", Affine(1.4e-4, 0, 3.1234567, 0, -9e-5, 49.7654321)
        for scene in (crop(job.scene, folder / "metres.tif", 40, 24, side), degrees):
            make_map(job.changed(scene=scene, overwrite=True))
            with rasterio.open(scene) as before, rasterio.open(job.out) as after:
                cell = before.width / after.width
                ends = [(0.0, 0.0), (after.width, 0.0), (0.0, after.height), (after.width, after.height)]
                apart = [np.subtract(~before.transform @ (after.transform @ end), np.array(end) * cell) for end in ends]
                good.append(
                    bool(cog_validate(job.out, strict=True, quiet=True)[0])
                    and before.crs == after.crs
                    and float(np.abs(apart).max()) < APART
                )
    share = sum(good) / len(good)
    return Row(
        f"{len(good)} maps in UTM and EPSG:4326: valid by rio-cogeo, in place to 0.01 px", share, "of maps", "all of "
        "them", 1.0, share, 1.0,
    )  # fmt: skip


def measure(folder: Path, size: Size, threads: int) -> list[Row]:
    """All rows."""
    store, scene = make_world(folder, size)
    jobs, rows = jobs_of(store, scene, folder, size, threads), []
    for key, name in NAMES.items():
        rows += seams(name, jobs[key], folder, size.seam_tiles * size.tile_px, key == "unet")
    rows += alignment(folder, *((896, 448) if size is FULL else (160, 96)), threads)
    return [*rows, in_place([jobs["unet"], jobs["attention"]], folder)]


def main() -> None:
    run(measure, "seams", __doc__)


if __name__ == "__main__":
    main()
