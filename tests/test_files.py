"""A file appears whole or not at all; a disk that refuses it is a sentence; texts and folders as systems leave them."""

import errno
import os
import resource
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rasterio.errors import RasterioIOError
from safetensors import SafetensorError

from sardino.errors import SardinoError, of_the_system
from sardino.files import files_in, read_text, read_toml, sha256_of, whole, write_bytes, write_text

CODES = sorted(errno.errorcode)


@given(st.sampled_from(CODES), st.sampled_from([None, "a [1] b/c.tif"]), st.sampled_from([None, "read.tif"]))
def test_whatever_the_system_says_is_one_line_with_the_file(code: int, path: str | None, named: str | None) -> None:
    said = str(of_the_system(OSError(code, os.strerror(code), named), path))
    assert "\n" not in said and ": " in said and os.strerror(code) in said and "Errno" not in said
    assert (path or named or "") in said


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), "make room"),
        (RasterioIOError("m.tif: Permission denied"), "change its owner"),
        (RuntimeError("cannot open: Read-only file system"), "a disk that can be written"),
        (OSError("an answer of a library's own"), "see that it is there"),
    ],
)
def test_a_library_s_word_for_it_is_the_same_fault(tmp_path: Path, error: Exception, remedy: str) -> None:
    path = write_text("old", tmp_path / "m [1].bin")
    with pytest.raises(SardinoError, match=remedy) as told, whole(path) as partial:
        partial.write_text("half")
        raise error
    assert str(told.value).startswith(f"{path} cannot be") and told.value.__cause__ is error
    assert path.read_text() == "old" and os.listdir(tmp_path) == [path.name]


def test_another_fault_stays_what_it_is(tmp_path: Path) -> None:
    for error in (ValueError("values do not fit"), SardinoError("Permission denied: ask the hub for access")):
        with pytest.raises(type(error), match=str(error)), whole(tmp_path / "m.bin"):
            raise error


def test_a_file_that_is_read_meanwhile_is_the_one_that_is_named(tmp_path: Path) -> None:
    with pytest.raises(SardinoError, match=r"gone\.bin cannot be .*check the name"), whole(tmp_path / "m.bin"):
        (tmp_path / "gone.bin").read_bytes()


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    write_text("", tmp_path / "file")
    with pytest.raises(SardinoError, match=r"file.* cannot be read or written \(.*\): choose another name"):
        write_text("", tmp_path / "file" / "m.json")


def test_a_disk_that_takes_no_more_leaves_nothing(tmp_path: Path) -> None:
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        with pytest.raises(SardinoError, match=r"m\.bin cannot be .*make room"):
            write_bytes(bytes(2000), tmp_path / "m.bin")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert os.listdir(tmp_path) == []


@given(st.binary(max_size=100))
def test_bytes_come_back(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = write_bytes(content, tmp_path_factory.mktemp("whole") / "new" / "b [x].bin")
    assert path.read_bytes() == content and len(sha256_of(path)) == 64


words = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=30)


@given(text=words.filter(lambda text: not text.startswith("\ufeff")), marked=st.booleans())
def test_a_text_is_read_with_and_without_a_byte_order_mark(tmp_path_factory, text: str, marked: bool) -> None:
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_bytes(b"\xef\xbb\xbf" * marked + text.encode())
    assert read_text(path) == text


@pytest.mark.parametrize(("content", "said"), [("name = 'ä'".encode("utf-16"), "as UTF-8"), (b"name = [", "not valid")])
def test_other_text_and_broken_toml_are_refused_by_file(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "odd.toml"
    path.write_bytes(content)
    with pytest.raises(SardinoError, match=rf"odd\.toml.*{said}"):
        read_toml(path)


def test_files_are_found_without_those_that_a_system_hides(tmp_path: Path) -> None:
    for name in ("b.tif", "a/c.tif", "._b.tif", "a/._c.tif", ".b.1.partial.tif", ".Trashes/d.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.tif").mkdir()
    assert files_in(tmp_path, "**/*.tif") == [tmp_path / "a" / "c.tif", tmp_path / "b.tif"]
    assert files_in(tmp_path / "a", "*.tif") == [tmp_path / "a" / "c.tif"]
    hidden = tmp_path / ".Trashes"
    assert files_in(hidden, "*.tif") == [hidden / "d.tif"]  # who names a hidden folder means it
