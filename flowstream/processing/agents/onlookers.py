"""Those who are told what a worker does: the app's signals and sensors, and its channels.

Shell around both, for membership and tasks: nothing here decides anything, and what nobody listens
to costs one question per batch, commit or rebalance.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from flowstream.processing.agents.channels import Channel, Puts
from flowstream.processing.events.event import Arrival
from flowstream.processing.events.topic import RecordMetadata, header_pairs
from flowstream.processing.watching.announcing import Announcing
from flowstream.processing.watching.sensors import Sensor
from flowstream.processing.watching.watchdog import Busy
from flowstream.transport.errors import CommitRefused
from flowstream.transport.types import TopicPartition

log = logging.getLogger("flowstream.worker")

Append = Callable[..., None]
Record = tuple[Any, Any, Any, int, Any]
Heading = Callable[[Record], Record]
States = dict[Sensor, Any]


class Sent(NamedTuple):
    """A record of the open epoch that sensors wait to hear more of."""

    topic: str
    partition: int
    states: States


class Onlookers:
    """The signals and sensors of an app, as its worker tells them."""

    def __init__(self, app: Announcing) -> None:
        self.app = app
        self.sensors = app.sensors
        self.puts = Puts()
        self._sent: list[Sent] = []
        self._closing: tuple[States, list[Sent]] = ({}, [])
        self._rebalance: States = {}

    def appending(self, append: Append) -> Append:
        """What adds records to the open epoch, told to those who listen for that."""
        told = append
        if self.sensors:
            told = self._telling(append)
        return self.puts.appending(told) if self.app.has_channels else told

    def _telling(self, append: Append) -> Append:
        return lambda *record: append(*self._produced(*record))

    def _produced(
        self,
        tp: TopicPartition,
        key: bytes | None,
        value: bytes | None,
        timestamp_ms: int,
        headers: Sequence[tuple[str, bytes | None]] = (),
    ) -> tuple[Any, ...]:
        self._sent.append(Sent(tp[0], tp[1], self.sending(tp[0], key, value)))
        return tp, key, value, timestamp_ms, headers

    @property
    def heading(self) -> Heading | None:
        """What gives a unit's output the headers that handlers add; None where there are none. For
        before any of the unit is published: a handler may raise.
        """
        return self._headed if self.app.on_produce_message else None

    def _headed(self, output: Record) -> Record:
        tp, key, value, timestamp_ms, headers = output
        if isinstance(tp, Channel):
            return output
        pairs = self.headed(tp[0], key, value, tp[1], timestamp_ms, headers)
        return tp, key, value, timestamp_ms, pairs

    def headed(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp_ms: int | None,
        headers: Sequence[tuple[str, bytes | None]],
    ) -> tuple[tuple[str, bytes | None], ...]:
        """The headers of a record on its way, after `on_produce_message`, which may add some."""
        if not self.app.on_produce_message:
            return tuple(headers)
        listed = list(headers)
        at = None if timestamp_ms is None else timestamp_ms / 1000
        self.app.on_produce_message.send(
            topic=topic, key=key, value=value, partition=partition, timestamp=at, headers=listed
        )
        return header_pairs(tuple(listed))

    def sending(self, topic: str, key: bytes | None, value: bytes | None) -> States:
        """A record is on its way."""
        sizes = (len(key or b""), len(value or b""))
        return self.sensors.begun("on_send_initiated", self.app, topic, (key, value), *sizes)

    def sent(self, states: States, metadata: RecordMetadata) -> None:
        """It is stored."""
        self.sensors.ended("on_send_completed", states, self.app, after=(metadata,))

    def not_sent(self, states: States, error: BaseException) -> None:
        """It is not."""
        for sensor, state in states.items():
            self.sensors.ended("on_send_error", {sensor: state}, self.app, error)

    def received(self, tp: TopicPartition, records: Sequence[Arrival], end: int | None) -> None:
        """Records were fetched."""
        for record in records if self.sensors else ():
            self.sensors.told("on_message_in", tp, record.offset, record)
        if self.sensors and end is not None:
            self.sensors.told("track_tp_end_offset", tp, end)

    def clogged(self, tp: TopicPartition) -> None:
        """So many records wait that no more are fetched."""
        self.sensors.told("on_topic_buffer_full", tp)

    def closing(self) -> None:
        """An epoch begins to commit; what is sent from here on belongs to the next one."""
        self.puts.closing()
        self._closing = self.sensors.begun("on_commit_initiated", self.app), self._sent
        self._sent = []

    def committed(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """It has committed."""
        self.puts.committed()
        states, sent = self._closing
        self._closing = ({}, [])
        self.sensors.ended("on_commit_completed", states, self.app)
        if self.sensors:
            committed = {TopicPartition(*tp): at for tp, at in offsets.items()}
            self.sensors.told("on_tp_commit", committed)
        for record in sent:
            self.sent(record.states, RecordMetadata(record.topic, record.partition, None))

    def dropped(self) -> None:
        """What has not committed never will; it is done again."""
        self.puts.dropped()
        lost = [*self._closing[1], *self._sent]
        self._closing, self._sent = ({}, []), []
        error = CommitRefused("its epoch was not committed")
        for record in lost:
            self.not_sent(record.states, error)

    async def revoked(self, partitions: Collection[TopicPartition], limit_s: float) -> None:
        """Partitions are about to go. The group waits for the handlers of this, and throws out who
        keeps it waiting: they are cut short after `limit_s`.
        """
        self._rebalance = self.sensors.begun("on_rebalance_start", self.app)
        if partitions and self.app.on_partitions_revoked:
            await self._tell_revoked(set(partitions), limit_s)

    async def _tell_revoked(self, partitions: set[TopicPartition], limit_s: float) -> None:
        try:
            async with asyncio.timeout(limit_s) as limit:
                await self.app.on_partitions_revoked.send_and_wait(partitions)
        except TimeoutError:
            if not limit.expired():
                raise
            log.warning(
                "on_partitions_revoked was cut short after %g s (half of rebalance_timeout)",
                limit_s,
            )

    async def assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Partitions are known; their tables are not ready yet."""
        if not self._rebalance:  # the first one takes nothing away
            self._rebalance = self.sensors.begun("on_rebalance_start", self.app)
        self.sensors.ended("on_rebalance_return", self._rebalance, self.app)
        if self.app.on_partitions_assigned:
            await self.app.on_partitions_assigned.send_and_wait(set(partitions))

    @property
    def busy(self) -> list[Busy]:
        """Handlers that a rebalance waits for."""
        app = self.app
        signals = (app.on_partitions_revoked, app.on_partitions_assigned, app.on_rebalance_complete)
        return [
            Busy(f"a rebalance that waits for {signal.name}", number, f"its handler {handler!r}")
            for signal in signals
            for number, handler in tuple(signal.at_work.items())
        ]

    async def at_work(self) -> None:
        """The tasks of an assignment run."""
        for table in self.app.tables.values():
            for function in table.recover_callbacks:
                done = function()
                if inspect.isawaitable(done):
                    await done
        states, self._rebalance = self._rebalance, {}
        self.sensors.ended("on_rebalance_end", states, self.app)
        if self.app.on_rebalance_complete:
            await self.app.on_rebalance_complete.send_and_wait()

    def assigning(self, assign: Callable[..., Any]) -> Callable[..., Any]:
        """A leader's decision, told to those who listen for that."""
        if not self.sensors:
            return assign

        def told(*members: Any) -> Any:
            states = self.sensors.begun("on_assignment_start", self.app)
            try:
                found = assign(*members)
            except Exception as error:
                self.sensors.ended("on_assignment_error", states, self.app, after=(error,))
                raise
            self.sensors.ended("on_assignment_completed", states, self.app)
            return found

        return told
