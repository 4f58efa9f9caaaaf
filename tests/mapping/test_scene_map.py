"""Maps are what a plain loop in memory gives, in their place on the earth, whatever the scene's size and gaps."""

from itertools import combinations

import numpy as np
import pytest
import rasterio
import torch
from made import ORIGIN, UTM, backbone, backscatter, read, segmenter, write_scene
from pyproj import Transformer
from rasterio.transform import Affine
from rio_cogeo.cogeo import cog_info, cog_validate

from sardino.data.tiles.landcover import WORLDCOVER
from sardino.data.tiles.value_ranges import ValueRanges
from sardino.dino.attention import class_attention, layer_inputs
from sardino.errors import SardinoError
from sardino.mapping import products, scene_map
from sardino.mapping.job import Job
from sardino.mapping.model import load_landcover, load_vit
from sardino.mapping.products import LandCoverMap
from sardino.mapping.scene_map import make_map
from sardino.mapping.windows import Axis

ROWS, COLUMNS = 150, 171


PLAIN = {"device": "cpu", "threads": 1, "precision": "float32"}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    backbone(folder / "backbone")
    for encoding in ("unet", "tokens", "unet_attention", "attention"):
        segmenter(folder / encoding, encoding)
    return folder


@pytest.fixture
def scene(tmp_path):
    return write_scene(tmp_path / "scene.tif", backscatter(ROWS, COLUMNS))


def landcover_job(scene, model, **changed):
    return Job(
        scene=scene, out=scene.with_name("map.tif"), kind="landcover", model=model,
        confidence=scene.with_name("sure.tif"), **PLAIN, **changed,
    )  # fmt: skip


