"""Files as people's editors and file systems leave them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sardino.errors import SardinoError
from sardino.files import files_in, read_text, read_toml

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
