"""aiokafka's fetcher, with an assignment that changes in place: what stays is fetched on, and what
was fetched of it is delivered.

Positions are the caller's affair: no commits, no resets, no guesses. Knows no group. (aiokafka
makes a new assignment for every change, and drops what it fetched for the one before. Its version
is pinned; tests/transport/test_fetching.py shows what is relied on.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ForeignPartition
from aiokafka.consumer.subscription_state import TopicPartitionState
from aiokafka.errors import IllegalStateError, KafkaError, TopicAuthorizationFailedError
from aiokafka.errors import OffsetOutOfRangeError as ForeignOutOfRange
from aiokafka.protocol.fetch import FetchRequest

from flowstream.clock import monotonic_ms, wall_ms
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import (
    BrokerUnreachable,
    ConsumerFailed,
    OffsetOutOfRange,
    Unreadable,
)
from flowstream.transport.troubles import Troubles
from flowstream.transport.types import ConsumerRecord, TopicPartition
from flowstream.transport.unpacking import Answers
from flowstream.wire.error_codes import ErrorCode

CLOSE_TIMEOUT_S = 1.0
"""So long a broker may keep its connections from being closed (V4)."""

LEAST_STEP_MS = 1_000
"""By less a clock is put right bit by bit, or was read a moment later."""

FEW_RECORDS = 100
"""With more than these at a time there is nothing to gain from waiting for others."""

Batches = Mapping[TopicPartition, list[ConsumerRecord]]
"""Fetched records by partition."""


class Fetching:
    """Fetches from partitions that are added and removed one by one. They arrive parked: `seek`
    says from where and starts them.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        max_partition_bytes: int,
        stalled_after_ms: int,
        gather_ms: float = 0.0,
    ) -> None:
        self._bootstrap = cluster.bootstrap
        self._gather_s = gather_ms / 1000
        self._gathers = False
        self._stalled_after_ms = stalled_after_ms
        self._progress_ms = monotonic_ms()
        self._clock_ms = wall_ms() - self._progress_ms
        """What the wall clock shows beyond the one that nobody sets."""
        self._troubles = Troubles()
        self._parked: set[TopicPartition] = set()
        self.paused: set[TopicPartition] = set()
        """What was paused and not resumed, wherever it was sought to."""
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=cluster.bootstrap,
            client_id=cluster.client_id,
            request_timeout_ms=cluster.request_timeout_ms,
            max_partition_fetch_bytes=max_partition_bytes,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
        )
        # One that makes its logins anew.
        self._consumer._client = cluster.client(cluster.bootstrap)

    async def open(self, topics: Iterable[str]) -> None:
        """Connect, and learn who leads the partitions of these topics."""
        try:
            await self._consumer.start()
        except (KafkaError, OSError) as error:
            await self.close()
            raise BrokerUnreachable(
                f"no Kafka broker answers at {self._bootstrap} ({error})"
            ) from error
        self._note_answers()
        self._consumer.assign([])
        self._consumer._client.set_topics(sorted(topics))

    async def close(self) -> None:
        """Close the connections."""
        stopping = asyncio.ensure_future(self._consumer.stop())
        await asyncio.wait((stopping,), timeout=CLOSE_TIMEOUT_S)
        if stopping.done() and not stopping.cancelled() and stopping.exception() is None:
            return
        # aiokafka's stop waits for a silent broker, and ends in the CancelledError of a fetch that
        # it cancelled itself, with the connections still open. That must not end the caller.
        left = {stopping}
        if self._fetcher is not None:
            left |= {self._fetcher._fetch_task, *self._fetcher._pending_tasks}
        for task in left:
            task.cancel()
        await asyncio.wait(left)
        await self._consumer._client.close()

    def _note_answers(self) -> None:
        """Have answers unpacked in runs, see `unpacking`, and errors not met again at once."""
        client: Any = self._consumer._client
        send, answers = client.send, Answers()

        async def noted(node: Any, request: Any, **options: Any) -> Any:
            answer = await send(node, request, **options)
            if isinstance(request, FetchRequest):
                pause_s = self._troubles.met(node, answer)
                if pause_s:
                    client.force_metadata_update()  # another replica may have taken over
                    await asyncio.sleep(pause_s)
                answers.arrived(answer)
            return answer

        client.send = noted
        self._fetcher._records = answers

    # -- partitions -----------------------------------------------------------------------------

    @property
    def _fetcher(self) -> Any:
        return self._consumer._fetcher

    @property
    def _assignment(self) -> Any:
        return self._consumer._subscription.subscription.assignment

    def add(self, partitions: Iterable[TopicPartition]) -> None:
        """Take partitions in beside those that are there, parked."""
        assignment = self._assignment
        added = frozenset(ForeignPartition(*tp) for tp in partitions) - assignment.tps
        for tp in added:
            # aiokafka asks for the committed offset of a partition without a position, and not
            # for a stable one (G2): it has a position from the first moment, and is paused.
            assignment._tp_state[tp] = state = TopicPartitionState(assignment)
            state.pause()
            state.seek(0)
            self._parked.add(TopicPartition(*tp))
        assignment._topic_partitions |= added
        self._progress_ms = monotonic_ms()

    def remove(self, partitions: Iterable[TopicPartition]) -> None:
        """Let partitions go: nothing that was fetched of them is delivered."""
        assignment = self._assignment
        removed = frozenset(ForeignPartition(*tp) for tp in partitions) & assignment.tps
        assignment._topic_partitions -= removed
        for tp in removed:
            # A fetch on its way still asks for the state; without a position it is dropped.
            assignment._tp_state[tp] = state = TopicPartitionState(assignment)
            state.pause()
            self._fetcher._records.pop(tp, None)
            self._troubles.forget(TopicPartition(*tp))
            self._parked.discard(TopicPartition(*tp))
            self.paused.discard(TopicPartition(*tp))

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """Fetch from `offset`; fetched records of before are dropped. Starts a parked partition.
        A partition that is not there is left alone.
        """
        foreign = ForeignPartition(*tp)
        try:
            self._consumer.seek(foreign, offset)
            if tp in self._parked:
                self._parked.discard(tp)
                if tp not in self.paused:
                    self._restart(foreign)
        except IllegalStateError:
            self._parked.discard(tp)

    def pause(self, *partitions: TopicPartition) -> None:
        """Fetch no more of these, for backpressure; what was fetched already is fetched again."""
        for tp in partitions:
            self.paused.add(tp)
            try:
                self._consumer.pause(ForeignPartition(*tp))
            except IllegalStateError:
                self.paused.discard(tp)

    def resume(self, *partitions: TopicPartition) -> None:
        """Undo `pause`; a partition that still waits for `seek` goes on waiting."""
        for tp in partitions:
            self.paused.discard(tp)
            try:
                if tp not in self._parked:
                    self._restart(ForeignPartition(*tp))
            except IllegalStateError:
                continue

    def _restart(self, tp: ForeignPartition) -> None:
        self._consumer.resume(tp)
        self._fetcher._notify(self._fetcher._wait_consume_future)
        # Its last fetch was long ago, and that is no stall.
        self._progress_ms = monotonic_ms()

    def highwater(self, tp: TopicPartition) -> int | None:
        """High watermark at the last fetch, for lag; None before it."""
        try:
            mark: int | None = self._consumer.highwater(ForeignPartition(*tp))
        except (IllegalStateError, AssertionError):
            return None
        return mark

    def unfetched(self, tp: TopicPartition) -> int | None:
        """Offsets between what `getmany` gave and the end at the last fetch; None before it."""
        mark = self.highwater(tp)
        if mark is None or tp in self._parked:
            return None
        state = self._assignment.state_value(ForeignPartition(*tp))
        return max(0, mark - state.position) if state.has_valid_position else None

    def silence_ms(self, tp: TopicPartition) -> int | None:
        """How long ago the last fetch was answered; None before it."""
        self._follow_clock(monotonic_ms())
        try:
            state = self._assignment.state_value(ForeignPartition(*tp))
        except KeyError:
            return None
        return None if state.timestamp is None else max(0, wall_ms() - int(state.timestamp))

    # -- records --------------------------------------------------------------------------------

    async def getmany(self, max_records: int, timeout_ms: int) -> Batches:
        """Records that are ready, at most `max_records`; waits up to `timeout_ms` for the first.

        When only a few came, and no more were there, the next call first lets others gather: a
        record that is fetched alone costs fifty times its share of a large batch.
        """
        if self._gathers:
            await asyncio.sleep(self._gather_s)
        try:
            found: dict[Any, list[Any]] = await self._consumer.getmany(
                timeout_ms=timeout_ms, max_records=max_records
            )
        except ForeignOutOfRange as error:
            ((tp, offset),) = error.args[0].items()
            raise OffsetOutOfRange(TopicPartition(*tp), offset) from error
        except TopicAuthorizationFailedError as error:
            raise Unreadable(
                f"topic {error.args[0]}: TOPIC_AUTHORIZATION_FAILED: allow the worker's user to"
                " read it",
                ErrorCode.TOPIC_AUTHORIZATION_FAILED,
            ) from error
        except KafkaError as error:
            raise ConsumerFailed(f"fetching failed: {error}") from error
        self._gathers = self._gather_s > 0 and self._were_few(found)
        return {TopicPartition(*tp): records for tp, records in found.items()}

    def _were_few(self, found: Mapping[Any, list[Any]]) -> bool:
        """Whether these are few, and about all that there was."""
        if not 0 < sum(map(len, found.values())) < FEW_RECORDS:
            return False
        for tp in found:
            state = self._assignment.state_value(tp)
            if state.lso is None or not state.has_valid_position:
                return False
            if state.lso - state.position > FEW_RECORDS:
                return False
        return True

    def check(self) -> None:
        """ConsumerFailed when nothing will be fetched any more (aio-libs/aiokafka #1154),
        Unreadable when a partition will not.
        """
        damaged = self._troubles.damaged
        if damaged is not None:
            raise Unreadable(
                f"{damaged.topic}-{damaged.partition} cannot be read: KAFKA_STORAGE_ERROR: the"
                " broker cannot read its segment there. Its log names the file; `flowstream doctor`"
                " looks at all of them"
            )
        if self._fetcher is not None and self._fetcher._fetch_task.done():
            raise ConsumerFailed("the fetch task ended")
        now = monotonic_ms()
        self._follow_clock(now)
        if self._progress_ms + self._stalled_after_ms > now:
            return
        stalled = self._stalled()
        if stalled:
            raise ConsumerFailed(f"fetching stalled: {stalled}")
        self._progress_ms = now

    def _follow_clock(self, now: int) -> None:
        """aiokafka notes by the wall clock when a fetch was answered. Where that clock was put on
        or back since the last look, the notes are, too.
        """
        before, self._clock_ms = self._clock_ms, wall_ms() - now
        step_ms = self._clock_ms - before
        if abs(step_ms) < LEAST_STEP_MS:
            return
        for tp in self._assignment.tps:
            state = self._assignment.state_value(tp)
            if state.timestamp is not None:
                state.timestamp += step_ms

    def _stalled(self) -> str:
        """What has not moved for too long, or nothing."""
        since = wall_ms() - self._stalled_after_ms
        for tp in self._assignment.tps:
            state = self._assignment.state_value(tp)
            waits = state.paused or tp in self._fetcher._records
            if not waits and (state.timestamp is None or state.timestamp < since):
                return f"no fetch of {tp.topic}-{tp.partition} was answered"
        return ""
