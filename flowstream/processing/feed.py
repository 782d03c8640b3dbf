"""The feed of an agent instance: its queue of records and its open unit.

The hot path: everything between two awaits is plain calls. Knows its task, its table views and
where completed effects go; it must not know consumer, transaction or the agent's policy.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

from flowstream.processing.current import Destination, Headers
from flowstream.processing.errors import PartitionMismatch
from flowstream.processing.event import Arrival
from flowstream.processing.plan import Reader
from flowstream.processing.surroundings import Shelf, Surroundings
from flowstream.processing.task import Source, Task
from flowstream.processing.topic import header_pairs
from flowstream.processing.unit import Output, Unit
from flowstream.state.table import Sealed, TableView

log = logging.getLogger("flowstream.agent")


class UnitFeed:
    """Records in, units out, for one agent on one partition."""

    def __init__(
        self,
        reader: Reader,
        index: int,
        task: Task,
        source: Source,
        shelf: Shelf,
        around: Surroundings,
    ) -> None:
        self.reader = reader
        self.index = index
        self.task = task
        self.source = source
        self.around = around
        self.peers: Sequence[UnitFeed] = ()
        self.ready: deque[Arrival] = deque()
        self.record: Arrival | None = None
        self.next_offset = source.position
        self.outputs: list[Output] = []
        self.closed = False
        # Records of the open unit before `record`; only a `take` has any.
        self._held: list[Arrival] = []
        self._holding = False
        self._shared = source.is_shared
        self.views = {name: view(self) for name, view in shelf.views.items()}
        self._view_list = list(self.views.items())
        self._windowed = shelf.windowed
        # With one plain table there is nothing to gather before it is published.
        single = self._view_list[0] if len(self._view_list) == 1 else None
        alone = single is not None and single[0] not in shelf.windowed
        self._single = single[1] if single is not None and alone else None
        self._append = around.append
        self._waiter: asyncio.Future[None] | None = None
        self._taken = 0
        self._loop = asyncio.get_running_loop()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.label})"

    # -- what tables and topics ask (see current.Current) ---------------------------------------

    @property
    def label(self) -> str:
        """Agent, topic and partition, for messages."""
        return f"agent {self.reader.agent.name!r} on {self.source.topic}-{self.source.partition}"

    @property
    def timestamp_ms(self) -> int:
        """Event time of the unit."""
        assert self.record is not None
        return self.record.timestamp

    @property
    def is_busy(self) -> bool:
        """True while the agent works on its unit and does not wait for more of it."""
        return self.record is not None and self._waiter is None

    def view(self, table: str) -> TableView:
        """The unit's view of a table."""
        try:
            return self.views[table]
        except KeyError:
            raise PartitionMismatch(
                f"{self.label} reads a topic with {self.task.id.partitions} partitions but table"
                f" {table!r} has another number: re-key with group_by, or declare the table with"
                f" partitions={self.task.id.partitions}"
            ) from None

    def stream_time_ms(self, table: str) -> int:
        """The greatest event time a windowed table has seen, this unit included."""
        windowed = self._windowed.get(table)
        seen = -1 if windowed is None else windowed.stream_time_ms
        return max(seen, self.timestamp_ms)

    def wall_time_ms(self) -> int:
        """Now, by the clock door."""
        return self.around.wall_time_ms()

    def late(self, table: str) -> None:
        """Count a write past keeping."""
        self.around.counts.late += 1
        log.debug("%s: a write to an expired window of %r was dropped", self.label, table)

    def emit(
        self,
        topic: Destination,
        key: object,
        value: object,
        partition: int | None,
        timestamp_ms: int | None,
        headers: Headers,
    ) -> tuple[str, int]:
        """Add a record to the unit."""
        output = self.around.output(topic.name)
        raw = topic.encode_key(key)
        target = output.place(raw) if partition is None else output.at(partition)
        at = self.timestamp_ms if timestamp_ms is None else timestamp_ms
        encoded, pairs = topic.encode_value(value), header_pairs(headers)
        output.check(raw, encoded, pairs)
        self.outputs.append((target, raw, encoded, at, pairs))
        return target

    # -- what streams ask (see stream.Feed) -----------------------------------------------------

    def complete(self) -> None:
        """The agent moved on: the unit merges, or waits for the offsets before it."""
        record = self.record
        if record is None:
            return
        if self._shared or self.task.pending:
            self._defer(self._seal(record))
            self.outputs = []
        else:
            single = self._single
            if single is None:
                for part in self._seal(record):
                    part.partition.absorb(part)
            elif single.writes:
                single.publish()
            outputs = self.outputs
            if outputs:
                append = self._append
                for tp, key, value, timestamp_ms, headers in outputs:
                    append(tp, key, value, timestamp_ms, headers)
                outputs.clear()
            self.source.position = self.next_offset
        self.record = None
        if self._holding:
            self._held = []
            self._holding = False

    def _seal(self, record: Arrival) -> list[Sealed]:
        """The unit's writes, encoded; every table or, when one does not encode, none."""
        dirty = [(name, view) for name, view in self._view_list if view.writes]
        sealed = [view.seal() for _, view in dirty]
        for name, view in dirty:
            if name in self._windowed:
                self._windowed[name].observe(view.writes, record.timestamp)
        for _, view in self._view_list:
            view.clear()
        return sealed

    def _defer(self, sealed: Sequence[Sealed]) -> None:
        for part in sealed:
            part.partition.defer(part)
        outputs, tables = tuple(self.outputs), tuple(sealed)
        self.task.defer(Unit(self.source.index, self.next_offset, outputs, tables))
        self.source.done(self.index, self.next_offset)
        for unit in self.task.mergeable():
            for part in unit.tables:
                part.partition.merge(part)
            for output in unit.outputs:
                self._append(*output)
        if not self.task.pending:
            for _, view in self._view_list:
                view.partition.overlay.settle()
        if self._shared and self.source.is_step_over:
            self._wake_peers()

    def _wake_peers(self) -> None:
        for peer in self.peers:
            if peer is not self and peer.ready:
                peer.wake()

    def hold(self) -> None:
        """Keep the open unit open over the next record, if one comes (see `take_ready`)."""
        self._holding = self.record is not None

    def advance(self) -> Arrival | None:
        """Complete the open unit and begin the next record if one may begin now."""
        if self.record is not None:
            self.complete()
        ready = self.ready
        if self._shared or not ready:
            return self.take_ready()
        record = ready.popleft()
        self.record = record
        self.next_offset = record.offset + 1
        self._taken += 1
        return record

    def take_ready(self) -> Arrival | None:
        """The next record if one may begin now."""
        ready = self.ready
        if not ready or (self._shared and not self._may_take(ready[0].offset)):
            return None
        record = ready.popleft()
        if self._holding:
            # Not before: a `take` that times out has its last record in the unit already.
            assert self.record is not None
            self._held.append(self.record)
        self.record = record
        self.next_offset = record.offset + 1
        self._taken += 1
        return record

    def _may_take(self, offset: int) -> bool:
        before = self.source.limit
        now = self._loop.time()
        allowed = self.source.may_take(self.index, offset, holding=self._holding, now=now)
        if self.source.limit != before:
            self._wake_peers()
        return allowed

    async def arrival(self, deadline: float | None) -> Arrival | None:
        """Wait for the next record; None at the deadline."""
        timer = None if deadline is None else self._loop.call_at(deadline, self.wake)
        try:
            while True:
                if self.closed:
                    raise asyncio.CancelledError
                self._waiter = self._loop.create_future()
                await self._waiter
                record = self.take_ready()
                if record is not None:
                    return record
                if deadline is not None and self._loop.time() >= deadline:
                    return None
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def wake(self) -> None:
        """Something may have changed for a waiting stream."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def feed(self, records: Sequence[Arrival]) -> None:
        """Records arrived."""
        self.ready.extend(records)
        self.wake()

    def loop_time(self) -> float:
        """The event loop's clock."""
        return self._loop.time()

    def drop(self) -> None:
        """The unit failed: forget its effects."""
        self.outputs = []
        for _, view in self._view_list:
            view.clear()
        self._held = []
        self._holding = False

    def forward(self, key: bytes | None) -> None:
        """Add the record, under a new key, to the agent's repartition topic."""
        record = self.record
        assert record is not None
        output = self.around.output(self.reader.forwards_to)
        headers = tuple(record.headers)
        output.check(key, record.value, headers)
        self.outputs.append((output.place(key), key, record.value, record.timestamp, headers))
