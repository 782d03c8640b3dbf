"""Parked events: what an agent failed on, and what came after it under the same key.

Pure over the table view it is given. All parked events of a key are one row; the first of them is
tried again when its pause is over, by an instance of the agent that reads this source.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, cast

import msgspec

from flowstream.processing.events.event import Arrival
from flowstream.processing.tables.inner import Fired, Kept, KeyedRows
from flowstream.processing.tables.table import Table
from flowstream.processing.time.dues import PREFIX
from flowstream.processing.values.codecs import Codec, readable
from flowstream.state.overlay import DELETED
from flowstream.state.table_view import TableView

LOT_BYTES = 500_000
"""Of one key, where its changelog takes so much; what comes beyond is a dead letter."""


class Parked(NamedTuple):
    """One event as it was read."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


class Lot(NamedTuple):
    """A key's parked events: when the first is tried again (ms), and how often it failed."""

    due_ms: int
    failures: int
    events: tuple[Parked, ...]


LOTS: Codec[Lot] = Codec(
    "parked", msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(Lot).decode, immutable=True
)


class Parking(KeyedRows[Any, Any]):
    """The parked events of one agent."""

    kind = "parked"

    def __init__(self, agent: str, keys: Codec[Any], values: Codec[Any]) -> None:
        self.name = f"{agent}-parked.again"
        self.key_codec = keys
        self.value_codec = values
        rows: Table[Any, Any] = Table(
            f"{agent}-parked", key_type=bytes, value_type=bytes, default=None, partitions=None
        )
        rows.value_codec = LOTS
        self._keep_in(rows)

    @property
    def by_value(self) -> bool:
        """A lot says when it is due."""
        return True

    @property
    def by_wall_clock(self) -> bool:
        """Pauses are of the worker's clock."""
        return True

    def kept(self, row: bytes, value: Any) -> Iterable[Kept]:
        """The events, at the instant at which the first is tried again."""
        lot = cast("Lot", value)
        for each in lot.events:
            event = each._asdict() | {"value": readable(self.value_codec, each.value)}
            yield Kept(event | {"failures": lot.failures}, at_ms=lot.due_ms)

    def due_ms(self, row: bytes, value: Any, watermark_ms: int | None) -> int | None:
        """When its first event is tried again."""
        del watermark_ms
        return cast("Lot", value).due_ms if row.startswith(PREFIX) else None

    def fired(
        self, row: bytes, due_ms: int, views: Mapping[str, TableView], partition: int
    ) -> Fired | None:
        """The first event of a lot, as it was."""
        lot = views[self.table].get(row)
        if lot is DELETED:
            return None
        first = cast("Lot", lot).events[0]
        return Fired(
            first.topic, first.partition, first.timestamp, row[len(PREFIX) :], first.value, row,
            due_ms, offset=first.offset, headers=first.headers,
        )  # fmt: skip

    def settle(self, fired: Fired, views: Mapping[str, TableView], now_ms: int) -> None:
        """It went well, or is given up: the next one of its key is due at once."""
        view = views[self.table]
        lot = view.get(fired.row)
        if lot is not DELETED:
            rest = cast("Lot", lot).events[1:]
            if rest:
                view.set(fired.row, Lot(now_ms, 0, rest))
            else:
                view.delete(fired.row)

    def holds(self, view: TableView, key: bytes) -> bool:
        """Whether events of a key are parked: later ones have to wait behind them."""
        return view.get(PREFIX + key) is not DELETED

    def has_room(self, view: TableView, record: Arrival) -> bool:
        """Whether the row of a key can take one more: it must fit into the changelog."""
        row = PREFIX + (record.key or b"")
        lot = view.get(row)
        held = () if lot is DELETED else cast("Lot", lot).events
        size = len(row) + sum(map(_bytes, held)) + _bytes(record)
        return size < min(LOT_BYTES, view.partition.most_bytes)

    def park(self, view: TableView, record: Arrival, due_ms: int, failures: int) -> None:
        """Put an event at the end of its key's lot."""
        assert record.key is not None
        row = PREFIX + record.key
        event = Parked(
            record.topic, record.partition, record.offset, record.timestamp, record.value,
            tuple(record.headers),
        )  # fmt: skip
        lot = view.get(row)
        if lot is DELETED:
            view.set(row, Lot(due_ms, failures, (event,)))
        else:
            before = cast("Lot", lot)
            view.set(row, Lot(before.due_ms, before.failures, (*before.events, event)))

    def put_off(self, view: TableView, row: bytes, due_ms: int) -> None:
        """The first event of a lot failed once more."""
        lot = cast("Lot", view.get(row))
        view.set(row, Lot(due_ms, lot.failures + 1, lot.events))

    def failures(self, view: TableView, row: bytes) -> int:
        """How often the first event of a lot has failed."""
        return cast("Lot", view.get(row)).failures


def _bytes(event: Parked | Arrival) -> int:
    """At least what an event takes in its row."""
    headers = sum(4 * len(name) + len(content or b"") + 20 for name, content in event.headers)
    return len(event.topic) + len(event.value or b"") + headers + 60
