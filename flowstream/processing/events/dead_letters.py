"""Dead letters: a record that could not be processed, with the reason in its headers.

Pure. The record's own headers, key and value stay as they were.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import NamedTuple

from flowstream.processing.errors import LateEvent, text_of
from flowstream.processing.events.event import Arrival
from flowstream.processing.values.moments import moment_text

PREFIX = "flowstream."
TRACEBACK_CHARACTERS = 8_000
LATE = "the windows of table "


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


def dead_letter_headers(
    record: Arrival, error: BaseException, *, app: str, agent: str, side: str = ""
) -> tuple[tuple[str, bytes | None], ...]:
    """The record's headers followed by where it came from and why it is here; `side` is said of
    agents that join.
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
        "traceback": "".join(traceback.format_exception(error))[-TRACEBACK_CHARACTERS:],
    }
    own = tuple((name, value) for name, value in record.headers if not name.startswith(PREFIX))
    return own + tuple(
        (PREFIX + name, text.encode("utf-8", "replace")) for name, text in told.items()
    )
