"""Packages: the same bytes each time, whole when unpacked, and no archive can write elsewhere or blow up."""

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sardino.data.rasters.share_dataset import Sharing, _harmless, card_of, pack_dataset, readme_of, unpack_dataset
from sardino.data.tiles.landcover import WORLDCOVER
from sardino.data.tiles.store import TileStore
from sardino.data.tiles.table import tile_table, write_table
from sardino.data.tiles.tile import Chip, tile_grid
from sardino.data.tiles.write_store import write_store
from sardino.errors import SardinoError

SIZE = 16
TILES = list(tile_grid("north", "EPSG:32631", (500_000, 5_500_000), SIZE, 10.0, 3, 1))
SHARING = Sharing("Three tiles", "CC-BY-4.0", "Made for a test", "Read with care.")


def chip(number: int) -> Chip:
    db = np.random.default_rng(number).normal(-12, 3, (2, SIZE, SIZE)).astype(np.float32)
    return Chip(db, np.full((SIZE, SIZE), number, np.uint8))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TileStore:
    return write_store(
        tmp_path_factory.mktemp("data") / "tiles", TILES, ["train", "val", "test"], chip, channels=["vv", "vh"],
        legend=WORLDCOVER, product="test product", synthetic=True, metadata={"looks": 4.4}, bands=[0, 3, 4],
    )  # fmt: skip


