"""Rows of tables as people and programs read them: what a row's key and value mean.

Pure. Knows every kind of table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from flowstream.processing.errors import AppError
from flowstream.processing.tables.replicated import GlobalTable
from flowstream.processing.tables.set_tables import MemberRows
from flowstream.processing.tables.table import Table
from flowstream.processing.tables.timers import key_of, split_timer_row
from flowstream.processing.time.dues import PREFIX, is_own
from flowstream.processing.time.windows import STREAM_TIME_KEY, split_window_key, window_bounds
from flowstream.processing.values.codecs import DECODE_ERRORS, Codec, readable
from flowstream.processing.values.moments import moment_text
from flowstream.state.expiring import TIME_ROW
from flowstream.state.keys import after


@dataclass(frozen=True, slots=True)
class Shown:
    """A row. `window` is the start of the row's window in ms and `end` its end, `at` the event time
    of its write where rows expire, a timer's instant; for sets the value is the member.
    """

    key: Any
    value: Any
    window: int | None = None
    at: int | None = None
    end: int | None = None

    def plain(self) -> dict[str, Any]:
        """For JSON: a window by its start in seconds, as queries have it, and by both its ends."""
        found = {"key": builtins(self.key), "value": builtins(self.value)}
        if self.window is not None and self.end is not None:
            found["window"] = self.window / 1000
            found["start"], found["end"] = moment_text(self.window), moment_text(self.end)
        if self.at is not None:
            found["at"] = self.at / 1000
        return found


def kind_of(table: Table[Any, Any]) -> str:
    """What a table is, in a word or two."""
    kind = "table"
    if isinstance(table, MemberRows):
        kind = "global set" if isinstance(table, GlobalTable) else "set"
    elif isinstance(table, GlobalTable):
        kind = "global"
    elif table.window is not None:
        kind = "windowed"
    elif table.timer_codecs is not None:
        kind = "timers"
    elif table.keeper is not None:
        kind = table.keeper.kind
    return kind if table.ttl_ms is None else f"{kind}, ttl {table.ttl_ms / 1000:g} s"


def all_shown(table: Table[Any, Any], row: bytes, data: bytes, now_ms: int) -> Iterator[Shown]:
    """What a row holds: what an operator of an agent keeps of a key may be several things."""
    keeper = table.keeper
    if keeper is None:
        found = shown(table, row, data, now_ms)
        if found is not None:
            yield found
        return
    key = None if is_own(row) else keeper.key_of(row)
    if key is None:
        return
    try:
        whole = table.row_codec.decode(data)
    except DECODE_ERRORS as error:
        whole = table.mend(row, data, error)
    name = readable(keeper.key_codec, key)
    for value, span, at in keeper.kept(row, whole):
        start, end = (None, None) if span is None else span
        yield Shown(name, value, start, at, end)


def is_beside_keys(table: Table[Any, Any], row: bytes) -> bool:
    """Whether a row of a table without a keeper is what we keep beside its keys."""
    ours = STREAM_TIME_KEY if table.window else TIME_ROW
    return row == ours or (table.comes_due and is_own(row))


def shown(table: Table[Any, Any], row: bytes, data: bytes, now_ms: int) -> Shown | None:
    """A row of a table without a keeper; None when it is none of the table's keys, or past its time
    at event time `now_ms`. RowUnreadable when the value does not decode.
    """
    if is_beside_keys(table, row):
        return None
    if table.timer_codecs is not None:
        keys, values = table.timer_codecs
        due_ms, payload = split_timer_row(data)
        return Shown(keys.decode(key_of(row)), values.decode(payload), at=due_ms)
    window = at = end = None
    name: Any = row
    if table.window is not None:
        found = split_window_key(row)
        if found is None:
            return None
        name, window = table.key_codec.decode(found[0]), found[1]
        end = window + table.window.size_ms
    else:
        name = table.row_keys.decode(row)
    try:
        value = table.row_codec.decode(data)
    except DECODE_ERRORS as error:
        value = table.mend(row, data, error)
    if table.ttl_ms is not None:
        at, value = value
        if at + table.ttl_ms <= now_ms:
            return None
    if isinstance(table, MemberRows):
        name, value = name
    return Shown(name, value, window, at, end)


def event_time(table: Table[Any, Any], row: bytes | None) -> int:
    """What the time row of an expiring table says; -1 without one."""
    return -1 if row is None or table.ttl_ms is None else int(row)


def parse_key(table: Table[Any, Any], text: str) -> Any:
    """A key of the table from a command line: as in a topic, where text needs no quotes."""
    codec = table.key_codec if table.timer_codecs is None else table.timer_codecs[0]
    if table.keeper is not None:
        codec = table.keeper.key_codec
    return parsed(codec, text, f"table {table.name!r}")


def parse_prefix(table: Table[Any, Any], text: str) -> Any:
    """What keys begin with, as `range(prefix=)` takes it: a text where keys are texts, else a JSON
    list of their first fields.
    """
    begin, kind = table.row_keys.begin, table.key_codec.name
    if kind == "bytes":
        return typed_bytes(text)
    if begin is None or kind == "str":
        if typed_bytes(text) != text.encode("utf-8", "replace"):
            raise AppError(f"prefix={text!r:.80} is no text: keys of table {table.name!r} are str")
        return text
    try:
        fields = msgspec.json.decode(text)
        prefix = tuple(fields) if isinstance(fields, list) else fields
        begin(prefix)
    except (TypeError, ValueError) as error:
        raise AppError(
            f"prefix={text!r:.80} is not how keys of table {table.name!r} begin: it is a JSON list"
            f' of their first fields, e.g. ["blue"] ({error})'
        ) from None
    return prefix


def typed_bytes(text: str) -> bytes:
    """What was typed, also where that is not UTF-8."""
    return text.encode("utf-8", "surrogateescape")


def parsed(codec: Codec[Any], text: str, of: str) -> Any:
    """A key from a command line or an address; `of` what it is a key of."""
    for encode in (typed_bytes, msgspec.json.encode):
        try:
            return codec.decode(encode(text))
        except DECODE_ERRORS:
            continue
    raise AppError(f"{text!r} is no key of {of}, whose keys are {codec.name}")


def window_key_of(row: bytes) -> bytes | None:
    """The key that a window's row is of."""
    found = split_window_key(row)
    return None if found is None else found[0]


