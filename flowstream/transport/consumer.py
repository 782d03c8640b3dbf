"""The group consumer: aiokafka's, held so that it fetches nothing it was not told from where.

Positions are the caller's affair: no commits, no resets, no guesses. Knows no tables and no
transactions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ForeignPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import IllegalStateError, KafkaError
from aiokafka.errors import OffsetOutOfRangeError as ForeignOutOfRange

from flowstream.clock import monotonic_ms, wall_ms
from flowstream.transport.assignor import GroupAssignor
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import BrokerUnreachable, ConsumerFailed, OffsetOutOfRange
from flowstream.transport.types import ConsumerRecord, Generation, TopicPartition

_REBALANCE_GRACE_S = 0.1
LEAVE_TIMEOUT_S = 1.0
"""So long a broker may take to let a member go; then its session times out (V4)."""

Batches = Mapping[TopicPartition, list[ConsumerRecord]]
"""Fetched records by partition."""


class Listener(Protocol):
    """Told of rebalances, between two awaits of the consumer's own task.

    Both must come back well within the session timeout: restore elsewhere.
    """

    async def revoked(self, partitions: frozenset[TopicPartition]) -> None:
        """All partitions are about to go. Offsets may still be committed, under the generation
        that `GroupConsumer.generation()` gives.
        """

    async def assigned(self, partitions: frozenset[TopicPartition]) -> None:
        """These partitions are owned now. Nothing is fetched of one before `seek`."""


class GroupConsumer:
    """A member of a group. Partitions arrive parked: `seek` says from where and starts them."""

    def __init__(
        self,
        cluster: Cluster,
        group: str,
        assignor: GroupAssignor,
        listener: Listener,
        *,
        instance_id: str | None = None,
        session_timeout_ms: int = 10_000,
        heartbeat_interval_ms: int = 1_000,
        rebalance_timeout_ms: int = 30_000,
        max_partition_bytes: int = 1 << 20,
        stalled_after_ms: int = 60_000,
    ) -> None:
        self._group = group
        self._instance_id = instance_id
        self._listener = listener
        self._cluster = cluster
        self._bootstrap = cluster.bootstrap
        self._stalled_after_ms = stalled_after_ms
        self._progress_ms = monotonic_ms()
        self._parked: set[TopicPartition] = set()
        self._paused: set[TopicPartition] = set()
        self._generation: Generation | None = None
        self._failure: BaseException | None = None
        assignor.notify(self._park)
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=cluster.bootstrap,
            client_id=cluster.client_id,
            group_id=group,
            group_instance_id=instance_id,
            partition_assignment_strategy=(assignor,),
            session_timeout_ms=session_timeout_ms,
            heartbeat_interval_ms=heartbeat_interval_ms,
            rebalance_timeout_ms=rebalance_timeout_ms,
            request_timeout_ms=max(cluster.request_timeout_ms, rebalance_timeout_ms + 5_000),
            max_partition_fetch_bytes=max_partition_bytes,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            **cluster.security.arguments(),
        )
        self._bridge = _Bridge(self)

    async def start(self, topics: Iterable[str]) -> None:
        """Connect and begin to join; does not wait for the first assignment."""
        try:
            await self._consumer.start()
        except (KafkaError, OSError) as error:
            await self.stop()
            raise BrokerUnreachable(
                f"no Kafka broker answers at {self._bootstrap} ({error})"
            ) from error
        self.subscribe(topics)

    def subscribe(self, topics: Iterable[str]) -> None:
        """Replace the subscription; leads to a rebalance."""
        self._consumer.subscribe(sorted(topics), listener=self._bridge)

    async def stop(self) -> None:
        """Leave the group and close; `revoked` is not called."""
        stopping = asyncio.ensure_future(self._consumer.stop())
        await asyncio.wait((stopping,), timeout=LEAVE_TIMEOUT_S)
        if stopping.done() and not stopping.cancelled() and stopping.exception() is None:
            return
        # aiokafka's stop waits for a silent broker, and ends in the CancelledError of a fetch that
        # it cancelled itself, with the connections still open. That must not end the caller.
        fetcher: Any = self._consumer._fetcher
        left = {stopping}
        if fetcher is not None:
            left |= {fetcher._fetch_task, *fetcher._pending_tasks}
        for task in left:
            task.cancel()
        await asyncio.wait(left)
        await self._consumer._client.close()

    async def getmany(self, max_records: int = 500, timeout_ms: int = 200) -> Batches:
        """Records that are ready, at most `max_records`; waits up to `timeout_ms` for the first.

        Raises OffsetOutOfRange with partition and offset, and ConsumerFailed when the consumer
        will not deliver again.
        """
        self._check()
        if self._consumer._subscription.reassignment_in_progress:
            await self._settle(timeout_ms)
            return {}
        try:
            # A rebalance that begins while aiokafka waits makes it wait for the end. Nothing is
            # lost by the timeout: records are taken without an await.
            async with asyncio.timeout(timeout_ms / 1000 + _REBALANCE_GRACE_S):
                found: dict[Any, list[Any]] = await self._consumer.getmany(
                    timeout_ms=timeout_ms, max_records=max_records
                )
        except TimeoutError:
            return {}
        except ForeignOutOfRange as error:
            ((tp, offset),) = error.args[0].items()
            raise OffsetOutOfRange(TopicPartition(*tp), offset) from error
        except KafkaError as error:
            raise ConsumerFailed(
                f"the consumer of group {self._group!r} failed: {error}"
            ) from error
        self._check()
        return {TopicPartition(*tp): records for tp, records in found.items()}

    def generation(self) -> Generation | None:
        """The generation of the current assignment: snapshot it with the batch, so that a commit
        of what an earlier generation fetched is refused (KIP-447). None before the first one.
        """
        return self._generation

    def assignment(self) -> frozenset[TopicPartition]:
        """The partitions owned now."""
        return frozenset(TopicPartition(*tp) for tp in self._consumer.assignment())

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """Fetch from `offset`; fetched records of before are dropped. Starts a parked partition.
        A partition that is no longer owned is left alone.
        """
        foreign = ForeignPartition(*tp)
        try:
            self._consumer.seek(foreign, offset)
            if tp in self._parked:
                self._parked.discard(tp)
                if tp not in self._paused:
                    self._restart(foreign)
        except IllegalStateError:
            self._parked.discard(tp)

    def pause(self, *partitions: TopicPartition) -> None:
        """Fetch no more of these, for backpressure; what was fetched already is fetched again."""
        for tp in partitions:
            self._paused.add(tp)
            try:
                self._consumer.pause(ForeignPartition(*tp))
            except IllegalStateError:
                self._paused.discard(tp)

    def resume(self, *partitions: TopicPartition) -> None:
        """Undo `pause`; a partition that still waits for `seek` goes on waiting."""
        for tp in partitions:
            self._paused.discard(tp)
            try:
                if tp not in self._parked:
                    self._restart(ForeignPartition(*tp))
            except IllegalStateError:
                continue

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
        subscription: Any = self._consumer._subscription.subscription
        state = subscription.assignment.state_value(ForeignPartition(*tp))
        return max(0, mark - state.position) if state.has_valid_position else None

    def _restart(self, tp: ForeignPartition) -> None:
        self._consumer.resume(tp)
        # Its last fetch was long ago, and that is no stall.
        self._progress_ms = monotonic_ms()

    def _park(self, partitions: frozenset[TopicPartition]) -> None:
        """In the moment of the assignment: fetch nothing before `seek`, and above all do not ask
        for committed offsets, which aiokafka does without require_stable (G2).
        """
        coordinator: Any = self._consumer._coordinator
        self._generation = Generation(
            self._group, coordinator.generation, coordinator.member_id, self._instance_id
        )
        self._parked = set(partitions)
        self._paused = set()
        for tp in partitions:
            self._consumer.pause(ForeignPartition(*tp))
            self._consumer.seek(ForeignPartition(*tp), 0)
        self._progress_ms = monotonic_ms()

    async def _settle(self, timeout_ms: int) -> None:
        """Wait for the end of a rebalance, but no longer than asked."""
        waiter = self._consumer._subscription.wait_for_assignment()
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                await waiter
        except TimeoutError:
            return
        except KafkaError as error:
            raise ConsumerFailed(f"joining group {self._group!r} failed: {error}") from error

    def _check(self) -> None:
        """Turn the death of a background task, a stall, or a listener's error into an exception
        here, where someone looks.
        """
        if self._failure is not None:
            raise ConsumerFailed(
                f"a rebalance listener raised {self._failure!r}"
            ) from self._failure
        if self._cluster.bootstrap != self._bootstrap:
            raise ConsumerFailed(
                f"the broker moved from {self._bootstrap} to {self._cluster.bootstrap}"
            )
        fetcher: Any = self._consumer._fetcher
        if fetcher is not None and fetcher._fetch_task.done():
            raise ConsumerFailed(f"the fetch task of group {self._group!r} ended")
        now = monotonic_ms()
        if self._progress_ms + self._stalled_after_ms > now:
            return
        stalled = self._stalled()
        if stalled:
            raise ConsumerFailed(f"the consumer of group {self._group!r} stalled: {stalled}")
        self._progress_ms = now

    def _stalled(self) -> str:
        """What has not moved for too long, or nothing (aio-libs/aiokafka #1154)."""
        subscription: Any = self._consumer._subscription.subscription
        fetcher: Any = self._consumer._fetcher
        if subscription is None or subscription.assignment is None:
            return "no assignment"
        since = wall_ms() - self._stalled_after_ms
        for tp in subscription.assignment.tps:
            state = subscription.assignment.state_value(tp)
            waits = state.paused or tp in fetcher._records
            if not waits and (state.timestamp is None or state.timestamp < since):
                return f"no fetch of {tp.topic}-{tp.partition} was answered"
        return ""


class _Bridge(ConsumerRebalanceListener):
    """Hands aiokafka's callbacks on. aiokafka logs what they raise and goes on: keep it."""

    def __init__(self, owner: GroupConsumer) -> None:
        self._owner = owner

    async def on_partitions_revoked(self, revoked: Sequence[ForeignPartition]) -> None:
        partitions = frozenset(TopicPartition(*tp) for tp in revoked)
        try:
            await self._owner._listener.revoked(partitions)
        except Exception as error:  # noqa: BLE001 (raised again by getmany)
            self._owner._failure = error

    async def on_partitions_assigned(self, assigned: Sequence[ForeignPartition]) -> None:
        partitions = frozenset(TopicPartition(*tp) for tp in assigned)
        try:
            await self._owner._listener.assigned(partitions)
        except Exception as error:  # noqa: BLE001 (raised again by getmany)
            self._owner._failure = error
