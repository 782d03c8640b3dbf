"""Records that make values of a type of what is none: Faust's `coercions=` and `date_parser=`.

Pure. A class is changed once, when it is made.
"""

from __future__ import annotations

import datetime
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

import pydantic
from pydantic import GetCoreSchemaHandler
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from flowstream.processing.declaring import described
from flowstream.processing.values.record_fields import Renamed, made_by

Coercions = Mapping[type, Callable[[Any], Any]]


class Coerce:
    """Makes a value of a type of what is none of it."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self.make = make

    def __get_pydantic_core_schema__(self, kind: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The type's schema, behind the function."""
        return core_schema.no_info_before_validator_function(
            made_by(kind, self.make), handler(kind)
        )


def check_coercions(
    coercions: Coercions | None, parse: Callable[[Any], datetime.datetime] | None, what: str
) -> Coercions:
    """Both as one; TypeError where there are no functions of types."""
    found: dict[Any, Any] = dict(coercions or {})
    if parse is not None:
        found[datetime.datetime] = parse
    for kind, make in found.items():
        if not isinstance(kind, type) or not callable(make):
            raise TypeError(
                f"{what}: coercions= has a function for each type, not {described(make)} for"
                f" {described(kind)}"
            )
    return found


def config_of(
    attributes: Iterable[object], coercions: Coercions, *, is_lazy: bool
) -> pydantic.ConfigDict:
    """What pydantic has to know of a class with such attributes."""
    config: dict[str, Any] = {}
    fields = [each for each in attributes if isinstance(each, FieldInfo)]
    if any(isinstance(each, Renamed) for field in fields for each in field.metadata):
        config.update(serialize_by_alias=True, validate_by_name=True)
    if coercions:
        config["arbitrary_types_allowed"] = True
    if is_lazy:
        config["defer_build"] = True
    return typing.cast("pydantic.ConfigDict", config)


def coerce_fields(model: type[pydantic.BaseModel], coercions: Coercions) -> None:
    """Have the fields of these types made, also inside of lists and the like."""
    if not model.__pydantic_fields_complete__:
        raise TypeError(
            f"record {model.__name__}: coercions= and date_parser= need the types of all fields:"
            " declare what its annotations name before it"
        )
    for field in model.model_fields.values():
        field.annotation = coerced(field.annotation, coercions)
    if not model.model_config.get("defer_build"):
        model.model_rebuild(force=True)


def coerced(kind: Any, coercions: Coercions) -> Any:
    """A type with what makes values of it, wherever it has one of these in it.

    >>> coerced(list[int], {str: str})
    list[int]
    """
    if isinstance(kind, type) and kind in coercions:
        return Annotated[kind, Coerce(coercions[kind])]
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        if any(isinstance(each, Coerce) for each in inside):
            return kind
        changed: tuple[Any, ...] = (coerced(inside[0], coercions), *inside[1:])
    else:
        changed = tuple(coerced(each, coercions) for each in inside)
    if origin is None or origin is typing.Literal or changed == inside:
        return kind
    if origin in (typing.Union, types.UnionType):
        return typing.Union[changed]  # noqa: UP007 - of as many as there are
    return Annotated[changed] if origin is Annotated else origin[changed]
