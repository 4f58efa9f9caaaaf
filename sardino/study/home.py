"""A home for the libraries where the user has none: in a container, under an id without a name, on a read-only disk."""

import getpass
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sardino.errors import SardinoError

BORROWED = "SARDINO_HOME"  # environment variable: the temporary folder, here and in the processes that are started
CACHES = ("XDG_CACHE_HOME", "MPLCONFIGDIR", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")


def user() -> str | None:
    """The user's name; None for an id that the system has no name for."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


def home() -> Path | None:
    """The user's folder; None where there is none that can be written."""
    try:
        folder = Path.home()
    except RuntimeError:
        return None
    return folder if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK) else None


@contextmanager
def settled() -> Iterator[None]:
    """While a command runs, give libraries a user's name, and a temporary folder for what a home cannot hold.

    A home that can only be read keeps what is read there, such as credentials: caches alone go elsewhere.
    """
    if BORROWED in os.environ or (user() and home()):
        yield
        return
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise SardinoError("no folder for temporary files can be written: set TMPDIR to one that can") from error
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="sardino-home-", ignore_cleanup_errors=True) as folder:
        os.environ["LOGNAME"] = user() or f"user{os.getuid()}"
        if home() is None:
            os.environ[BORROWED] = folder
            for name in CACHES:
                os.environ.setdefault(name, str(Path(folder) / name.lower()))
            if not Path(os.path.expanduser("~")).is_dir():
                os.environ["HOME"] = folder
        try:
            yield
        finally:
            os.environ.clear()
            os.environ |= before
