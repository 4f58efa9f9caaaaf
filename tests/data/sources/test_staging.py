"""A staging folder outlives a kill at either end of its life: while it is made, and while it is removed."""

from pathlib import Path
from typing import Any

import pytest
from made_source import MadeSource

from sardino.data.sources.ingest import PLAN, Staging
from sardino.errors import SardinoError


class Killed(BaseException):
    """Stands for SIGKILL: nothing may clean up after it."""


def killed(*_: Any, **__: Any) -> None:
    raise Killed


def test_killed_before_its_plan_has_its_name_it_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("sardino.files.os.replace", killed)
        with pytest.raises(Killed):
            Staging.open(tmp_path / "staging", MadeSource())
    assert [path.name for path in (tmp_path / "staging").iterdir()] != [PLAN]
    assert Staging.open(tmp_path / "staging", MadeSource()).folder.joinpath(PLAN).is_file()


@pytest.mark.parametrize("moment", range(6))
def test_killed_at_any_moment_of_its_removal_it_is_removed_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    folder = Staging.open(tmp_path / "staging", MadeSource())
    for name in ("a", "b"):
        folder.write(name, b"pixels", {})
    unlink, rmdir, calls = Path.unlink, Path.rmdir, iter(range(100))

    def until(action: Any) -> Any:
        return lambda path, *args: killed() if next(calls) == moment else action(path, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", until(unlink))
        patch.setattr(Path, "rmdir", until(rmdir))
        with pytest.raises(Killed):
            folder.remove()
    Staging.open(tmp_path / "staging", MadeSource()).remove()
    assert not (tmp_path / "staging").exists()


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "staging").mkdir()
    (tmp_path / "staging" / ".notes.partial").write_text("half a note")
    (tmp_path / "staging" / "notes").write_text("a note")
    with pytest.raises(SardinoError, match="no staging folder"):
        Staging.open(tmp_path / "staging", MadeSource())
    assert (tmp_path / "staging" / "notes").read_text() == "a note"
