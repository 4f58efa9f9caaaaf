"""Libraries find a user and a home where the system has none, and what was borrowed is given back."""

import getpass
import os
import pwd
from pathlib import Path

import pytest

from sardino.errors import SardinoError
from sardino.study.home import BORROWED, CACHES, home, settled, user

NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*NAMES, *CACHES, BORROWED):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture()
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """An id without a name and a home."""

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)


def test_where_all_is_there_nothing_changes() -> None:
    before = dict(os.environ)
    with settled():
        assert dict(os.environ) == before


def test_an_id_without_a_name_is_given_one(nobody: None, tmp_path: Path) -> None:
    assert user() is None and home() == tmp_path
    with settled():
        assert getpass.getuser() == f"user{os.getuid()}" and BORROWED not in os.environ
    assert user() is None


def test_without_a_home_there_is_one_until_the_end(nobody: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    assert home() is None
    before = dict(os.environ)
    with settled():
        folder = Path(os.environ[BORROWED])
        assert Path.home() == folder == home() and not any(folder.iterdir())
        assert all(Path(os.environ[name]).parent == folder for name in CACHES)
        with settled():  # a command that is started meanwhile
            assert os.environ[BORROWED] == str(folder)
    assert dict(os.environ) == before and not folder.exists()


def test_a_home_that_can_only_be_read_stays_and_caches_go_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    can = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path and can(path, mode))
    monkeypatch.setenv(CACHES[0], "the user's own")
    with settled():
        assert Path.home() == tmp_path
        assert os.environ[CACHES[0]] == "the user's own" and os.environ[CACHES[1]].startswith(os.environ[BORROWED])


def test_no_temporary_folder_either_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "gone"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: (_ for _ in ()).throw(FileNotFoundError(2, "none usable")))
    with pytest.raises(SardinoError, match="set TMPDIR"), settled():
        pass
