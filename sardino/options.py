"""Options: declared once, as the fields of a class, and given in code, in a TOML file or on the command line."""

from typing import Annotated, Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sardino.errors import SardinoError

Count = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Number = int | float  # written to a record as it was given: 10 stays 10


class Flag(NamedTuple):
    """What a field is called on the command line, where that is not its name with hyphens."""

    name: str


class Options(BaseModel):
    """A frozen set of options.

    A field is `name: Annotated[type, Field(range), "what to choose and when"] = default`. A class below
    this one reads it from TOML; `sardino.cli.flags.with_options` makes it an option of a command. A wrong value, or a
    name that is not known, is refused with one sentence that names it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SardinoError(f"{type(self).__name__}: {sentence(error)}") from None

    # As a part of other options it is not made by __init__, so that a fault is told with its whole path.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    def changed(self, **changes: Any) -> Self:
        """A copy with some values changed, as carefully checked; an unknown name is refused."""
        known = type(self).model_fields
        if unknown := sorted(changes.keys() - known.keys()):
            raise SardinoError(f"{type(self).__name__} has no {', '.join(unknown)}; it has {', '.join(sorted(known))}")
        return type(self)(**{**dict(self), **changes})


def sentence(error: ValidationError) -> str:
    """What is wrong, fault after fault: where, what, and what was given."""
    return "; ".join(map(_fault, error.errors()))


def _fault(fault: Any) -> str:
    place = ".".join(str(part) for part in fault["loc"] if part != "[key]")
    if fault["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"'{place}' is not a known key"
    said = fault["msg"].removeprefix("Value error, ")
    if not place:
        return str(said)
    given = f", not {fault['input']}" if isinstance(fault["input"], str | int | float) else ""
    return f"'{place}': {said[:1].lower()}{said[1:]}{given}"
