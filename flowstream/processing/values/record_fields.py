"""Fields of records as Faust declares them, made of pydantic's.

Pure. A field has its type by its annotation; what is said here is checked when a record is made.
"""

from __future__ import annotations

import datetime
import decimal
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, TypedDict, Unpack

import pydantic
from pydantic import BeforeValidator, GetCoreSchemaHandler
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from flowstream.processing.declaring import described


class Common(TypedDict, total=False):
    """What every field takes."""

    required: bool
    default: Any
    exclude: bool | None
    coerce: bool | None
    input_name: str | None
    output_name: str | None


class Numeric(Common, total=False):
    """What fields of numbers take, too."""

    max_value: Any
    min_value: Any


COMMON: Final = ("required", "default", "exclude", "coerce", "input_name", "output_name")
NUMERIC: Final = (*COMMON, "max_value", "min_value")


class Optional:
    """Makes a field take None."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """The field's schema, or None."""
        return core_schema.nullable_schema(handler(source))


class Renamed:
    """Says that a field has another name in JSON."""


def BooleanField(**options: Unpack[Common]) -> Any:
    """A `bool`; with `coerce` of whatever is true, or not."""
    return _field("BooleanField", options, COMMON, bool)


def IntegerField(**options: Unpack[Numeric]) -> Any:
    """An `int`, from `min_value` up to `max_value`."""
    return _number("IntegerField", options, int)


def FloatField(**options: Unpack[Numeric]) -> Any:
    """A `float`, from `min_value` up to `max_value`."""
    return _number("FloatField", options, float)


def DecimalField(
    *,
    max_digits: int | None = None,
    max_decimal_places: int | None = None,
    **options: Unpack[Numeric],
) -> Any:
    """A `Decimal`, with so many digits at most, and so many of them behind the point."""
    return _number(
        "DecimalField", options, decimal.Decimal,
        max_digits=max_digits, decimal_places=max_decimal_places,
    )  # fmt: skip


def StringField(
    *,
    max_length: int | None = None,
    min_length: int | None = None,
    trim_whitespace: bool = False,
    allow_blank: bool = False,
    **options: Unpack[Common],
) -> Any:
    """A `str` of so many characters; of none only with `allow_blank`."""
    return _text(
        "StringField", options, str, max_length, min_length, trim=trim_whitespace, blank=allow_blank
    )


def BytesField(
    *,
    max_length: int | None = None,
    min_length: int | None = None,
    trim_whitespace: bool = False,
    allow_blank: bool = False,
    encoding: str = sys.getdefaultencoding(),
    errors: str = "strict",
    **options: Unpack[Common],
) -> Any:
    """`bytes`, or those of a text in an encoding."""

    def encoded(value: Any) -> Any:
        return value.encode(encoding, errors) if isinstance(value, str) else value

    return _text(
        "BytesField", options, None, max_length, min_length, trim=trim_whitespace,
        blank=allow_blank, first=encoded,
    )  # fmt: skip


def DatetimeField(
    *, date_parser: Callable[[Any], datetime.datetime] | None = None, **options: Unpack[Common]
) -> Any:
    """A `datetime`; `date_parser` makes one of what is none."""
    return _field("DatetimeField", options, COMMON, None, first=date_maker(date_parser))


def date_maker(
    parse: Callable[[Any], datetime.datetime] | None,
) -> Callable[[Any], Any] | None:
    """What makes a time of a value that is none."""
    return None if parse is None else made_by(datetime.datetime, parse)


def made_by(kind: type, make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Makes a value of a type of what is none of it."""

    def made(value: Any) -> Any:
        return value if value is None or isinstance(value, kind) else make(value)

    return made


def _number(name: str, options: Mapping[str, Any], kind: type, **constraints: Any) -> Any:
    rest = {
        each: value for each, value in options.items() if each not in ("max_value", "min_value")
    }
    return _field(
        name, rest, NUMERIC, kind, le=options.get("max_value"), ge=options.get("min_value"),
        **constraints,
    )  # fmt: skip


def _text(
    name: str, options: Mapping[str, Any], kind: type | None, most: int | None, least: int | None,
    *, trim: bool, blank: bool, first: Callable[[Any], Any] | None = None,
) -> Any:  # fmt: skip
    if least is None and not blank:
        least = 1

    def trimmed(value: Any) -> Any:
        value = value if first is None else first(value)
        return value.strip() if trim and isinstance(value, str | bytes) else value

    return _field(
        name, options, (*COMMON, "max_length", "min_length", "trim_whitespace", "allow_blank"),
        kind, first=trimmed, max_length=most, min_length=least,
    )  # fmt: skip


def _field(
    name: str, options: Mapping[str, Any], known: tuple[str, ...], kind: type | None, *,
    first: Callable[[Any], Any] | None = None, **constraints: Any,
) -> Any:  # fmt: skip
    """A field of pydantic's; with `coerce=True` it makes a `kind` of what is none."""
    for option in options:
        if option not in COMMON:
            raise TypeError(f"{name}({option}=) is not taken: there are {', '.join(known)}")
    given, coerce = dict(options), options.get("coerce")
    _check(name, given)
    written = given.get("output_name") or given.get("input_name")
    settings: dict[str, Any] = {n: value for n, value in constraints.items() if value is not None}
    if coerce is False:
        settings["strict"] = True
    if written is not None:
        settings["validation_alias"] = given.get("input_name") or written
        settings["serialization_alias"] = written
    is_needed = given.get("required", True) and "default" not in given
    found: FieldInfo = pydantic.Field(
        ... if is_needed else given.get("default"), exclude=given.get("exclude"), **settings
    )
    if coerce is True and kind is not None:
        found.metadata.append(BeforeValidator(made_by(kind, kind)))
    if first is not None:
        found.metadata.append(BeforeValidator(first))
    if not is_needed and given.get("default") is None:
        found.metadata.append(Optional())
    if written is not None:
        found.metadata.append(Renamed())
    return found


def _check(name: str, given: Mapping[str, Any]) -> None:
    for option in ("required", "exclude", "coerce"):
        if not isinstance(given.get(option), bool | None):
            raise TypeError(f"{name}({option}=) is True or False, not {described(given[option])}")
    for option in ("input_name", "output_name"):
        if not isinstance(given.get(option), str | None):
            raise TypeError(f"{name}({option}=) is a text, not {described(given[option])}")
