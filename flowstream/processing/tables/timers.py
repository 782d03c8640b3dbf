"""Durable timers per key: set and cancelled by agents, fired as the events of another agent.

A timer is a row of a table of its own: setting, cancelling and firing it commit with the unit that
does it. A timer of an hour that a worker does not live to see is fired by the next one.

By event time a timer is over for a unit once the watermark of the events before that unit has
passed it, whether its agent has had its turn or not: else what fires were a matter of how events
come in batches. One that is over and set anew leaves its row to the new one, and is kept in another
until it is fired.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, cast

from flowstream.processing.errors import AppError
from flowstream.processing.events.current import Current, in_unit
from flowstream.processing.events.event_time import FARTHEST_S, instant_ms
from flowstream.processing.tables.inner import Fired, InnerSource
from flowstream.processing.tables.table import Table
from flowstream.processing.time.digits import DIGITS, digits, leading
from flowstream.processing.time.dues import PREFIX, DueOf, DuePartition
from flowstream.processing.values.codecs import Codec, refusal
from flowstream.processing.values.durations import Seconds, milliseconds
from flowstream.processing.values.round_trips import check_kept, kept_codec, row_key_codec
from flowstream.state.overlay import DELETED
from flowstream.state.table import TablePartition
from flowstream.state.table_view import TableView

K = TypeVar("K")
V = TypeVar("V")

TimeDomain = Literal["event", "processing"]
OVER = b"!"
"""Before instant, count and key of a timer that was over when its key got another one."""


def timer_row(due_ms: int, payload: bytes) -> bytes:
    """A timer's row: 16 digits of milliseconds, then the value."""
    return digits(due_ms) + payload


def split_timer_row(row: bytes) -> tuple[int, bytes]:
    """Instant and value of a timer's row."""
    return leading(row), row[DIGITS:]


class TimerPartition(DuePartition):
    """What follows the timers of event time of one partition."""

    __slots__ = ("_moved", "_upcoming")
    keeps_over = True

    def __init__(self, partition: TablePartition, due_of: DueOf) -> None:
        super().__init__(partition, due_of, by_value=True)
        self._upcoming = 0
        """Greater than any count in a row's name: of one key and instant the first goes first."""
        self._moved: dict[bytes, bytes] = {}
        """Where rows were moved to whose timers are being fired."""

    def keep_over(self, view: TableView, watermark_ms: int) -> None:
        """See `DuePartition.keep_over`. Not sooner than at the end of the unit: it may have awaited
        since it set the timer, and the one that was over may have been fired meanwhile.
        """
        for row in [row for row, value in view.writes.items() if value is not DELETED]:
            before = view.partition.read(row)
            if before is not DELETED and row.startswith(PREFIX):
                kept = cast("bytes", before)
                if split_timer_row(kept)[0] <= watermark_ms:
                    count = digits(self._upcoming)
                    name = OVER + kept[:DIGITS] + count + row.removeprefix(PREFIX)
                    view.writes[name] = kept

    def observe(self, rows: Mapping[bytes, object], watermark_ms: int) -> None:
        """See `DuePartition.observe`."""
        for row, value in rows.items():
            if row.startswith(OVER) and value is not DELETED:
                before = PREFIX + key_of(row)
                if before not in self.agenda:
                    self._moved[before] = row
        super().observe(rows, watermark_ms)

    def _put(self, row: bytes, value: Any, watermark_ms: int | None) -> None:
        if row.startswith(OVER):
            count = leading(row[len(OVER) + DIGITS :])
            self._upcoming = max(self._upcoming, count + 1)
        super()._put(row, value, watermark_ms)

    def settled_as(self, row: bytes) -> bytes:
        """See `DuePartition.settled_as`."""
        return self._moved.pop(row, row)

    def is_taken(self, row: bytes) -> bool:
        """See `DuePartition.is_taken`."""
        return row in self._moved.values()

    def give_back(self, row: bytes, due_ms: int) -> None:
        """See `DuePartition.give_back`; one that was moved is on the agenda under its new name."""
        self._moved.pop(row, None)
        super().give_back(row, due_ms)


def key_of(row: bytes) -> bytes:
    """The key of a timer's row."""
    return row[len(OVER) + 2 * DIGITS :] if row.startswith(OVER) else row.removeprefix(PREFIX)


