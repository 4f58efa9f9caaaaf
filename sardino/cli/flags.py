"""Options of commands: declared as the fields of a class, or shared by several verbs; and what verbs print alike."""

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic.fields import FieldInfo
from typer import Option, echo

from sardino.errors import SardinoError
from sardino.options import Flag, Options

Command = Callable[..., None]

OverwriteOption = Annotated[bool, Option("--overwrite", help="Replace a file that is already there.")]
DirectionOption = Annotated[
    float,
    Option(
        help="Direction in which bands follow each other on the ground, degrees from east, counter-clockwise: 0 goes "
        "east, bands run north-south; 90 goes north."
    ),
]
AngleOption = Annotated[float | None, Option("--angle", hidden=True, help="The old name of --direction.")]


def with_options(declared: type[Options], *without: str, **defaults: Any) -> Callable[[Command], Command]:
    """Give a command the fields of a class as options; what a user gives reaches its `**options`.

    A field's type, range, choices, default and description become those of the option; of a field that is itself
    options, the fields, and the command gets the object. A list of words is given as one text with commas.

    Args:
        declared: the class.
        without: fields that are no options of this command; what it has as parameters of its own is none either.
        defaults: by field, where the command line's differs from the class's.
    """

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command)
        named = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
        own = [each for each in named if not _is_options(each.annotation)]
        left_out = {*without, *(each.name for each in own)}
        fields = {name: field for name, field in declared.model_fields.items() if name not in left_out}
        parts: dict[str, Any] = {
            name: field.annotation for name, field in fields.items() if _is_options(field.annotation)
        }
        flat = {name: field for name, field in fields.items() if name not in parts}
        for part in parts.values():
            flat |= part.model_fields

        @functools.wraps(command)
        def run(**given: Any) -> None:
            for name, field in flat.items():
                if _of_words(field):
                    given[name] = tuple(word.strip() for word in given[name].split(",")) if given[name] else ()
            for name, part in parts.items():
                given[name] = part(**{inner: given.pop(inner) for inner in part.model_fields})
            command(**given)

        added = [_parameter(name, field, defaults.get(name, field.default)) for name, field in flat.items()]
        run.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in (*own, *added)}
        return run

    return decorate


def columns_and_rows(text: str, flag: str, example: str) -> tuple[int, int]:
    """The two numbers, above 0, of an option such as 8x8."""
    columns, _, rows = text.partition("x")
    if not (columns.isdecimal() and rows.isdecimal() and int(columns) and int(rows)):
        raise SardinoError(f"{flag} takes columns x rows, for example {example}, not '{text}'")
    return int(columns), int(rows)


def shown(things: str) -> Callable[..., Iterable[Any]]:
    """What the data rooms wrap a loop in, given its items and, where they have no length, their number."""
    from sardino.progress import track

    return lambda items, total=None: track(items, len(items) if total is None else total, things)


def show_table(rows: Iterable[Sequence[str]]) -> None:
    """Print rows of cells in columns."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _parameter(name: str, field: FieldInfo, default: Any) -> inspect.Parameter:
    """The option of a field, as typer reads it."""
    plain, limits = _without_limits(field.annotation)
    known = {type(each): each for each in (*limits, *field.metadata)}
    flag = known[Flag].name if Flag in known else f"--{name.replace('_', '-')}"
    least = known[Ge].ge if Ge in known else None
    if Gt in known and int in (plain, *get_args(plain)):
        least = known[Gt].gt + 1
    most = known[Le].le if Le in known else None
    option = Option(flag, min=least, max=most, help=field.description)
    kind: Any = str if _of_words(field) else plain
    default = "" if _of_words(field) else default
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])


def _without_limits(kind: Any) -> tuple[Any, list[Any]]:
    """A field's type as typer knows it, and the limits that stand inside it: of `Count | None`, an int or None."""
    for part in get_args(kind):
        if get_origin(part) is Annotated:
            number, info = get_args(part)
            return number | None, info.metadata
    return kind, []


def _is_options(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Options)


def _of_words(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is tuple and get_args(field.annotation)[0] is str
