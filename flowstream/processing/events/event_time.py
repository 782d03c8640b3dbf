"""Event time of a record: from a field or a function of its value. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any, TypeVar

from flowstream.processing.declaring import described
from flowstream.processing.errors import AppError
from flowstream.processing.events.event import Arrival, Mistimed, as_it_came
from flowstream.processing.values.fields import check_field, field_reader, none_is

T = TypeVar("T")

EventTime = Callable[[Any], float | datetime.datetime]
"""A function of a value: its instant in seconds since 1970, or a datetime."""

FARTHEST_S = 100_000_000_000
"""The year 5138: what is beyond is no count of seconds."""
FARTHEST_MS = FARTHEST_S * 1000
"""The same of records' own times: today's in microseconds is far beyond it."""


def instant_ms(at: object) -> int:
    """An instant in milliseconds since 1970; a datetime without a zone is UTC.

    >>> instant_ms(1.5)
    1500
    """
    if isinstance(at, datetime.datetime):
        zoned = at if at.tzinfo is not None else at.replace(tzinfo=datetime.UTC)
        return round(zoned.timestamp() * 1000)
    if isinstance(at, bool) or not isinstance(at, int | float):
        raise TypeError(f"an instant is seconds since 1970 or a datetime, not {at!r:.100}")
    if not -FARTHEST_S < at < FARTHEST_S:
        raise ValueError(f"{at!r} is no count of seconds since 1970: are these milliseconds?")
    return round(at * 1000)


def no_time(record: Arrival) -> ValueError | None:
    """What is wrong with a record whose own time is none. It would close every window, and make
    all that comes after it late, for good.
    """
    came = as_it_came(record)
    if came.timestamp <= FARTHEST_MS:
        return None
    return ValueError(
        f"its timestamp, {came.timestamp}, is no count of milliseconds since 1970: did its producer"
        " mean micro- or nanoseconds? Here event time decides about windows, joins and rows that"
        " end"
    )


def bounded(record: Arrival, value: T) -> T:
    """The shape of values whose records have to have a time."""
    if record.timestamp > FARTHEST_MS or type(record) is Mistimed:
        refused = no_time(record)
        assert refused is not None
        raise refused
    return value


def event_time_of(
    source: str | EventTime | None, kind: Any, what: str
) -> Callable[[Any], int] | None:
    """Value to milliseconds, from a field's name or a function; None: the record's own time.

    What cannot be read raises ValueError, as a value that does not decode. AppError when values of
    type `kind` have no such field, or it is no instant; `what` says whose they are.
    """
    if source is None:
        return None
    read, named = (
        (source, "the timestamp function") if callable(source) else _field(source, kind, what)
    )

    def event_ms(value: Any) -> int:
        try:
            return instant_ms(read(value))
        except Exception as error:
            raise ValueError(f"{named} gives no event time: {error!r}") from error

    return event_ms


def _field(name: str, kind: Any, what: str) -> tuple[Callable[[Any], Any], str]:
    if not isinstance(name, str):
        raise AppError(
            f"{what}: timestamp= is a field's name or a function of the value, not"
            f" {described(name)}"
        )
    found = check_field(kind, name, f"{what}: timestamp={name!r}")
    if refused := none_is(found, _is_instant):
        raise AppError(
            f"{what}: timestamp={name!r} is of type {refused}; event time is seconds since 1970 or"
            " a datetime: declare the field so, or give a function that makes one of the value"
        )
    return field_reader(name), f"field {name!r}"


def _is_instant(kind: type) -> bool:
    return issubclass(kind, int | float | datetime.datetime) and not issubclass(kind, bool)