@dataclass(frozen=True, slots=True)
class KeyRows:
    """Where all rows of a key lie: start <= row < stop; None: to the end."""

    start: bytes
    stop: bytes | None
    of: bytes | None = None
    """The key, where rows of others may lie between its own: the windows of longer keys that begin
    like a window of it, e.g. those of `a@1` between the ones of `a`.
    """
    key_of: Callable[[bytes], bytes | None] = window_key_of

    def holds(self, row: bytes) -> bool:
        """Whether a row of these bounds is the key's."""
        return self.of is None or self.key_of(row) == self.of


def rows_of(table: Table[Any, Any], key: Any) -> KeyRows:
    """Where the rows of a key lie."""
    if isinstance(table, MemberRows):
        begin = table.row_keys.encode((key,))
        return KeyRows(begin, begin[:-1] + bytes((begin[-1] + 1,)))
    if table.window is not None:
        row = table.key_codec.encode(key)
        return KeyRows(*window_bounds(row), of=row)
    if table.keeper is not None:
        name = table.keeper.key_codec.encode(key)
        before, key_of = table.keeper.begin, table.keeper.key_of
        if before is None:
            return KeyRows(b"", None, name, key_of)
        return KeyRows(before + name, after(before + name), name, key_of)
    if table.timer_codecs is not None:
        row = PREFIX + table.timer_codecs[0].encode(key)
    else:
        row = table.row_keys.encode(key)
    return KeyRows(row, row + b"\0")


def builtins(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return msgspec.to_builtins(value, enc_hook=_plain)


def _plain(value: Any) -> Any:
    """What stands for a value that JSON does not know."""
    dump = getattr(value, "model_dump", None)
    return dump(mode="json") if callable(dump) else str(value)