@pytest.fixture(scope="module")
def archive(store: TileStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("package") / "three.tar"
    pack_dataset(store, path, SHARING)
    return path


def test_a_package_comes_back_whole(store: TileStore, archive: Path, tmp_path: Path) -> None:
    card = unpack_dataset(archive, tmp_path / "out")
    again = TileStore.open(tmp_path / "out" / "store")
    again.verify()
    assert again.fingerprint == store.fingerprint == card["fingerprint"]
    assert card == card_of(store, SHARING)
    written = {p.relative_to(store.path): p.read_bytes() for p in store.path.rglob("*") if p.is_file()}
    assert {p.relative_to(again.path): p.read_bytes() for p in again.path.rglob("*") if p.is_file()} == written
    for line in (tmp_path / "out" / "checksums.sha256").read_text().splitlines():
        digest, _, name = line.partition("  ")
        assert hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == digest


def test_the_same_store_makes_the_same_bytes(store: TileStore, archive: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(store.path, tmp_path / "elsewhere"))
    (copied / "tiles.zarr" / "._zarr.json").write_bytes(b"\0\5\x16\7")  # as a Mac's disk holds it
    pack_dataset(TileStore.open(copied), tmp_path / "three.tar", SHARING)
    assert (tmp_path / "three.tar").read_bytes() == archive.read_bytes()


def test_the_card_says_what_a_user_must_know(store: TileStore) -> None:
    page = readme_of(card_of(store, SHARING), SHARING.notes)
    for said in ("CC-BY-4.0", "Made for a test", "vv, vh", "dB", "1 train, 1 val, 1 test", store.fingerprint):
        assert said in page
    assert "simulated" in page and "Tree cover" in page and page.rstrip().endswith("Read with care.")
    json.dumps(card_of(store, SHARING), allow_nan=False)


def test_a_table_goes_along_if_it_knows_every_tile(store: TileStore, tmp_path: Path) -> None:
    write_table(tile_table(TILES), tmp_path / "tiles.geojson")
    write_table(tile_table(TILES[:2]), tmp_path / "fewer.parquet")
    added = Sharing("t", "l", "s", files=[tmp_path / "tiles.geojson"])
    pack_dataset(store, tmp_path / "a.tar", added)
    unpack_dataset(tmp_path / "a.tar", tmp_path / "a")
    assert (tmp_path / "a" / "tiles.geojson").read_bytes() == (tmp_path / "tiles.geojson").read_bytes()
    with pytest.raises(SardinoError, match="lacks 1 tiles of the store"):
        pack_dataset(store, tmp_path / "b.tar", Sharing("t", "l", "s", files=[tmp_path / "fewer.parquet"]))
    with pytest.raises(SardinoError, match=r"has a README.md already"):
        readme = tmp_path / "README.md"
        readme.touch()
        pack_dataset(store, tmp_path / "b.tar", Sharing("t", "l", "s", files=[readme]))
    assert not (tmp_path / "b.tar").exists() and not list(tmp_path.glob("*.partial"))


def test_what_cannot_be_shared_is_refused(store: TileStore, archive: Path, tmp_path: Path) -> None:
    with pytest.raises(SardinoError, match="without its licence"):
        Sharing("t", " ", "s")
    with pytest.raises(SardinoError, match="exists already"):
        pack_dataset(store, archive, SHARING)
    with pytest.raises(SardinoError, match=r"is a \.tar file"):
        pack_dataset(store, tmp_path / "a.zip", SHARING)
    damaged = Path(shutil.copytree(store.path, tmp_path / "damaged"))
    victim = max((p for p in damaged.rglob("*") if p.is_file()), key=lambda p: (p.stat().st_size, p))
    if victim.suffix != ".parquet":
        victim.write_bytes(bytes(victim.stat().st_size))
        with pytest.raises(SardinoError, match="changed after it was written"):
            pack_dataset(TileStore.open(damaged), tmp_path / "a.tar", SHARING)
    linked = Path(shutil.copytree(store.path, tmp_path / "linked"))
    (linked / "more").symlink_to(tmp_path)
    with pytest.raises(SardinoError, match="is a link"):
        pack_dataset(TileStore.open(linked), tmp_path / "a.tar", SHARING)


Change = Callable[[tarfile.TarFile], None]


def changed(archive: Path, out: Path, change: Change | None = None, replace: dict[str, bytes] | None = None) -> Path:
    """A copy of an archive with entries replaced, and whatever `change` adds."""
    with tarfile.open(archive) as old, tarfile.open(out, "w") as new:
        for member in old:
            source = old.extractfile(member)
            content = (replace or {}).get(member.name, source.read() if source else b"")
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
        if change:
            change(new)
    return out


def entry(name: str, content: bytes = b"evil", **attributes: object) -> Change:
    def add(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        for key, value in attributes.items():
            setattr(info, key, value)
        tar.addfile(info, io.BytesIO(content))

    return add


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (entry("../outside"), "leads outside"),
        (entry("three/../../outside"), "leads outside"),
        (entry("/tmp/outside"), "leads outside"),
        (entry("three/a\\..\\..\\outside"), "leads outside"),
        (entry("C:/outside"), "leads outside"),
        (entry("three/\u202etxt.exe"), "leads outside"),
        (entry("outside"), "leads outside"),
        (entry("three/link", b"", type=tarfile.SYMTYPE, linkname="/etc"), "no plain file"),
        (entry("three/link", b"", type=tarfile.LNKTYPE, linkname="three/card.json"), "no plain file"),
        (entry("three/pipe", b"", type=tarfile.FIFOTYPE), "no plain file"),
        (entry("three/disk", b"", type=tarfile.BLKTYPE), "no plain file"),
        (entry("three/tty", b"", type=tarfile.CHRTYPE), "no plain file"),
        (entry("../dir", b"", type=tarfile.DIRTYPE), "no plain file"),
        (entry("three/card.json"), "twice"),
        (entry("three/CARD.JSON"), "twice"),
        (entry("three/more"), "do not list the same files: more"),
        (entry("other/more"), "no package of sardino"),
        (entry("three/card.json/more"), "do not list"),
    ],
)
def test_a_foreign_entry_is_refused_and_nothing_is_written(
    archive: Path, tmp_path: Path, change: Change, sentence: str
) -> None:
    evil = changed(archive, tmp_path / "evil.tar", change)
    (tmp_path / "in").mkdir()
    with pytest.raises(SardinoError, match=sentence):
        unpack_dataset(evil, tmp_path / "in" / "out")
    assert list((tmp_path / "in").iterdir()) == [] and {p.name for p in tmp_path.iterdir()} == {"evil.tar", "in"}


def test_a_wrong_checksum_is_refused(archive: Path, tmp_path: Path) -> None:
    evil = changed(archive, tmp_path / "evil.tar", replace={"three/README.md": b"# Free money"})
    with pytest.raises(SardinoError, match=r"README.md does not match its checksum"):
        unpack_dataset(evil, tmp_path / "out")
    assert {p.name for p in tmp_path.iterdir()} == {"evil.tar"}


