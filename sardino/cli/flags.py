"""Options that are declared as the fields of a class, as options of a command."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin

import typer
from annotated_types import Ge, Gt, Le
from pydantic.fields import FieldInfo

from sardino.options import Flag, Options

Command = Callable[..., None]


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
        own = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
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


def _parameter(name: str, field: FieldInfo, default: Any) -> inspect.Parameter:
    """The option of a field, as typer reads it."""
    known = {type(each): each for each in field.metadata}
    flag = known[Flag].name if Flag in known else f"--{name.replace('_', '-')}"
    least = known[Ge].ge if Ge in known else None
    if Gt in known and int in (field.annotation, *get_args(field.annotation)):
        least = known[Gt].gt + 1
    most = known[Le].le if Le in known else None
    option = typer.Option(flag, min=least, max=most, help=field.description)
    kind: Any = str if _of_words(field) else field.annotation
    default = "" if _of_words(field) else default
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])


def _is_options(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Options)


def _of_words(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is tuple and get_args(field.annotation)[0] is str
