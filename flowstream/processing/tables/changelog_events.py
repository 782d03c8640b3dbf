"""Records of a changelog as the events that `on_changelog_event=` is told of.

Pure. A row that nobody can read any more is told by nobody here: whoever reads it says so.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from flowstream.processing.events.event import Event
from flowstream.processing.tables.showing import is_beside_keys, shown
from flowstream.processing.tables.table import Table
from flowstream.processing.time.windows import split_window_key
from flowstream.transport.types import LogRecord, TopicPartition

NEVER_MS = -(1 << 62)
"""Before this no row is past its time: what was written is told as it was."""


class Windowed(NamedTuple):
    """The key of a row in a window, which is given by both its ends in seconds."""

    key: Any
    window: tuple[float, float]


def changelog_event(
    table: Table[Any, Any], changelog: TopicPartition, record: LogRecord
) -> Event[Any] | None:
    """What a record of a table's changelog says: the key, and what it is now (None: deleted). None
    for rows that are none of the table's keys.
    """
    row, data = record.key, record.value
    if row is None:
        return None
    key: Any
    if data is None:
        found = _key_of(table, row)
        if found is None:
            return None
        (key,), value = found, None
    else:
        kept = shown(table, row, data, NEVER_MS)
        if kept is None:
            return None
        key, value = kept.key, kept.value
        if kept.window is not None and kept.end is not None:
            key = Windowed(key, (kept.window / 1000, kept.end / 1000))
    return Event(
        key, value, tuple(record.headers), record.timestamp / 1000, changelog.topic,
        changelog.partition, record.offset,
    )  # fmt: skip


def _key_of(table: Table[Any, Any], row: bytes) -> tuple[Any] | None:
    """The key of a row that was deleted."""
    if is_beside_keys(table, row):
        return None
    if table.window is None:
        return (table.row_keys.decode(row),)
    found = split_window_key(row)
    if found is None:
        return None
    name, start_ms = found
    span = (start_ms / 1000, (start_ms + table.window.size_ms) / 1000)
    return (Windowed(table.key_codec.decode(name), span),)