class Timers(InnerSource[K, V]):
    """One timer per key, with a value; see `App.Timers`."""

    def __init__(
        self,
        name: str,
        *,
        key_type: type[K],
        value_type: type[V],
        time: TimeDomain,
        partitions: int | None,
    ) -> None:
        if time not in ("event", "processing"):
            raise AppError(f"timers {name!r}: time is 'event' or 'processing', not {time!r}")
        self.name = name
        for kind in (key_type, value_type):
            check_kept(kind, f"timers {name!r}")
        self.key_codec: Codec[K] = row_key_codec(key_type)
        self.value_codec: Codec[V] = kept_codec(value_type)
        self.partitions = partitions
        self._time = time
        self._rows: Table[bytes, bytes] = Table(
            name, key_type=bytes, value_type=bytes, default=None, partitions=partitions
        )
        self._rows.comes_due = True
        self._rows.timer_codecs = (self.key_codec, self.value_codec)

    @property
    def table(self) -> str:
        """The table that holds them."""
        return self.name

    @property
    def hidden(self) -> tuple[Table[Any, Any], ...]:
        """Tables that nobody declared."""
        return (self._rows,)

    @property
    def by_value(self) -> bool:
        """A row's value begins with its instant."""
        return True

    @property
    def by_wall_clock(self) -> bool:
        """Whether instants are the worker's clock's."""
        return self._time == "processing"

    def set(
        self,
        key: K,
        value: V,
        *,
        at: float | datetime.datetime | None = None,
        after: Seconds | None = None,
    ) -> None:
        """Set the key's timer, in place of the one that it has. One of event time that is over by
        then fires all the same, whether its agent has had its turn or not.

        `at` is an instant (seconds since 1970, or a datetime); `after` counts from the event being
        processed, or from the worker's clock for timers of processing time. What is past is due
        at once. Set it where the key's events are processed: there it lives, and fires.
        """
        current = in_unit(f"setting timer {self.name!r}")
        if (at is None) == (after is None):
            raise AppError(f"timer {self.name!r}: give at= or after=, one of them")
        if at is not None:
            due_ms = instant_ms(at)
        else:
            now = current.wall_time_ms() if self.by_wall_clock else current.timestamp_ms
            due_ms = now + milliseconds(cast("Seconds", after))
        if abs(due_ms) > FARTHEST_S * 1000:
            raise ValueError(f"timer {self.name!r}: after={after!r} is too far away")
        try:
            payload = self.value_codec.encode(value)
        except (TypeError, ValueError) as error:
            what = f"a value of timers {self.name!r}"
            raise refusal(self.value_codec, value, error, what, "value_type") from None
        current.view(self.name).set(self._row(key), timer_row(due_ms, payload))

    def cancel(self, key: K) -> bool:
        """Forget the key's timer; False when it has none (any more)."""
        current, row = in_unit(f"cancelling timer {self.name!r}"), self._row(key)
        if self._pending(current, row) is None:
            return False
        view = current.view(self.name)
        if row in view.writes and self._is_over(current, view.partition.read(row)):
            # What this unit has set; the one before it fires all the same.
            del view.writes[row]
        else:
            view.delete(row)
        return True

    def get(self, key: K) -> tuple[float, V] | None:
        """The key's timer as (instant in seconds, value), None when it has none (any more)."""
        found = self._pending(in_unit(f"looking at timer {self.name!r}"), self._row(key))
        if found is None:
            return None
        due_ms, payload = split_timer_row(found)
        return due_ms / 1000, self.value_codec.decode(payload)

    def __contains__(self, key: K) -> bool:
        current = in_unit(f"looking at timer {self.name!r}")
        return self._pending(current, self._row(key)) is not None

    def _pending(self, current: Current, row: bytes) -> bytes | None:
        """The timer of a row, unless it is over for this unit. One that the unit has set itself is
        not there yet for those that fire.
        """
        view = current.view(self.name)
        found = view.get(row)
        if found is DELETED or (row not in view.writes and self._is_over(current, found)):
            return None
        return cast("bytes", found)

    def _is_over(self, current: Current, found: object) -> bool:
        """Whether what completed units left in a row fires, whatever this unit does."""
        if found is DELETED or self.by_wall_clock:
            return False
        return split_timer_row(cast("bytes", found))[0] <= current.watermark(self.name)

    def _row(self, key: K) -> bytes:
        try:
            return PREFIX + self.key_codec.encode(key)
        except (TypeError, ValueError) as error:
            what = f"a key of timers {self.name!r}"
            raise refusal(self.key_codec, key, error, what, "key_type") from None

    def due_ms(self, row: bytes, value: Any, watermark_ms: int | None) -> int | None:
        """The instant in the row."""
        del row, watermark_ms
        return split_timer_row(value)[0]

    def fired(
        self, row: bytes, due_ms: int, views: Mapping[str, TableView], partition: int
    ) -> Fired | None:
        """The timer's key and value, at its instant."""
        found = views[self.name].get(row)
        if found is DELETED:
            return None
        _, payload = split_timer_row(cast("bytes", found))
        return Fired(self.name, partition, due_ms, key_of(row), payload, row, due_ms)

    def agenda(self, partition: TablePartition) -> DuePartition:
        """See `InnerSource.agenda`."""
        if self.by_wall_clock:
            return super().agenda(partition)
        return TimerPartition(partition, self.due_ms)

    def settle(self, fired: Fired, views: Mapping[str, TableView], now_ms: int) -> None:
        """Gone, unless it was set anew meanwhile."""
        del now_ms
        view = views[self.name]
        if view.get(fired.row) == timer_row(fired.due_ms, fired.value or b""):
            view.delete(fired.row)
