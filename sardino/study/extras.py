"""What a plain `pip install .` leaves out: the modules of each extra, and how to get them."""

from importlib.util import find_spec

from sardino.errors import SardinoError

# Modules that this package imports or starts, by the extra of pyproject.toml that brings them.
MODULES = {
    "study": (
        "ipykernel",
        "ipympl",
        "ipywidgets",
        "jupyterlab",
        "jupytext",
        "matplotlib",
        "mpl_toolkits",
        "nbclient",
        "nbconvert",
        "nbformat",
        "papermill",
        "snakemake",
    ),
    "earthengine": ("ee", "google"),
    "tensorboard": ("tensorboard",),
}


def absent() -> list[str]:
    """The extras that are not installed."""
    return [extra for extra, modules in MODULES.items() if not all(map(find_spec, modules))]


def require(extra: str) -> None:
    """Refuse what could not be finished without an extra."""
    if extra in absent():
        raise _without(extra, "what this needs")


def needed(error: ModuleNotFoundError) -> SardinoError | None:
    """What to install for a module that was not found; None where no extra brings it."""
    module = (error.name or "").partition(".")[0]
    for extra, modules in MODULES.items():
        if module in modules:
            return _without(extra, module)
    return None


def _without(extra: str, what: str) -> SardinoError:
    return SardinoError(f"{what} is not installed: run `pip install '.[{extra}]'` in the folder of sardino")
