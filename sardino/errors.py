"""The one exception that ends a run with a sentence instead of a traceback."""


class SardinoError(Exception):
    """A fault of the input or the set-up, said in one sentence that names the file and the remedy."""
