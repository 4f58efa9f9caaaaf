"""The exceptions that end a command with a sentence instead of a traceback, and the first line of others."""

import errno
import os

_ROOM = "make room on its disk, and run the same command again"
_RIGHTS = "change its owner or mode, or choose another place"
_NAME = "choose another name"
_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _ROOM),
    **dict.fromkeys((errno.EACCES, errno.EPERM), _RIGHTS),
    **dict.fromkeys((errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG), _NAME),
    errno.EROFS: "choose a place on a disk that can be written",
    errno.ENOENT: "check the name",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}


class SardinoError(Exception):
    """A fault of the input or the set-up, said in one sentence that names the file and the remedy."""

    exit_code = 2


class Paused(SardinoError):
    """Stopped at a checkpoint, because no more time was given."""


class RunFailed(Exception):
    """Something that a command started failed on its own."""

    exit_code = 1


def first_line(error: BaseException) -> str:
    """What an exception of a library says first, to stand in brackets in a sentence of ours; its type if nothing."""
    return (str(error).strip() or type(error).__name__).partition("\n")[0].rstrip(".")[:200]


def of_the_system(error: BaseException, path: object = None) -> SardinoError | None:
    """A fault of a disk or of rights as a sentence: the file, by default the one that the error names, and the remedy.

    Libraries put the system's words into exceptions of their own; None where these words are not among theirs.
    """
    if isinstance(error, SardinoError):
        return None
    told = str(error)
    code = getattr(error, "errno", None) or next((known for known in _REMEDIES if os.strerror(known) in told), None)
    if code is None and not isinstance(error, OSError):
        return None
    remedy = _REMEDIES.get(code or 0, "see that it is there and answers")
    said = os.strerror(code) if path and code else getattr(error, "strerror", None) or first_line(error)
    file = path or getattr(error, "filename", None)
    return SardinoError(f"{file} cannot be read or written ({said}): {remedy}" if file else f"{said}: {remedy}")
