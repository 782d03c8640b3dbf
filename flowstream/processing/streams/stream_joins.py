"""Joins of a stream with another: what `stream.join(topic, within=10)` gives an agent.

Declarations, and the source of what met nobody. The parts that such an agent plays: `meeting`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flowstream.processing.errors import AppError
from flowstream.processing.events.topic import Topic
from flowstream.processing.streams.joining import ENTRIES, SIDES, How, Side, StreamJoin
from flowstream.processing.tables.inner import Fired, Kept, KeyedRows
from flowstream.processing.tables.lateness import Late
from flowstream.processing.tables.table import Table
from flowstream.processing.values.codecs import BYTES, Codec, readable
from flowstream.processing.values.durations import Seconds, milliseconds
from flowstream.processing.values.joined import LEFT_HEADER, RIGHT_HEADER, Joined, joined_shape
from flowstream.state.table_view import TableView

Within = Seconds | tuple[Seconds, Seconds]
"""How far apart two events may be: both ways, or (before, after) the left one."""


class JoinedStreams(KeyedRows[Any, Joined[Any, Any]]):
    """The join of one agent: its table, and the events in it that met nobody."""

    kind = "join"
    begin = None

    def __init__(
        self, right: Topic[Any, Any], join: StreamJoin, *, late: Late, name: str | None
    ) -> None:
        self.right = right
        self.join = join
        self.late: Late = late
        self.given_name = name
        self.name = ""
        self.value_codec: Codec[Any] = BYTES
        self.values: dict[Side, Codec[Any]] = {}

    def bind(self, agent: str, keys: Codec[Any], values: Codec[Any]) -> None:
        """Learn whose join this is and what the left stream holds."""
        table = self.given_name or f"{agent}-join"
        self.name = f"{table}.joined"
        self.key_codec = keys
        self.values = {"left": values, "right": self.right.value_codec}
        rows: Table[Any, Any] = Table(
            table, key_type=bytes, value_type=bytes, default=None, partitions=None
        )
        rows.value_codec, rows.late = ENTRIES, self.late
        self._keep_in(rows)

    @property
    def by_value(self) -> bool:
        """A row holds the events, and they their instants."""
        return True

    @property
    def shape(self) -> Callable[[Any, Any], Any]:
        """Both sides, of which one is None here."""
        return joined_shape(self.values["left"], self.values["right"])

    def key_of(self, row: bytes) -> bytes | None:
        """What stands behind the side."""
        return row[2:] if row[:2] in SIDES else None

    def kept(self, row: bytes, value: Any) -> Iterable[Kept]:
        """The events of one side."""
        side = SIDES[row[:2]]
        codec = self.values[side]
        return (
            Kept({side: readable(codec, data), "met": met}, at_ms=at) for at, met, data in value
        )

    def due_ms(self, row: bytes, value: Any, watermark_ms: int | None) -> int | None:
        """When the first event of a row can meet nobody any more."""
        del watermark_ms
        return self.join.due_ms(row, value)

    def fired(
        self, row: bytes, due_ms: int, views: Mapping[str, TableView], partition: int
    ) -> Fired:
        """An event that met nobody, if such are told; else silent."""
        entry = self.join.lone(row, views[self.table], due_ms)
        if entry is None:
            return Fired(self.name, partition, due_ms, None, None, row, due_ms, is_silent=True)
        side = SIDES[row[:2]]
        left, right = (entry[2], None) if side == "left" else (None, entry[2])
        return Fired(
            self.name, partition, entry[0], row[2:], b"", row, due_ms,
            headers=((LEFT_HEADER, left), (RIGHT_HEADER, right)),
        )  # fmt: skip

    def settle(self, fired: Fired, views: Mapping[str, TableView], now_ms: int) -> None:
        """It is over."""
        del now_ms
        self.join.settle(fired.row, views[self.table], fired.due_ms)


def stream_join(
    right: Topic[Any, Any], *, within: Within, how: How, grace: Seconds, late: Late,
    name: str | None,
) -> JoinedStreams:  # fmt: skip
    """A join as an agent asks for it, checked."""
    if how not in ("inner", "left", "outer"):
        raise AppError(f"how= is 'inner', 'left' or 'outer', not {how!r}")
    if late not in ("drop", "dead_letter"):
        raise AppError(f"late= of a join is 'drop' or 'dead_letter', not {late!r}")
    if isinstance(within, tuple) and len(within) != 2:
        raise AppError(f"within= is seconds, or (before, after) in seconds, not {within!r}")
    before, after = within if isinstance(within, tuple) else (within, within)
    before_ms, after_ms, grace_ms = map(milliseconds, (before, after, grace))
    if before_ms + after_ms < 0 or grace_ms < 0:
        raise AppError(f"no event can meet another within={within!r}, grace={grace!r}")
    return JoinedStreams(
        right, StreamJoin(before_ms, after_ms, grace_ms, how), late=late, name=name
    )
