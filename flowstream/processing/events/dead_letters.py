"""Dead letters: a record that could not be processed, with the reason in its headers.

Pure. The record's own headers, key and value stay as they were, unless the topic of dead letters
does not take them: a record that is too large even for that must not stop its partition for good.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from flowstream.processing.errors import LateEvent, text_of
from flowstream.processing.events.event import Arrival
from flowstream.processing.values.moments import moment_text

PREFIX = "flowstream."
TRACEBACK_CHARACTERS = 8_000
CAUSE_CHARACTERS = 1_000
"""As much of an error as a letter says that is too large with all of it."""
LEFT_OUT = "left-out"
ERROR_LEFT_OUT = "the traceback"
LATE = "the windows of table "


Headers = tuple[tuple[str, bytes | None], ...]


class Form(NamedTuple):
    """A dead letter as it is written."""

    key: bytes | None
    value: bytes | None
    headers: Headers


class TooLate(NamedTuple):
    """What is told of an event that came too late; a text when it is told, as most are not."""

    who: str
    at_ms: int
    table: str

    def __str__(self) -> str:
        return (
            f"{self.who}: an event of {moment_text(self.at_ms)} came too late for a row of"
            f" {self.table!r}, whose time was over"
        )


def late_error(table: str) -> LateEvent:
    """Why a letter is one of an event that has been processed, but for these windows."""
    return LateEvent(f"{LATE}{table!r} have closed")


def is_of_late(told: Mapping[str, str]) -> bool:
    """Whether a letter is such a one, by what it says."""
    return told.get("error") == LateEvent.__name__ and told.get("cause", "").startswith(LATE)


def dead_letters(
    record: Arrival, error: BaseException, *, app: str, agent: str, side: str = ""
) -> Iterator[Form]:
    """The record with where it came from and why it is here behind its own headers; then ever
    shorter forms, for a topic that does not take that, which say what is left out. `side` is said
    of agents that join.
    """
    told = {
        "app": app,
        "agent": agent,
        **({"side": side} if side else {}),
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "timestamp": str(record.timestamp),
        "error": type(error).__name__,
        "cause": text_of(error),
    }
    own = tuple((name, value) for name, value in record.headers if not name.startswith(PREFIX))
    key, value = record.key, record.value
    traced = {"traceback": "".join(traceback.format_exception(error))[-TRACEBACK_CHARACTERS:]}
    yield Form(key, value, own + _named(told | traced))
    told["cause"] = told["cause"][:CAUSE_CHARACTERS]
    left_out = ERROR_LEFT_OUT
    yield Form(key, value, own + _named(told | {LEFT_OUT: left_out}))
    left_out += f", the value ({len(value or b'')} bytes)"
    yield Form(key, None, own + _named(told | {LEFT_OUT: left_out}))
    left_out += f", the headers ({len(own)})"
    yield Form(key, None, _named(told | {LEFT_OUT: left_out}))
    left_out += f", the key ({len(key or b'')} bytes)"
    yield Form(None, None, _named(told | {LEFT_OUT: left_out}))


def is_cut(told: Mapping[str, str]) -> bool:
    """Whether a letter, by what it says, is only a part of the record."""
    return told.get(LEFT_OUT, ERROR_LEFT_OUT) != ERROR_LEFT_OUT


def _named(told: Mapping[str, str]) -> Headers:
    return tuple((PREFIX + name, text.encode("utf-8", "replace")) for name, text in told.items())
