"""A task's event time: how far its sources have come, what is over in each of its tables, what
comes due in them, and what of all that is kept with its commits.

Pure; time is an argument. A table knows what is over in it if something comes due there, and also
if its windows merely close: what was closed for one worker must be for the next (S7, S10).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from flowstream.processing.running.kept_time import KeptTime
from flowstream.processing.running.plan import Plan, TablePlan
from flowstream.processing.running.surroundings import Timed
from flowstream.processing.tables.table_changes import change_row
from flowstream.processing.tables.windowed import WindowedPartition, is_beside
from flowstream.processing.time.dues import (
    PREFIX,
    WRITTEN_AS_BEGINS,
    WRITTEN_AS_KEY,
    DuePartition,
    RecordedTime,
)
from flowstream.processing.time.marks import Mark, Marker, Marks, mark_headers
from flowstream.processing.time.watermarks import UNKNOWN, EventClock, Watermark
from flowstream.processing.units.outputs import OutputTopic
from flowstream.processing.units.task import TaskId
from flowstream.processing.units.unit import Output
from flowstream.state.expiring import ExpiringPartition
from flowstream.state.table import Sealed, TablePartition

Tables = Sequence[tuple[TablePlan, TablePartition]]


class TaskTime:
    """The event time of one task."""

    def __init__(self, id: TaskId, plan: Plan) -> None:
        self.clock: EventClock | None = None
        """None when nothing in the task comes due or is ever late."""
        self.watermarks: dict[str, Watermark] = {}
        """What is over, by table."""
        self.timed: dict[str, Timed] = {}
        """The event time of tables whose rows end."""
        self.dues: dict[str, list[DuePartition]] = {}
        """What comes due, by table."""
        self.due_of: dict[str, DuePartition] = {}
        """The same by inner source."""
        self.watched: dict[str, list[str]] = {}
        """By table: those in which each of its changed keys is entered."""
        self._id = id
        self._plan = plan
        self._parts: dict[str, TablePartition] = {}
        self._recorded: dict[str, RecordedTime] = {}
        self._written_as: dict[str, bytes] = {}
        """Of which windows the rows of a table are."""
        self._kept: KeptTime | None = None
        self._goes_by_events = self._has_windows = False
        self._markers: list[tuple[int, Marker, str]] = []
        """Which source marks its watermark in which repartition topic."""

    def add(self, plan: TablePlan, part: TablePartition) -> Iterator[None]:
        """Another table of the task, with a pause after each slice of its rows."""
        table = plan.table
        self._parts[part.name] = part
        if table.written_as is not None:
            part.is_own = is_beside
            self._written_as[part.name] = WRITTEN_AS_BEGINS + table.written_as
        self._has_windows |= table.window is not None
        if table.window is not None and table.window.expires_ms is not None:
            windowed = WindowedPartition(part, table.window)
            yield from windowed.load()
            self.timed[table.name] = windowed
        if table.ttl_ms is not None:
            self.timed[table.name] = ExpiringPartition(part, table.ttl_ms)
        if table.window is not None and table.window.closes:
            self._recorded[part.name] = RecordedTime(part)
            self._goes_by_events = True

    def load(self) -> Iterator[None]:
        """What comes due in the tables, with a pause after each slice of rows."""
        for source in self._plan.due_sources:
            if source.table in self._parts:
                part = self._parts[source.table]
                due = source.agenda(part)
                yield from due.load()
                due.arm(source.armed(self._id.number, due.present))
                self.due_of[source.name] = due
                self.dues.setdefault(source.table, []).append(due)
                self._recorded.setdefault(source.table, RecordedTime(part))
                self._goes_by_events |= not (source.by_wall_clock or source.at_once)
                windowed = self.timed.get(source.judges)
                if source.judges != source.table and isinstance(windowed, WindowedPartition):
                    windowed.closing = due
                for name in source.watched:
                    self.watched.setdefault(name, []).append(source.table)
        for name in self.watched:
            expiring = self.timed.get(name)
            if isinstance(expiring, ExpiringPartition):
                expiring.is_held = self._is_untold(name)

    def _is_untold(self, table: str) -> Callable[[bytes], bool]:
        """Whether a unit that waits was told of a change of a key, or made one: what it writes will
        replace what is entered now.
        """
        beside = [self._parts[name].overlay for name in self.watched[table]]
        return lambda key: any(PREFIX + key in overlay.pending for overlay in beside)

    def start(self, topics: Sequence[str], *, idle_ms: int, now_ms: int) -> None:
        """The task begins to read these topics, numbered as here."""
        self._markers = [
            (index, Marker(f"{topic}/{self._id.number}"), reader.forwards_to)
            for index, topic in enumerate(topics)
            for reader in self._plan.readers_of(topic)
            if self._plan.marked(reader.forwards_to)
        ]
        if not self._recorded and not self._markers:
            return
        disorder = [self._plan.disorder_ms(topic) for topic in topics]
        clock = self.clock = EventClock(disorder, idle_ms=idle_ms, now_ms=now_ms)
        self._kept = KeptTime(clock, topics, self._recorded.values(), self._plan.marked)
        self._open_watermarks(clock, topics)

    def _open_watermarks(self, clock: EventClock, topics: Sequence[str]) -> None:
        """What is over in each table, by the sources that its rows come from."""
        readers = {inner.source.table: inner for inner in self._plan.inner}
        for name, recorded in self._recorded.items():
            inner = readers.get(name)
            wanted = inner.topics if inner is not None else ()
            wanted = wanted or tuple(topic for topic in topics if topic not in self._plan.ends)
            sources = [index for index, topic in enumerate(topics) if topic in wanted]
            watermark = Watermark(clock, sources or range(len(topics)))
            watermark.recall(recorded.at_ms)
            self.watermarks[name] = watermark
        for inner in self._plan.inner:
            if inner.source.table in self.watermarks:
                shared = self.watermarks[inner.source.table]
                if inner.source.judges in self._recorded:
                    shared.recall(self._recorded[inner.source.judges].at_ms)
                self.watermarks[inner.source.judges] = shared

    @property
    def is_minded(self) -> bool:
        """Whether event time says anything in this task."""
        return self.clock is not None or self._has_windows or bool(self.timed)

    @property
    def marks(self) -> Mapping[str, Marks]:
        """The marks of each repartition topic that the task reads."""
        return self._kept.marks if self._kept else {}

    def advance(self, at_work: Iterable[int], now_ms: int) -> None:
        """Time has passed; the sources `at_work` are not idle."""
        if self.clock is not None:
            for source in at_work:
                self.clock.fed(source, now_ms)
            for watermark in self.watermarks.values():
                watermark.advance(now_ms=now_ms)

    # -- with each epoch ------------------------------------------------------------------------

    def expire(self) -> None:
        """Before the epoch closes: rows whose time is over go, and who reads the changes of their
        table is told.
        """
        for name, timed in self.timed.items():
            watermark = self.watermarks.get(name)
            over = timed.expire(None if watermark is None else watermark.value_ms)
            for beside in self.watched.get(name, ()) if over else ():
                rows: dict[bytes, object] = {
                    PREFIX + key: change_row(at_ms) for key, at_ms in over.items()
                }
                part = self._parts[beside]
                part.absorb(Sealed(part, rows, rows))
                for due in self.dues[beside]:
                    due.observe(rows, UNKNOWN)

    def changed_marks(self, table: str) -> Mapping[bytes, bytes]:
        """What to keep of time beside the rows of this table: in the first that keeps any."""
        if self._kept is None or table != next(iter(self._recorded), None):
            return {}
        return self._kept.changed(with_tops=self._goes_by_events)

    def record(self, table: str, rows: dict[bytes, bytes | None]) -> None:
        """Add what is to be kept of the table's time, and of its windows, to an epoch's rows."""
        written_as = self._written_as.get(table)
        if written_as is not None and self._parts[table].store.get(WRITTEN_AS_KEY) != written_as:
            rows[WRITTEN_AS_KEY] = written_as
        if table in self.timed:
            self.timed[table].record_time(rows)
        if table in self._recorded:
            self._recorded[table].record(rows, self.watermarks[table].value_ms)

    def take_marks(
        self, output: Callable[[str], OutputTopic], now_ms: int, wall_ms: int
    ) -> list[Output]:
        """Marks to write into repartition topics, behind what was forwarded there. What they say is
        in their headers, and may be far from what the topic takes as the time of a record.
        """
        clock, found = self.clock, list[Output]()
        for index, marker, topic in self._markers if clock is not None else ():
            assert clock is not None
            here = Mark(clock.bound_of(index), clock.is_idle(index, now_ms))
            mark = marker.due(here, now_ms=now_ms)
            if mark is not None:
                headers = mark_headers(marker.upstream, mark)
                between = output(topic)
                at_ms = between.near(mark.at_ms, wall_ms)
                found += [(target, None, None, at_ms, headers) for target in between.targets]
        return found
