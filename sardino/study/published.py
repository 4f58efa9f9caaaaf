"""What others published of a profile: kept when this folder's own runs write over it, to be compared with."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sardino.files import write_bytes
from sardino.study.workspace import Workspace


@contextmanager
def setting_aside(space: Workspace, names: Sequence[str]) -> Iterator[None]:
    """While a run writes these files of results/<profile>/: those of others are kept, then its own are noted."""
    for name in names:
        if (there := published_file(space, name)) == space.results / name:
            write_bytes(there.read_bytes(), space.build / "published" / name)
    yield
    for name in names:
        write_bytes((space.results / name).read_bytes(), own_file(space, name))


def own_file(space: Workspace, name: str) -> Path:
    """Where a copy lies of a file that a run here has published."""
    return space.build / "made" / name


def published_file(space: Workspace, name: str) -> Path | None:
    """A file of results/<profile>/ as others published it; None where nobody did.

    It is another's where it is not as a run here left it: it came with a checkout or an archive, or was updated since.
    """
    there, mine, aside = space.results / name, own_file(space, name), space.build / "published" / name
    if there.is_file() and not (mine.is_file() and mine.read_bytes() == there.read_bytes()):
        return there
    return aside if aside.is_file() else None
