"""Codecs of types that have pydantic models somewhere inside: lists and unions of them, and so on.

Pure. JSON by pydantic, which alone knows how its models are read and written.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Collection, Iterator, Mapping
from typing import Any, cast

import msgspec
import pydantic
import pydantic_core

from flowstream.processing.errors import AppError


def holds_models(kind: object) -> bool:
    """Whether a value of this type has a pydantic model in it, or is one."""
    return any(True for _ in models_in(kind))


def models_in(kind: object) -> Iterator[type[pydantic.BaseModel]]:
    """Every model in a type."""
    for found in types_in(kind):
        if isinstance(found, type) and issubclass(found, pydantic.BaseModel):
            yield found


def holds_floats(kind: object) -> bool:
    """Whether a value of this type may have a number in it that is none, or infinite: also of one
    that does not say what it holds.
    """
    return any(found in (float, Any, object) or _holds_anything(found) for found in types_in(kind))


def _holds_anything(kind: object) -> bool:
    """Whether this is a collection of who knows what: `dict`, `list`."""
    is_text = isinstance(kind, type) and issubclass(kind, str | bytes | bytearray)
    return isinstance(kind, type) and issubclass(kind, Collection) and not is_text


def holds_endless(value: object) -> bool:
    """Whether there is a number in a value that is none, or infinite."""
    waiting, seen = [value], set[int]()
    while waiting:
        found = waiting.pop()
        if isinstance(found, float):
            if not math.isfinite(found):
                return True
        elif isinstance(found, Mapping):
            waiting += found.values()
        elif isinstance(found, list | tuple | set | frozenset):
            waiting += found
        elif id(found) not in seen:  # a value may hold itself
            seen.add(id(found))
            names = getattr(found, "__struct_fields__", getattr(found, "__dict__", ()))
            waiting += [getattr(found, name, None) for name in names]
    return False


def says_no_keys(kind: object) -> bool:
    """Whether a value of this type may have dicts in it, and nothing says of what their keys are.

    >>> says_no_keys(dict), says_no_keys(dict[str, Any]), says_no_keys(dict[int, dict])
    (True, True, False)
    """
    found = list(types_in(kind))
    return any(each in _OPEN for each in found) and all(map(_has_texts, found))


def _has_texts(kind: object) -> bool:
    """Whether keys of this type, if it has any, are texts as far as it says."""
    if typing.get_origin(kind) is dict:
        return typing.get_args(kind)[0] in (str, Any, object)
    return kind is Any or not isinstance(kind, type) or kind.__module__ == "builtins"


def other_key(value: object) -> object | None:
    """A key of a dict in a value that is no text, None where there is none."""
    waiting = [value]
    for found in waiting:  # it grows
        inside: Collection[object] = ()
        if isinstance(found, dict):
            try:
                "".join(found)  # no loop of ours is as fast
            except TypeError:
                return cast("object", next(each for each in found if not isinstance(each, str)))
            inside = found.values()
        elif isinstance(found, list | tuple):
            inside = found
        if not _BARE.issuperset(map(type, inside)):
            waiting += [each for each in inside if isinstance(each, dict | list | tuple)]
    return None


_BARE = frozenset((str, int, float, bool, type(None)))
"""What holds nothing: most values hold such alone."""
_OPEN = (Any, object, dict, list, tuple)


def types_in(kind: object) -> Iterator[object]:
    """A type, and all that its values are made of."""
    waiting, seen = [kind], set[int]()
    while waiting:
        found = waiting.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        waiting += [*typing.get_args(found), *_fields(found)]


def _fields(kind: object) -> list[object]:
    """The types of what a class of named fields holds, or something of ours that stands for it."""
    if not isinstance(kind, type):
        return list(getattr(kind, "__flowstream_holds__", ()))
    if issubclass(kind, pydantic.BaseModel):
        return [field.annotation for field in kind.model_fields.values()]
    named = dataclasses.is_dataclass(kind) or issubclass(kind, msgspec.Struct | tuple)
    if not named and not typing.is_typeddict(kind):
        return []
    try:
        return list(typing.get_type_hints(kind).values())
    except (NameError, TypeError):  # Whoever makes the decoder has a word for it.
        return []


class Adapted:
    """Both directions of such a type.

    A value of another type is a ValueError, also deep inside.
    """

    def __init__(self, name: str, kind: Any) -> None:
        try:
            adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(kind)
        except (pydantic.PydanticUserError, pydantic_core.SchemaError) as error:
            first = str(error).partition("\n")[0]
            raise AppError(
                f"{name} has pydantic models in it, and what pydantic does not know ({first}):"
                " use pydantic models, dataclasses and builtin types inside of each other, or"
                " msgspec Structs alone"
            ) from error
        self._check = adapter.validator.validate_python
        self._to_json = adapter.serializer.to_json
        self.decode = adapter.validator.validate_json

    def encode(self, value: object) -> bytes:
        """The value as JSON."""
        # The serializer by itself writes whatever it is given, another model's fields among them.
        self._check(value, strict=True)
        return self._to_json(value, warnings="error")