def blended(model, values, predict, window=32, stride=24, cell=1):
    """The same blending, window after window, with all of the scene and its weights in memory."""
    rows, columns = (Axis(-(-size // cell), window // cell, stride // cell) for size in values.shape[1:])
    padded = np.full((len(values), len(rows.total) * cell, len(columns.total) * cell), np.nan, np.float32)
    padded[:, : values.shape[1], : values.shape[2]] = values
    images = torch.from_numpy(model.normalisation.apply(padded))
    weight = torch.from_numpy(np.outer(rows.profile, columns.profile))
    sums, weights = 0, torch.zeros(len(rows.total), len(columns.total))
    for top in rows.starts:
        for left in columns.starts:
            here = slice(top, top + rows.window), slice(left, left + columns.window)
            one = predict(images[None, :, top * cell :, left * cell :][:, :, :window, :window])[0]
            sums = torch.zeros(len(one), *weights.shape) if isinstance(sums, int) else sums
            sums[:, *here] += one * weight
            weights[here] += weight
    return (sums / weights)[:, : rows.size, : columns.size].numpy()


def plain_attention(model, values, block, window=32, stride=24, cell=8):
    """The same query and alignment with all windows in memory, and a dense solver."""
    rows, columns = (Axis(-(-size // cell), window // cell, stride // cell) for size in values.shape[1:])
    starts, many, asked = [(r, c) for r in range(len(rows.starts)) for c in range(len(columns.starts))], [], []

    def query_of(images):
        (layer,) = layer_inputs(model.network, images, [block])
        asked.append(layer.queries_and_keys([0])[0])
        return torch.zeros(1, 1, window // cell, window // cell)

    def predict(images):
        (layer,) = layer_inputs(model.network, images, [block])
        scores = torch.stack(asked).mean(0) @ layer.queries_and_keys([0])[1].mT * layer.attention.scale
        many.append(scores.softmax(-1)[:, :, 0, 1:].unflatten(-1, (window // cell,) * 2) * (window // cell) ** 2)
        return many[-1]

    blended(model, values, query_of, window, stride, cell)
    unaligned = blended(model, values, predict, window, stride, cell)
    log = np.full((len(starts), unaligned.shape[0], len(rows.total), len(columns.total)), np.nan)
    weight = np.zeros((len(starts), len(rows.total), len(columns.total)))
    for number, (row, column) in enumerate(starts):
        top, left = rows.starts[row], columns.starts[column]
        here = slice(top, top + rows.window), slice(left, left + columns.window)
        log[number, :, *here] = np.log(many[number][0].numpy())
        weight[number, *here] = np.outer(rows.profile, columns.profile)
    pairs = [
        (one, other)
        for one, other in combinations(range(len(starts)), 2)
        if np.abs(np.subtract(starts[one], starts[other])).max() <= 1 and (weight[one] * weight[other]).any()
    ]
    both = np.array([weight[one] * weight[other] for one, other in pairs])
    root = np.sqrt(both.sum((1, 2)))[:, None]
    means = np.zeros((len(pairs), 2, len(unaligned)))
    for number, (pair, amount) in enumerate(zip(pairs, both, strict=True)):
        for side, each in enumerate(pair):
            for head, values_of in enumerate(log[each]):
                inside = amount > 0
                means[number, side, head] = np.average(values_of[inside], weights=amount[inside])
    design = np.zeros((len(pairs), len(starts)))
    for number, pair in enumerate(pairs):
        design[number, list(pair)] = root[number] * [1, -1]
    offsets = np.linalg.lstsq(design, root * (means[:, 1] - means[:, 0]), rcond=None)[0]
    aligned = np.exp(log + offsets[:, :, None, None]) * weight[:, None]
    aligned = (np.nansum(aligned, 0) / weight.sum(0))[:, : rows.size, : columns.size]
    return aligned * (unaligned.mean((1, 2)) / aligned.mean((1, 2)))[:, None, None]


@torch.inference_mode()
def expected_landcover(folder, values):
    model = load_landcover(folder)
    return blended(model, values, lambda images: model.network(images).softmax(1))


def assert_landcover(job, values):
    probability = expected_landcover(job.model, values)
    codes, percent = read(job.out)[0], read(job.confidence)[0]
    seen = np.isfinite(values).any(0)
    first, second = np.sort(probability, 0)[[-1, -2]]
    clear = seen & (first - second > 1e-4)
    assert clear.mean() > 0.95 * seen.mean()
    assert np.array_equal(codes[clear], np.array(WORLDCOVER.codes)[probability.argmax(0)][clear])
    np.testing.assert_allclose(percent[seen], 100 * first[seen], atol=0.51)
    assert np.all(codes[~seen] == 0) and np.all(percent[~seen] == 255) and np.all(codes[seen] > 0)
    assert len(np.unique(codes[seen])) > 1


@pytest.mark.parametrize("encoding", ["unet", "tokens", "unet_attention", "attention"])
def test_landcover_is_that_of_a_plain_loop(scene, models, encoding):
    job = landcover_job(scene, models / encoding)
    assert make_map(job) == []
    assert_landcover(job, read(scene))
    with rasterio.open(job.out) as dataset:
        assert dataset.colormap(1)[80] == (0, 100, 200, 255) and dataset.nodata == 0
        assert dataset.descriptions == ("land cover",) and "80 Permanent water bodies" in dataset.tags()["classes"]
        assert dataset.tags()["trained_on_synthetic"] == "true" and len(dataset.tags()["weights_sha256"]) == 64
    assert [path.name for path in scene.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("memory", [1, 400_000])
def test_stripes_leave_no_trace(scene, models, monkeypatch, memory):
    """As narrow as one window or two: every column crosses from stripe to stripe somewhere."""
    job = landcover_job(scene, models / "unet", batch=2, overlap_px=20)
    make_map(job)
    whole = read(job.out), read(job.confidence)
    monkeypatch.setattr(scene_map, "MEMORY", memory)
    made = []
    layout = scene_map.layout_of
    monkeypatch.setattr(scene_map, "layout_of", lambda *given: made.append(layout(*given)) or made[-1])
    make_map(job.changed(overwrite=True))
    assert len(made[0].stripes) > 2
    assert np.mean(read(job.out) != whole[0]) < 1e-3
    np.testing.assert_allclose(read(job.confidence).astype(int), whole[1].astype(int), atol=1)


@torch.inference_mode()
@pytest.mark.parametrize("block", [0, -1])
def test_attention_is_that_of_a_plain_loop_at_the_size_of_patches(scene, models, block):
    job = Job(
        scene=scene, out=scene.with_name("a.tif"), kind="attention", model=models / "backbone", block=block,
        window_px=32, **PLAIN,
    )  # fmt: skip
    make_map(job)
    wanted = plain_attention(load_vit(models / "backbone"), read(scene), block)
    np.testing.assert_allclose(read(job.out), wanted, rtol=1e-3, atol=1e-6)
    with rasterio.open(job.out) as dataset:
        assert dataset.shape == (19, 22) and dataset.transform == Affine(80, 0, ORIGIN[0], 0, -80, ORIGIN[1])
        assert dataset.descriptions == ("head 1", "head 2", "head 3") and np.isnan(dataset.nodata)
        assert dataset.tags()["block"] == f"{block % 2 + 1} of 2" and "even spread" in dataset.tags()["unit"]


@torch.inference_mode()
def test_attention_takes_a_scene_in_one_window_where_it_fits(scene, models):
    job = Job(scene=scene, out=scene.with_name("a.tif"), kind="attention", model=models / "backbone", **PLAIN)
    make_map(job)
    model, whole = load_vit(models / "backbone"), np.full((3, 152, 176), np.nan, np.float32)
    whole[:, :ROWS, :COLUMNS] = read(scene)
    (wanted,) = class_attention(model.network, torch.from_numpy(model.normalisation.apply(whole))[None])
    np.testing.assert_allclose(read(job.out), wanted[0], rtol=1e-5)


def windows_px(job):
    layout = scene_map.layout_of(job, *scene_map.opened(job))
    return layout.rows.window * layout.cell, layout.columns.window * layout.cell


def test_windows_are_large_for_attention_and_the_trained_tiles_for_land_cover(scene, models, monkeypatch):
    """A decoder that is given attention learnt from that of a tile, relative to the tile's patches."""
    for encoding in ("unet", "tokens", "unet_attention", "attention"):
        assert windows_px(landcover_job(scene, models / encoding)) == (32, 32)
    job = Job(scene=scene, out=scene.with_name("a.tif"), kind="attention", model=models / "backbone", **PLAIN)
    assert windows_px(job) == windows_px(job.changed(full_size=True)) == (152, 176)
    monkeypatch.setattr(products, "WINDOW_PX", 167)
    assert windows_px(job) == windows_px(job.changed(model=models / "unet_attention")) == (152, 160)
    assert windows_px(job.changed(window_px=64)) == (64, 64)


def test_attention_at_full_size_and_of_the_vit_in_a_segmenter(scene, models):
    job = Job(
        scene=scene, out=scene.with_name("a.tif"), kind="attention", model=models / "tokens", full_size=True, **PLAIN
    )
    small = job.changed(out=scene.with_name("b.tif"), full_size=False)
    for window, alike in ((None, 0.98), (64, 0.97)):  # the last windows lie on the patches' grid too
        for each in (job, small):
            make_map(each.changed(window_px=window, overwrite=True))
        full, cells = read(job.out), read(small.out)
        assert full.shape == (3, ROWS, COLUMNS)
        centres = full[:, :144, :168].reshape(3, 18, 8, 21, 8)[:, :, 3:5, :, 3:5].mean((2, 4))
        assert np.corrcoef(centres.ravel(), cells[:, :18, :21].ravel())[0, 1] > alike
    student = job.changed(out=scene.with_name("c.tif"), model=models / "backbone", network="student")
    make_map(student)
    assert not np.allclose(read(student.out), full)


@pytest.mark.parametrize(("kind", "passes"), [("unet", 1), ("backbone", 3)])
def test_each_pass_over_the_windows_shows_how_far_it_is(scene, models, kind, passes):
    seen = {}

    def track(counts, total, done, what):
        for count in counts:
            done += count
            seen[what] = done, total
            yield count

    job = landcover_job(scene, models / kind, window_px=64)
    make_map(job if kind == "unet" else job.changed(kind="attention", confidence=None), track)
    assert len(seen) == passes and all(done == total > 1 for done, total in seen.values())


@pytest.mark.parametrize("kind", ["unet", "tokens", "unet_attention", "backbone"])
def test_threads_change_no_bit(scene, models, kind):
    """Each takes whole batches with modules of its own: what one reads out of them, another does not see."""
    made = []
    for threads in (1, 2, 5):
        job = landcover_job(scene, models / kind, batch=1)
        if kind == "backbone":
            job = job.changed(kind="attention", confidence=None, window_px=32)
        job = job.changed(out=scene.with_name(f"{threads}.tif"), threads=threads, overwrite=True)
        before = torch.get_num_threads()
        make_map(job)
        assert torch.get_num_threads() == before
        made.append([path.read_bytes() for path in job.targets.values()])
    assert made[0] == made[1] == made[2]


def test_half_precision_gives_nearly_the_same_maps_and_says_so(scene, models):
    made = {"kind": "attention", "model": models / "backbone", "window_px": 32}
    full = Job(scene=scene, out=scene.with_name("full.tif"), **made, **PLAIN)
    half = full.changed(out=scene.with_name("half.tif"), precision="bfloat16", threads=2)
    make_map(full)
    make_map(half)
    assert 0 < np.abs(read(full.out) - read(half.out)).max() < 0.1 * read(full.out).max()
    for job in (full, half):
        with rasterio.open(job.out) as dataset:
            assert dataset.tags()["precision"] == job.precision
    with pytest.raises(SardinoError, match="--precision float32"):
        make_map(half.changed(device="mps", overwrite=True))


def test_a_convolutional_network_gives_what_it_gives_of_the_whole_scene(tmp_path, models):
    """Where windows overlap by twice its field of view, the blending takes nothing from their borders."""
    values = backscatter(160, 192)
    job = landcover_job(write_scene(tmp_path / "scene.tif", values), models / "unet", window_px=96, overlap_px=72)
    make_map(job)
    model = load_landcover(models / "unet")
    with torch.inference_mode():
        whole = model.network(torch.from_numpy(model.normalisation.apply(values))[None])[0].argmax(0).numpy()
    assert np.mean(read(job.out)[0] != np.array(WORLDCOVER.codes)[whole]) < 0.002


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        (UTM, Affine(10, 0, 500_003.7, 0, -10, 5_500_001.2)),
        ("EPSG:4326", Affine(1.4e-4, 0, 3.1234567, 0, -9e-5, 49.7654321)),
    ],
)
def test_a_pixel_lies_where_it_lay(tmp_path, models, crs, transform):
    """Of both maps, in the units of the scene's CRS and seen from another: to a hundredth of a pixel."""
    scene = write_scene(tmp_path / "scene.tif", backscatter(60, 70), crs=crs, transform=transform)
    job = landcover_job(scene, models / "unet")
    make_map(job)
    attention = Job(scene=scene, out=tmp_path / "a.tif", kind="attention", model=models / "backbone", **PLAIN)
    make_map(attention)
    there = Transformer.from_crs(crs, "EPSG:3035", always_xy=True)
    for path, cell in ((job.out, 1), (job.confidence, 1), (attention.out, 8)):
        assert cog_validate(path, strict=True, quiet=True)[0]
        with rasterio.open(path) as made:
            assert made.crs == rasterio.crs.CRS.from_string(crs)
            for row, column in ((0, 0), (40, 64), (56, 8)):
                x, y = transform @ (column, row)
                x_made, y_made = made.transform @ (column / cell, row / cell)
                xs, ys = there.transform([x, x_made], [y, y_made])
                assert np.hypot(xs[1] - xs[0], ys[1] - ys[0]) < 0.1


def test_large_maps_have_overviews(tmp_path, models):
    scene = write_scene(tmp_path / "scene.tif", backscatter(560, 600))
    make_map(job := landcover_job(scene, models / "unet", window_px=96, overlap_px=8))
    assert cog_info(job.out).Profile.ColorMap and cog_info(job.out).COG
    assert len(cog_info(job.out).IFD) > 1


def test_missing_pixels_are_nodata_and_windows_without_any_are_not_computed(tmp_path, models, monkeypatch):
    values = backscatter(130, 140)
    values[:, :70, :80] = np.nan  # a corner that holds whole windows
    values[0, 100:104, 100:120] = np.nan  # one channel alone: the others still tell
    values[:, 111, 33] = np.nan
    scene = write_scene(tmp_path / "scene.tif", values)
    job = landcover_job(scene, models / "unet")
    calls = []
    predict = LandCoverMap.predict
    monkeypatch.setattr(LandCoverMap, "predict", lambda self, x: calls.append(len(x)) or predict(self, x))
    make_map(job)
    monkeypatch.undo()
    assert sum(calls) < 36
    assert_landcover(job, values)
    make_map(
        attention := Job(
            scene=scene, out=tmp_path / "a.tif", kind="attention", model=models / "backbone", window_px=32, **PLAIN
        )
    )
    maps = read(attention.out)
    assert np.isnan(maps[:, :8, :10]).all() and np.isfinite(maps[:, 9:]).all() and np.isfinite(maps[:, :, 10:]).all()


@pytest.mark.parametrize("shape", [(20, 27), (20, 100), (33, 32), (32, 32)])
def test_a_scene_smaller_than_a_window_is_padded(tmp_path, models, shape):
    values = backscatter(*shape)
    job = landcover_job(write_scene(tmp_path / "scene.tif", values), models / "tokens")
    make_map(job)
    assert_landcover(job, values)


@pytest.mark.parametrize("kind", ["landcover", "attention"])
def test_a_scene_without_a_valid_pixel_is_refused_and_leaves_nothing(tmp_path, models, kind):
    scene = write_scene(tmp_path / "s.tif", np.full((3, 50, 60), np.nan, np.float32))
    job = Job(scene=scene, out=tmp_path / "map.tif", kind=kind, model=models / "tokens", device="cpu")
    with pytest.raises(SardinoError, match=r"s\.tif has no valid pixel in the model's channels"):
        make_map(job)
    assert [path.name for path in tmp_path.iterdir()] == ["s.tif"]


def test_what_the_channels_hold_is_told_once_a_pixel_however_windows_lie(tmp_path, models, monkeypatch):
    monkeypatch.setattr(scene_map, "MEMORY", 1)
    values = backscatter(70, 300)
    values[0, :7] = np.nan
    job, ranges = landcover_job(write_scene(tmp_path / "s.tif", values), models / "unet", batch=1), ValueRanges()
    assert len(scene_map.layout_of(job, *scene_map.opened(job)).stripes) > 1
    make_map(job, ranges=ranges)
    whole = ValueRanges()
    for name, plane in zip(ranges.rows, values, strict=True):
        whole.add(name, plane)
    assert ranges.rows == whole.rows and ranges.lines("dB")[0].startswith(f"{next(iter(ranges.rows))}: 90 % valid, ")
