"""Durable timers per key: set and cancelled by agents, fired as the events of another agent.

A timer is a row of a table of its own: setting, cancelling and firing it commit with the unit that
does it. A timer of an hour that a worker does not live to see is fired by the next one.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, cast

from flowstream.processing.errors import AppError
from flowstream.processing.events.current import in_unit
from flowstream.processing.events.event_time import instant_ms
from flowstream.processing.tables.inner import Fired, InnerSource
from flowstream.processing.tables.table import Table
from flowstream.processing.time.dues import PREFIX
from flowstream.processing.values.codecs import Codec, codec_of, refusal
from flowstream.processing.values.durations import Seconds, milliseconds
from flowstream.state.overlay import DELETED
from flowstream.state.table import TableView

K = TypeVar("K")
V = TypeVar("V")

TimeDomain = Literal["event", "processing"]
_DIGITS = 16


def timer_row(due_ms: int, payload: bytes) -> bytes:
    """A timer's row: 16 digits of milliseconds, then the value."""
    return b"%016d" % due_ms + payload


def split_timer_row(row: bytes) -> tuple[int, bytes]:
    """Instant and value of a timer's row."""
    return int(row[:_DIGITS]), row[_DIGITS:]


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
        self.key_codec: Codec[K] = codec_of(key_type)
        self.value_codec: Codec[V] = codec_of(value_type)
        self.partitions = partitions
        self._time = time
        self._rows: Table[bytes, bytes] = Table(
            name, key_type=bytes, value_type=bytes, default=None, partitions=partitions
        )
        self._rows.comes_due = True

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
        """Set the key's timer, in place of the one that it has.

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
        try:
            payload = self.value_codec.encode(value)
        except (TypeError, ValueError) as error:
            what = f"a value of timers {self.name!r}"
            raise refusal(self.value_codec, value, error, what, "value_type") from None
        current.view(self.name).set(self._row(key), timer_row(due_ms, payload))

    def cancel(self, key: K) -> bool:
        """Forget the key's timer; False when it has none."""
        view, row = in_unit(f"cancelling timer {self.name!r}").view(self.name), self._row(key)
        if view.get(row) is DELETED:
            return False
        view.delete(row)
        return True

    def get(self, key: K) -> tuple[float, V] | None:
        """The key's timer as (instant in seconds, value), None when it has none."""
        found = in_unit(f"looking at timer {self.name!r}").view(self.name).get(self._row(key))
        if found is DELETED:
            return None
        due_ms, payload = split_timer_row(cast("bytes", found))
        return due_ms / 1000, self.value_codec.decode(payload)

    def __contains__(self, key: K) -> bool:
        view = in_unit(f"looking at timer {self.name!r}").view(self.name)
        return view.get(self._row(key)) is not DELETED

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
        key = row.removeprefix(PREFIX)
        return Fired(self.name, partition, due_ms, key, payload, row, due_ms)

    def settle(self, fired: Fired, views: Mapping[str, TableView], now_ms: int) -> None:
        """Gone, unless it was set anew meanwhile."""
        del now_ms
        view = views[self.name]
        if view.get(fired.row) == timer_row(fired.due_ms, fired.value or b""):
            view.delete(fired.row)
