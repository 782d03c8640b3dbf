"""Crontabs: functions of an app that run at times of the clock, once per app and not per worker.

A crontab's next time is a row of a table of its own, in partition 0: whoever has that partition
runs it, in a unit that writes the next time. What it sends and that it ran commit together; a run
that was missed while no worker lived is made up for once. Pure.
"""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Iterable, Mapping
from typing import Any

from croniter import CroniterBadDateError, croniter

from flowstream.processing.errors import AppError
from flowstream.processing.tables.inner import Fired, Keeper, Kept, OwnRows
from flowstream.processing.tables.table import Table
from flowstream.processing.tables.timers import split_timer_row, timer_row
from flowstream.processing.values.codecs import BYTES, STR, readable
from flowstream.state.overlay import DELETED
from flowstream.state.table_view import TableView

TABLE = "crontab"


def rows_table() -> Table[bytes, bytes]:
    """The table that holds the next times of all crontabs of an app."""
    rows: Table[bytes, bytes] = Table(
        TABLE, key_type=bytes, value_type=bytes, default=None, partitions=None
    )
    rows.keeper = NextTimes()
    return rows


class NextTimes(Keeper):
    """The rows of that table: by its name, a crontab's next time and the schedule it is of."""

    kind = "crontabs"
    begin = b""
    key_codec = STR

    def key_of(self, row: bytes) -> bytes:
        """The name."""
        return row

    def kept(self, row: bytes, value: Any) -> Iterable[Kept]:
        """The schedule, at its next time."""
        del row
        due_ms, schedule = split_timer_row(value)
        return (Kept(readable(STR, schedule), at_ms=due_ms),)


class Schedule:
    """A cron expression (five fields, or six with seconds last) in a time zone. What comes at an
    hour of the day comes once where that hour is there twice, as with cron.

    >>> noon = Schedule("0 12 * * *", "Europe/Berlin")
    >>> datetime.datetime.fromtimestamp(noon.next_ms(0) / 1000, datetime.UTC).isoformat()
    '1970-01-01T11:00:00+00:00'
    """

    def __init__(self, expression: str, timezone: str | datetime.tzinfo | None) -> None:
        if not _is_cron(expression):
            raise AppError(
                f"{expression!r} is no cron expression: minute, hour, day, month, weekday, e.g."
                " '30 9 * * mon-fri'"
            )
        self.expression = expression
        self.zone = _zone(timezone)
        self.text = f"{expression} {self.zone}"
        fields = expression.lower().split()
        self._is_of_any_hour = fields == ["@hourly"] or any(hour[0] == "*" for hour in fields[1:2])
        try:
            self.next_ms(0)
        except CroniterBadDateError:
            raise AppError(f"{expression!r} never comes: no year has such a day") from None

    def next_ms(self, after_ms: int) -> int:
        """The first time after an instant, in ms since 1970."""
        after = datetime.datetime.fromtimestamp(after_ms / 1000, self.zone)
        times = croniter(self.expression, after)
        found: datetime.datetime = times.get_next(datetime.datetime)
        while found.fold and not self._is_of_any_hour:
            found = times.get_next(datetime.datetime)
        return round(found.timestamp() * 1000)


def _is_cron(expression: object) -> bool:
    """With a year it would come no more some day."""
    if not isinstance(expression, str) or len(expression.split()) > 6:
        return False
    return bool(croniter.is_valid(expression))


def _zone(timezone: object) -> datetime.tzinfo:
    if timezone is None:
        return datetime.UTC
    if isinstance(timezone, datetime.tzinfo):
        return timezone
    if not isinstance(timezone, str):
        raise AppError(f"a time zone is a name, e.g. 'Europe/Berlin', not {timezone!r}")
    try:
        return zoneinfo.ZoneInfo(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
        raise AppError(f"{timezone!r} is no time zone, e.g. 'Europe/Berlin': {error}") from None


class Crontab(OwnRows[str, bytes]):
    """One crontab's times, as a source; made by `App.crontab`."""

    key_codec = STR
    value_codec = BYTES

    def __init__(self, name: str, schedule: Schedule, rows: Table[bytes, bytes]) -> None:
        self.name = f"{TABLE}.{name}"
        self.schedule = schedule
        self._row = name.encode()
        self._keep_in(rows)

    @property
    def by_value(self) -> bool:
        """A row says when it is due."""
        return True

    @property
    def by_wall_clock(self) -> bool:
        """By the worker's clock."""
        return True

    def armed(self, partition: int, present: Iterable[bytes]) -> Mapping[bytes, int]:
        """A crontab that is new here gets its first time at once."""
        return {self._row: 0} if partition == 0 and self._row not in present else {}

    def due_ms(self, row: bytes, value: Any, watermark_ms: int | None) -> int | None:
        """Its next time; at once, to get another, when it was written for another schedule."""
        del watermark_ms
        if row != self._row:
            return None
        due_ms, schedule = split_timer_row(value)
        return due_ms if schedule == self.schedule.text.encode() else 0

    def fired(
        self, row: bytes, due_ms: int, views: Mapping[str, TableView], partition: int
    ) -> Fired:
        """A time that has come; silent when the crontab only gets its first one."""
        is_first = due_ms == 0 or views[self.table].get(row) is DELETED
        return Fired(self.name, partition, due_ms, row, b"", row, due_ms, is_silent=is_first)

    def settle(self, fired: Fired, views: Mapping[str, TableView], now_ms: int) -> None:
        """The next time is after now, however many were missed."""
        due_ms = self.schedule.next_ms(max(fired.due_ms, now_ms))
        views[self.table].set(fired.row, timer_row(due_ms, self.schedule.text.encode()))
