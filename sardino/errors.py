"""The exceptions that end a command with a sentence instead of a traceback, and the first line of others."""


class SardinoError(Exception):
    """A fault of the input or the set-up, said in one sentence that names the file and the remedy."""

    exit_code = 2


class RunFailed(Exception):
    """Something that a command started failed on its own."""

    exit_code = 1


def first_line(error: BaseException) -> str:
    """What an exception of a library says first, to stand in brackets in a sentence of ours; its type if nothing."""
    return (str(error).strip() or type(error).__name__).partition("\n")[0].rstrip(".")[:200]
