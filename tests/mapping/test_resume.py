"""A map that was interrupted goes on where it stopped and comes out the same; nothing half-written is ever seen."""

import errno
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made import backbone, backscatter, read, segmenter, write_scene

from sardino.data.rasters.geotiff import Canvas
from sardino.errors import SardinoError
from sardino.mapping import resume, scene_map
from sardino.mapping.job import Job
from sardino.mapping.scene_map import make_map

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A scene of several stripes, models, and the maps of a run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    scene = write_scene(folder / "scene.tif", backscatter(150, 171))
    segmenter(folder / "unet")
    segmenter(folder / "other", seed=1)
    backbone(folder / "backbone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene_map, "MEMORY", 400_000)
        make_map(landcover(scene, folder))
        make_map(attention(scene, folder))
        make_map(embedding(scene, folder))
    return scene


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setattr(scene_map, "MEMORY", 400_000)
    monkeypatch.setattr(resume, "EVERY_S", 0.0)  # a whole run takes less than a second


def landcover(scene, out, **changed):
    job = Job(
        scene=scene, out=out / "map.tif", kind="landcover", model=scene.parent / "unet", confidence=out / "sure.tif",
        device="cpu", threads=1, batch=2, overlap_px=20,
    )  # fmt: skip
    return job.changed(**changed)


def attention(scene, out):
    return Job(
        scene=scene,
        out=out / "att.tif",
        kind="attention",
        model=scene.parent / "backbone",
        device="cpu",
        threads=1,
        batch=2,
        window_px=32,
    )


def embedding(scene, out):
    return attention(scene, out).changed(kind="embedding", out=out / "tokens.tif", window_px=None, dtype="int8")


class Interruption(Exception):
    """Somebody pressed Ctrl-C."""


def stop_after(count, where=""):
    def track(counts, total, done, what):
        for number, each in enumerate(counts):
            yield each
            if what == where and number >= count:
                raise Interruption

    return track


def assert_same(scene, out, names):
    for name in names:
        assert (out / name).read_bytes() == (scene.parent / name).read_bytes()
    assert sorted(path.name for path in out.iterdir()) == sorted(names)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", [landcover, attention, embedding])
def test_interrupted_at_random_moments_it_comes_out_byte_for_byte(whole, tmp_path, kind, seed):
    moments, job, stops, reached = random.Random(seed), kind(whole, tmp_path), 0, []
    while True:
        try:
            make_map(job.changed(threads=moments.choice([1, 3])), stop_after(moments.randrange(2, 9)))
            break
        except Interruption:
            stops += 1
            assert not job.out.exists()
            reached.append(json.loads((tmp_path / f".{job.out.name}.unfinished/journal.json").read_bytes())["done"])
    assert stops > 2 and reached == sorted(reached) and reached[-1] > [0, 0]
    assert_same(whole, tmp_path, ["map.tif", "sure.tif"] if kind is landcover else [job.out.name])


def test_interrupted_while_windows_are_asked_or_blended_it_comes_out_byte_for_byte(whole, tmp_path):
    job = attention(whole, tmp_path)
    for what in ("one query asks", "aligned and blended"):
        with pytest.raises(Interruption):
            make_map(job, stop_after(3, what))
    make_map(job)
    assert_same(whole, tmp_path, ["att.tif"])


def test_a_map_is_made_by_one_process_at_a_time(whole, tmp_path):
    job, refused = landcover(whole, tmp_path), []

    def track(counts, total, done, what):
        for each in counts:
            if not refused:
                for again in (job, job.changed(overwrite=True)):
                    with pytest.raises(SardinoError, match=r"another process is making .*map.tif") as fault:
                        make_map(again)
                    refused.append(fault)
            yield each

    make_map(job, track)
    assert len(refused) == 2
    assert_same(whole, tmp_path, ["map.tif", "sure.tif"])


def test_a_place_that_cannot_be_written_is_told(whole, tmp_path):
    (tmp_path / ".map.tif.unfinished").write_text("a file where the folder goes")
    with pytest.raises(SardinoError, match=r"unfinished cannot be .*choose another name"):
        make_map(landcover(whole, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [".map.tif.unfinished"]


def test_killed_between_its_two_files_it_makes_the_second(whole, tmp_path, monkeypatch):
    job, made = landcover(whole, tmp_path), []
    finish = resume.PartialMap.finish

    def one_only(self, name, *given):
        if made:
            raise Interruption
        made.append(name)
        finish(self, name, *given)

    monkeypatch.setattr(resume.PartialMap, "finish", one_only)
    with pytest.raises(Interruption):
        make_map(job)
    assert job.confidence.exists() and not job.out.exists()
    monkeypatch.undo()
    computed = []
    make_map(job, lambda counts, total, done, what: computed.append(total - done) or counts)
    assert computed == [0]
    assert_same(whole, tmp_path, ["map.tif", "sure.tif"])


def test_sigkill_at_any_moment_is_survived(whole, tmp_path):
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from sardino.mapping import resume, scene_map
scene_map.MEMORY, resume.EVERY_S = 400_000, 0.05
from test_resume import landcover
import time
def slow(counts, total, done, what):
    print("begun", flush=True)
    for count in counts:
        time.sleep(0.05)
        yield count
scene_map.make_map(landcover(Path({str(whole)!r}), Path({str(tmp_path)!r})), slow)
"""
    for wait in (0.6, 0.2):
        child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline() == "begun\n"
        time.sleep(wait)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        child.stdout.close()
        assert not (tmp_path / "map.tif").exists()
    make_map(landcover(whole, tmp_path))
    assert_same(whole, tmp_path, ["map.tif", "sure.tif"])


def test_a_journal_of_another_scene_model_or_option_is_not_continued(whole, tmp_path):
    with pytest.raises(Interruption):
        make_map(landcover(whole, tmp_path), stop_after(12))
    other = write_scene(tmp_path / "scene.tif", backscatter(150, 171, seed=1))
    for changed, differs in (
        ({"scene": other}, "scene"),
        ({"model": whole.parent / "other"}, "model"),
        ({"overlap_px": 8}, "windows"),
        ({"confidence": None}, "product"),
    ):
        with pytest.raises(SardinoError, match=f"unfinished map of another {differs}: .*--overwrite"):
            make_map(landcover(whole, tmp_path).changed(**changed))
    make_map(landcover(whole, tmp_path, model=whole.parent / "other", overwrite=True))
    assert (read(tmp_path / "map.tif") != read(whole.parent / "map.tif")).mean() > 0.1


def test_another_batch_goes_on_with_the_stripes_it_finds(whole, tmp_path):
    with pytest.raises(Interruption):
        make_map(landcover(whole, tmp_path), stop_after(30))
    make_map(landcover(whole, tmp_path, batch=7))
    assert (read(tmp_path / "map.tif") != read(whole.parent / "map.tif")).mean() < 1e-3


def test_damaged_leftovers_are_thrown_away(whole, tmp_path):
    folder = tmp_path / ".map.tif.unfinished"
    for damage in ("journal.json", "landcover.raw"):
        with pytest.raises(Interruption):
            make_map(landcover(whole, tmp_path), stop_after(12))
        os.truncate(folder / damage, 10)
        make_map(landcover(whole, tmp_path, overwrite=False))
        assert_same(whole, tmp_path, ["map.tif", "sure.tif"])
        (tmp_path / "map.tif").unlink()
        (tmp_path / "sure.tif").unlink()


def test_a_full_disk_is_told_and_can_be_emptied(whole, tmp_path, monkeypatch):
    write, written = resume.RawRaster.write, []

    def full(self, *given):
        written.append(self)
        if len(written) > 9:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, *given)

    monkeypatch.setattr(resume.RawRaster, "write", full)
    with pytest.raises(SardinoError, match=r"unfinished cannot be .*make room on its disk, and run the same command"):
        make_map(landcover(whole, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [".map.tif.unfinished"]
    monkeypatch.undo()
    monkeypatch.setattr(scene_map, "MEMORY", 400_000)
    make_map(landcover(whole, tmp_path))
    assert_same(whole, tmp_path, ["map.tif", "sure.tif"])


def test_a_disk_that_fills_while_the_geotiff_is_made_leaves_none(whole, tmp_path):
    """The real thing: the system itself refuses files over a size, which the raw raster has not and GDAL's has."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    job = attention(whole, tmp_path).changed(batch=8)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
        with pytest.raises(SardinoError, match=r"cannot be (read or )?written"):
            make_map(job)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert [path.name for path in tmp_path.iterdir()] == [".att.tif.unfinished"]
    make_map(job)
    assert (tmp_path / "att.tif").exists() and not (tmp_path / ".att.tif.unfinished").exists()


@pytest.mark.parametrize("kind", [landcover, attention])
def test_a_geotiff_that_holds_another_value_somewhere_is_not_taken(whole, tmp_path, monkeypatch, kind):
    fill = Canvas.fill

    def flawed(self, values, window):
        values = values.copy()
        values[0, 5, 5] += 1
        fill(self, values, window)

    monkeypatch.setattr(Canvas, "fill", flawed)
    with pytest.raises(SardinoError, match=r"make room on its disk, and run the same command"):
        make_map(kind(whole, tmp_path))
    assert [path.suffix for path in tmp_path.iterdir()] == [".unfinished"]


def test_a_map_without_room_is_refused_before_it_begins(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(resume.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(SardinoError, match=r"needs up to .* GB beside .* free some disk, or write elsewhere"):
        make_map(landcover(whole, tmp_path))
    assert list(tmp_path.iterdir()) == []
