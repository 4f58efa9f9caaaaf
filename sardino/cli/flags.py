"""Options of commands, declared in their signatures or as the fields of a class; and what commands print alike."""

import ast
import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le
from pydantic.fields import FieldInfo
from typer import Argument, Option, Typer, echo
from typer.models import ParameterInfo

from sardino.errors import SardinoError
from sardino.options import Flag, Options

Command = Callable[..., None]
Texts = list[str] | None

Overwrite = Annotated[bool, "Replace a file that is already there."]
Direction = Annotated[
    float,
    "Direction in which bands follow each other on the ground, degrees from east, counter-clockwise: 0 goes east, "
    "bands run north-south; 90 goes north.",
]


def add_commands(app: Typer, *commands: Command, **settings: Any) -> None:
    """Add functions as commands of their names; one that would be a word of Python ends in an underscore."""
    for command in commands:
        app.command(command.__name__.rstrip("_"), **settings)(with_options()(command))


def with_options(declared: type[Any] = Options, *without: str, **defaults: Any) -> Callable[[Command], Command]:
    """Give a command the fields of a class, options or a dataclass, as options; they reach its `**options`.

    Its own parameters are `name: Annotated[type, "help"]`, as fields are: arguments, and options where they have a
    default or come after a `*`. A type, range, choices, default and help become those of the option; of a field or a
    parameter that is itself options, the fields, and the command gets the object. A list is one text with commas.

    Fields named `without` are no options of this command, nor are those that it has as parameters of its own;
    `defaults` are the command line's, where they differ from the class's.
    """

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command)
        parameters, own = signature.parameters.values(), []
        for each in parameters:
            if any(isinstance(info, ParameterInfo) for info in get_args(each.annotation)):
                own.append(each)  # told in typer's words
            elif each.kind is not each.VAR_KEYWORD and not _is_options(each.annotation):
                field = FieldInfo.from_annotation(each.annotation)
                own.append(_parameter(each.name, field, each.default, each.kind))
        left_out = {*without, *(each.name for each in own)}
        fields = {name: field for name, field in _fields(declared).items() if name not in left_out}
        parts = {each.name: each.annotation for each in parameters if _is_options(each.annotation)}
        parts |= {name: fields.pop(name).annotation for name in list(fields) if _is_options(fields[name].annotation)}
        for part in parts.values():
            fields |= {name: field for name, field in part.model_fields.items() if name not in left_out}

        @functools.wraps(command)
        def run(**given: Any) -> None:
            for name, field in fields.items():
                if _of_list(field):
                    given[name] = tuple(word.strip() for word in given[name].split(",")) if given[name] else ()
            for name, part in parts.items():
                given[name] = part(**{inner: given.pop(inner) for inner in part.model_fields if inner in given})
            command(**given)

        for name, field in fields.items():
            default = inspect.Parameter.empty if field.is_required() else field.default
            own.append(_parameter(name, field, defaults.get(name, default)))
        run.__signature__ = signature.replace(parameters=own)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in own}
        return run

    return decorate


def columns_and_rows(text: str, flag: str, example: str) -> tuple[int, int]:
    """The two numbers, above 0, of an option such as 8x8."""
    columns, _, rows = text.partition("x")
    if not (columns.isdecimal() and rows.isdecimal() and int(columns) and int(rows)):
        raise SardinoError(f"{flag} takes columns x rows, for example {example}, not '{text}'")
    return int(columns), int(rows)


def assignment(text: str) -> tuple[str, Any]:
    """The name and value of --set: name=value, a number, a pair with a comma, a Python literal, or else a text."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise SardinoError(f"--set takes name=value, as in seed=3, not '{text}'")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def shown(things: str) -> Callable[..., Iterable[Any]]:
    """What the data rooms wrap a loop in, given its items and, where they have no length, their number."""
    from sardino.progress import track

    return lambda items, total=None: track(items, len(items) if total is None else total, things)


def tell_ranges(ranges: Any, unit: str = "") -> None:
    """Tell, beside the output, what pixels hold: `ranges` of sardino.data.tiles.value_ranges."""
    for line in ranges.lines(unit):
        echo(line, err=True)


def show_table(rows: Iterable[Sequence[str]]) -> None:
    """Print rows of cells in columns."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _parameter(
    name: str, field: FieldInfo, default: Any, place: Any = inspect.Parameter.KEYWORD_ONLY
) -> inspect.Parameter:
    """A field, or a command's own parameter, as typer reads it."""
    kind: Any = field.annotation
    limits = [*field.metadata]
    for part in get_args(kind):  # the limits of `Count | None` stand inside it
        if get_origin(part) is Annotated:
            inner: Any = FieldInfo.from_annotation(part)
            kind, limits = inner.annotation | None, [*inner.metadata, *limits]
    known = {type(each): each for each in limits}
    least = known[Ge].ge if Ge in known else None
    if Gt in known and int in (kind, *get_args(kind)):
        least = known[Gt].gt + 1
    flags = known[Flag].name.split() if Flag in known else [f"--{name.replace('_', '-')}"]
    positional = default is inspect.Parameter.empty and place is not inspect.Parameter.KEYWORD_ONLY
    info = Argument if positional else functools.partial(Option, *flags)
    told = info(min=least, max=known[Le].le if Le in known else None, help=field.description or known.get(str))
    if _of_list(field):
        kind, default = str, ""
    return inspect.Parameter(name, place, default=default, annotation=Annotated[kind, told])


def _fields(declared: type[Any]) -> dict[str, FieldInfo]:
    """Of a class of options or of a dataclass, whose fields are annotated in the same way."""
    if _is_options(declared):
        return dict(declared.model_fields)
    hints, found = get_type_hints(declared, include_extras=True), {}
    for field in dataclasses.fields(declared):
        found[field.name] = FieldInfo.from_annotation(hints[field.name])
        found[field.name].default = field.default
    return found


def _is_options(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Options)


def _of_list(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is tuple and get_args(field.annotation)[1:] == (...,)
