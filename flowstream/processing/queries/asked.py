"""What is asked of the owner of a table's partition, and what it answers. Pure: plain messages."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import msgspec

from flowstream.processing.errors import (
    AppError,
    Misdirected,
    QueryError,
    QueryTimeout,
    TableUnavailable,
    TooStale,
)
from flowstream.processing.tables.showing import event_time
from flowstream.processing.tables.table import Table
from flowstream.state.expiring import TIME_ROW
from flowstream.state.store import StateStore

PAGE_ROWS = 1_000
PAGE_BYTES = 1 << 20
QUESTION_BYTES = 1 << 16
"""A question is no longer than this; a key that does not fit cannot be asked for."""

Place = tuple[str, int, int]
"""A topic, a partition and the offset of a record."""


class Question(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Rows of one partition of a table: start <= row < stop, as many as fit a page.

    `after` are records whose effects must be in; `stale_s` is how old the newest input may be that
    is not in; `timeout_s` is how long to wait for either. `copy`: whoever has a copy may answer.
    """

    table: str
    partition: int
    start: bytes = b""
    stop: bytes | None = None
    reverse: bool = False
    most: int = PAGE_ROWS
    after: tuple[Place, ...] = ()
    stale_s: float | None = None
    timeout_s: float = 5.0
    copy: bool = False


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Committed rows. `is_all` when none is left behind the last; `now_ms` is the event time of an
    expiring table, -1 of any other; `positions` is what of the input they hold at the least.
    """

    rows: list[tuple[bytes, bytes]]
    is_all: bool
    now_ms: int
    positions: list[Place]


def page(
    store: StateStore, table: Table[Any, Any], question: Question, positions: list[Place]
) -> Found:
    """The answer that a store of committed rows has; `positions` are what it stands for."""
    rows: list[tuple[bytes, bytes]] = []
    size, is_all = 0, True
    for key, row in store.scan(question.start, question.stop, reverse=question.reverse):
        if len(rows) >= min(question.most, PAGE_ROWS) or size > PAGE_BYTES:
            is_all = False
            break
        rows.append((key, row))
        size += len(key) + len(row)
    now_ms = event_time(table, store.get(TIME_ROW))
    return Found(rows=rows, is_all=is_all, now_ms=now_ms, positions=positions)


class Changed(msgspec.Struct, frozen=True):
    """Rows that commits changed, None where deleted; without any it says `I am here`."""

    rows: list[tuple[bytes, bytes | None]]


class Refused(msgspec.Struct, frozen=True):
    """Why there is no answer."""

    kind: str
    error: str


_KINDS: dict[str, type[QueryError | AppError]] = {
    "misdirected": Misdirected,
    "unavailable": TableUnavailable,
    "timeout": QueryTimeout,
    "stale": TooStale,
    "failed": QueryError,
    "wrong": AppError,
}
"""The first that fits an error is its word."""
STATUSES = {
    "misdirected": 421,
    "unavailable": 503,
    "timeout": 504,
    "stale": 503,
    "failed": 502,
    "wrong": 400,
}
RETRY_AFTER = {"Retry-After": "1"}


def kind_of(error: QueryError | AppError) -> str:
    """The word for an error in an answer."""
    return next(kind for kind, found in _KINDS.items() if isinstance(error, found))


def error_of(refused: Refused) -> QueryError | AppError:
    """The error that an answer's word stands for."""
    return _KINDS.get(refused.kind, QueryError)(refused.error)


def status_of(error: QueryError | AppError) -> int:
    """Its HTTP status."""
    return STATUSES[kind_of(error)]


encode: Any = msgspec.msgpack.encode
_question = msgspec.msgpack.Decoder(Question)
_found = msgspec.msgpack.Decoder(Found)
_changed = msgspec.msgpack.Decoder(Changed)
_refused = msgspec.json.Decoder(Refused)


def decode_question(data: bytes) -> Question:
    """A question; AppError when it is none."""
    try:
        question = _question.decode(data)
    except msgspec.MsgspecError as error:
        raise AppError(f"not a question that this version understands: {error}") from None
    for seconds in (question.timeout_s, question.stale_s):
        # A timer that is due at NaN, which is before and after nothing, stops the whole loop.
        if seconds is not None and not seconds >= 0:
            raise AppError(f"not a question: {seconds} is not a number of seconds from 0 on")
    return question


def decode_found(data: bytes) -> Found:
    """An answer; QueryError when it is none."""
    try:
        return _found.decode(data)
    except msgspec.MsgspecError as error:
        raise QueryError(f"an answer that this version does not understand: {error}") from None


def decode_changed(data: bytes) -> Changed:
    """A change; QueryError when it is none."""
    try:
        return _changed.decode(data)
    except msgspec.MsgspecError as error:
        raise QueryError(f"an answer that this version does not understand: {error}") from None


def decode_refused(data: bytes, status: int) -> QueryError | AppError:
    """The error in the body of an answer that is none."""
    try:
        return error_of(_refused.decode(data))
    except msgspec.MsgspecError:
        return QueryError(f"a worker answered {status}: {data[:200]!r}")


_LENGTH = struct.Struct(">I")
MOST_FRAME = 64 << 20


def framed(data: bytes) -> bytes:
    """A message in a stream of several."""
    return _LENGTH.pack(len(data)) + data


class Frames:
    """The messages of a stream, out of pieces cut anywhere.

    >>> frames = Frames()
    >>> list(frames.feed(framed(b"one") + framed(b"two")[:5])), list(frames.feed(b"wo"))
    ([b'one'], [b'two'])
    """

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, piece: bytes) -> Iterable[bytes]:
        """The messages that are complete now; QueryError for one that cannot be meant."""
        rest = self._rest
        rest += piece
        while len(rest) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(rest)
            if length > MOST_FRAME:
                raise QueryError(f"a message of {length} bytes")
            end = _LENGTH.size + length
            if len(rest) < end:
                return
            yield bytes(rest[_LENGTH.size : end])
            del rest[:end]
