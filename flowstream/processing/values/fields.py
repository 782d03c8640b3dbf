"""Fields of values by name: how one is read, and whether a declared type has it.

Pure. What is known of a type is refused where it is written; of a dict, or a type that nobody
described, nothing is known before a value comes.
"""

from __future__ import annotations

import dataclasses
import operator
import types
import typing
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Any, Final, TypeVar

import msgspec
import pydantic

from flowstream.processing.declaring import described
from flowstream.processing.errors import AppError

T = TypeVar("T")

UNKNOWN: Final = object()
"""Any type may be there."""

PLAIN = (str, int, float, bool, bytes)
ABSTRACT = "_Record__abstract"
_SHOWN = 12
"""So many fields of a model a message names."""


def field_reader(name: str) -> Callable[[Any], Any]:
    """Reads an attribute, or the item of a dict, by name; `a.b` is the attribute b of a.

    >>> field_reader("n")({"n": 5})
    5
    """
    attribute, item = operator.attrgetter(name), operator.itemgetter(name)
    return lambda value: item(value) if isinstance(value, dict) else attribute(value)


def by(key: Callable[[T], Any] | str, what: str) -> Callable[[T], Any]:
    """A function of a value from one, or from a field's name."""
    if callable(key):
        return key
    if not isinstance(key, str):
        raise AppError(
            f"{what} takes a function of the value or the name of its field, not {described(key)}"
        )
    return field_reader(key)


def encodes(declared: type, given: type) -> bool:
    """Whether a codec of a plain type takes values of another.

    >>> encodes(float, int), encodes(str, int)
    (True, False)
    """
    return given is declared or (declared is float and given is int)


def check_field(kind: Any, name: str, what: str) -> Any:
    """The type of a field, UNKNOWN where nobody can say; AppError when values of type `kind` have
    none of this name.
    """
    found = kind
    for part in name.split("."):
        found = _field_of(found, part, what)
    return found


def _field_of(kind: Any, name: str, what: str) -> Any:
    arms = [arm for arm in alternatives(kind) if arm is not type(None)]
    told = [_in(arm, name) for arm in arms]
    if not told or any(each is UNKNOWN for each in told):
        return UNKNOWN
    known = [each for each in told if each is not None]
    if not known:
        raise AppError(f"{what}: {_named(arms)} no field {name!r}{_instead(arms, name)}")
    return known[0] if len(known) == 1 else UNKNOWN


def none_is(kind: Any, fits: Callable[[type], bool]) -> str:
    """The names of the types of a value if all are known, and none of them fits; else "".

    A type that a number or a text may be of (`object`, `numbers.Number`) is not known.

    >>> none_is(str, lambda kind: issubclass(kind, int)), none_is(Any, lambda kind: False)
    ('str', '')
    """
    found = [each for each in classes_of(kind) or () if each is not type(None)]
    if any(fits(each) or _is_wider(each) for each in found):
        return ""
    return " | ".join(dict.fromkeys(each.__name__ for each in found))


def _is_wider(kind: type) -> bool:
    return kind not in PLAIN and any(issubclass(plain, kind) for plain in PLAIN)


def alternatives(kind: Any) -> tuple[Any, ...]:
    """What a value of this type may be.

    >>> alternatives(int | None)
    (<class 'int'>, <class 'NoneType'>)
    """
    if typing.get_origin(kind) is typing.Annotated:
        return alternatives(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return tuple(each for arm in typing.get_args(kind) for each in alternatives(arm))
    return (kind,)


def classes_of(kind: Any) -> list[type] | None:
    """The classes that a value of this type may have, None where one of them is not known."""
    found = []
    for arm in alternatives(kind):
        origin = typing.get_origin(arm) or arm
        if not isinstance(origin, type) or origin is object:
            return None
        found.append(origin)
    return found


def _in(kind: Any, name: str) -> Any:
    """The type of a class's field, UNKNOWN, or None when it has none."""
    fields = fields_of(kind)
    if fields is None:
        return UNKNOWN
    if name in fields:
        return fields[name]
    # A property or a default of the class is there, whatever it is; a method is no field.
    there = None if typing.is_typeddict(kind) else getattr(kind, name, None)
    return None if there is None or callable(there) else UNKNOWN


def fields_of(kind: Any) -> dict[str, Any] | None:
    """The fields of a type with their types, None where values of it may have others."""
    if kind in PLAIN:
        return {}
    if not isinstance(kind, type) or _answers_any(kind):
        return None
    if typing.is_typeddict(kind):
        return _hints(kind, list(kind.__annotations__))
    if issubclass(kind, pydantic.BaseModel):
        # A topic of an abstract record has records of its subclasses.
        is_open = kind.model_config.get("extra") == "allow" or getattr(kind, ABSTRACT, False)
        return None if is_open else {n: f.annotation for n, f in kind.model_fields.items()}
    if issubclass(kind, msgspec.Struct):
        return _hints(kind, list(kind.__struct_fields__))
    if dataclasses.is_dataclass(kind):
        return _hints(kind, [field.name for field in dataclasses.fields(kind)])
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return _hints(kind, list(kind._fields))
    return None


def _answers_any(kind: type) -> bool:
    """Whether a class makes attributes up when it is asked for them; pydantic's own do not."""
    answer = getattr(kind, "__getattr__", None)
    return answer is not None and answer is not getattr(pydantic.BaseModel, "__getattr__", None)


def _hints(kind: type, names: list[str]) -> dict[str, Any]:
    try:
        hints = typing.get_type_hints(kind)
    except (NameError, TypeError):
        hints = {}  # a name in them that only a type checker sees
    return {name: hints.get(name, UNKNOWN) for name in names}


def _named(arms: list[Any]) -> str:
    names = [getattr(arm, "__name__", str(arm)) for arm in arms]
    return f"{' and '.join(names)} {'has' if len(names) == 1 else 'have'}"


def _instead(arms: list[Any], name: str) -> str:
    """What may have been meant, or what there is."""
    known = list(_each_field(arms))
    close = get_close_matches(name, known, n=1)
    if close:
        return f": is it {close[0]!r}?"
    shown = ", ".join(known[:_SHOWN]) + (", ..." if len(known) > _SHOWN else "")
    return f" (there are {shown})" if known else ""


def _each_field(arms: list[Any]) -> Iterator[str]:
    for arm in arms:
        yield from fields_of(arm) or ()