def test_a_card_of_another_store_is_refused(archive: Path, tmp_path: Path) -> None:
    with tarfile.open(archive) as tar:
        card = json.load(tar.extractfile("three/card.json"))  # type: ignore[arg-type]
        sums = tar.extractfile("three/checksums.sha256").read().decode()  # type: ignore[union-attr]
        old = hashlib.sha256(tar.extractfile("three/card.json").read()).hexdigest()  # type: ignore[union-attr]
    text = json.dumps(card | {"fingerprint": "0" * 64}).encode()
    replaced = {
        "three/card.json": text,
        "three/checksums.sha256": sums.replace(old, hashlib.sha256(text).hexdigest()).encode(),
    }
    evil = changed(archive, tmp_path / "evil.tar", replace=replaced)
    with pytest.raises(SardinoError, match="its card is of another store"):
        unpack_dataset(evil, tmp_path / "out")
    foreign = changed(archive, tmp_path / "foreign.tar", replace={"three/card.json": b"[]"})
    with pytest.raises(SardinoError, match="of another kind"):
        unpack_dataset(foreign, tmp_path / "out")
    newer = changed(
        archive, tmp_path / "newer.tar", replace={"three/card.json": json.dumps(card | {"version": 9}).encode()}
    )
    with pytest.raises(SardinoError, match="package version 9"):
        unpack_dataset(newer, tmp_path / "out")


def test_size_bombs_are_refused(archive: Path, tmp_path: Path) -> None:
    # A sparse file claims 8 GB and stores none of them.
    bomb = tmp_path / "sparse.tar"
    headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "three/x",
        "GNU.sparse.realsize": "8589934592",
    }
    content = b"1\n0\n0\n".ljust(512, b"\0")
    with tarfile.open(bomb, "w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("three/x")
        info.size, info.pax_headers = len(content), headers
        tar.addfile(info, io.BytesIO(content))
    with pytest.raises(SardinoError, match="no plain file"):
        unpack_dataset(bomb, tmp_path / "out")
    # A compressed archive may hold any number of zeros.
    packed = tmp_path / "packed.tar"
    with tarfile.open(packed, "w:gz") as tar:
        entry("three/zeros", bytes(10_000_000))(tar)
    with pytest.raises(SardinoError, match="no package, or damaged"):
        unpack_dataset(packed, tmp_path / "out")
    # A header may claim more than follows.
    liar = tmp_path / "liar.tar"
    info = tarfile.TarInfo("three/card.json")
    info.size = 1 << 40
    liar.write_bytes(info.tobuf() + bytes(10240))
    with pytest.raises(SardinoError, match="more than its own"):
        unpack_dataset(liar, tmp_path / "out")


def test_too_little_room_is_told_before_anything_is_written(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil._ntuple_diskusage(10, 10, 0)  # type: ignore[attr-defined]
    monkeypatch.setattr("sardino.data.rasters.share_dataset.shutil.disk_usage", lambda _: full)
    with pytest.raises(SardinoError, match=r"GB left"):
        unpack_dataset(archive, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_damaged_archives_and_taken_folders_are_refused(archive: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.tar"
    short.write_bytes(archive.read_bytes()[:9000])
    with pytest.raises(SardinoError):
        unpack_dataset(short, tmp_path / "out")
    with pytest.raises(SardinoError, match="there is no package"):
        unpack_dataset(tmp_path / "absent.tar", tmp_path / "out")
    (tmp_path / "taken").mkdir()
    with pytest.raises(SardinoError, match="exists already"):
        unpack_dataset(archive, tmp_path / "taken")

    def stop(names):
        yield next(iter(names))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack_dataset(archive, tmp_path / "out", progress=stop)
    assert {p.name for p in tmp_path.iterdir()} == {"short.tar", "taken"}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_damaged_byte_goes_unnoticed_or_leaves_anything(archive: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(archive.read_bytes())
    headers = [place for place in range(0, len(content), 512) if content[place + 257 : place + 262] == b"ustar"]
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.sampled_from([*headers, *range(0, len(content), 4096)]))
        content[start + data.draw(st.integers(0, 511))] ^= data.draw(st.integers(1, 255))
    damaged = tmp_path / "damaged.tar"
    damaged.write_bytes(content[: data.draw(st.integers(len(content) // 2, 2 * len(content)))])
    try:
        unpack_dataset(damaged, tmp_path / "out")
    except SardinoError:
        pass
    else:  # the byte was one of a header that says nothing of the content, or of padding
        TileStore.open(tmp_path / "out" / "store").verify()
        shutil.rmtree(tmp_path / "out")
    assert list(tmp_path.iterdir()) == [damaged]


@given(st.lists(st.sampled_from(["a", "b.tif", "..", ".", "", "c d", "é"]), min_size=1, max_size=5))
def test_a_harmless_name_stays_below_its_folder(parts: list[str]) -> None:
    name = "/".join(parts)
    if _harmless(name) and name:
        assert (Path("/base") / name).resolve().is_relative_to("/base") and not name.startswith("/")
