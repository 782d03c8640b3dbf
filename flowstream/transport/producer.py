"""The plain producer: idempotent, no transaction, every send answered with its offset.

One batch per partition is under way at a time; what is sent meanwhile forms the next, so order
needs no window and a full pipe fills its own batches. A batch that is too large for its topic is
sent again in smaller ones; only a record that is too large by itself fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from flowstream.clock import monotonic_ms, wall_ms
from flowstream.transport.batches import PendingBatch, RecordBuffer, SealedBatch
from flowstream.transport.cluster import Cluster, backoffs
from flowstream.transport.errors import (
    ConnectionLost,
    RefusedForGood,
    RequestRefused,
    SendFailed,
    TransportError,
)
from flowstream.transport.shipping import Route, for_good, ship
from flowstream.transport.types import Headers, RecordMetadata, TopicPartition
from flowstream.wire.api import ApiKey
from flowstream.wire.error_codes import ErrorCode, retriable
from flowstream.wire.hashing import partition_for_key
from flowstream.wire.messages.init_producer_id import InitProducerIdRequest

SEQUENCE_END = 1 << 31
LAST_EPOCH = (1 << 15) - 1
UNKNOWN_HERE = (
    ErrorCode.INVALID_PRODUCER_EPOCH,
    ErrorCode.PRODUCER_FENCED,
    ErrorCode.UNKNOWN_PRODUCER_ID,
    ErrorCode.INVALID_PRODUCER_ID_MAPPING,
)
TOO_LARGE = (ErrorCode.MESSAGE_TOO_LARGE, ErrorCode.RECORD_LIST_TOO_LARGE)


class _Sending(NamedTuple):
    """One record and who waits for it."""

    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: Headers
    done: asyncio.Future[RecordMetadata]


class _BatchTooLarge(RefusedForGood):
    """The topic takes no batch of `size` bytes."""

    def __init__(self, message: str, size: int) -> None:
        super().__init__(message)
        self.size = size


class IdempotentProducer:
    """Sends records at least once, and once per producer session (P1)."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        timeout_ms: int = 60_000,
        request_timeout_ms: int = 10_000,
        max_batch_bytes: int = 1 << 19,
    ) -> None:
        self._cluster = cluster
        self._timeout_ms = timeout_ms
        self._route = Route(timeout_ms=timeout_ms, request_timeout_ms=request_timeout_ms)
        self._max_batch_bytes = max_batch_bytes
        self._batch_bytes: dict[str, int] = {}  # what topics were found to take at most
        self._identity: tuple[int, int] | None = None
        self._identity_lock = asyncio.Lock()
        self._sequences: dict[TopicPartition, int] = {}
        self._locks: dict[TopicPartition, asyncio.Lock] = {}
        self._queues: dict[TopicPartition, list[_Sending]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = 0

    async def send(
        self,
        to: str | TopicPartition,
        key: bytes | None,
        value: bytes | None,
        timestamp_ms: int | None = None,
        headers: Headers = (),
    ) -> RecordMetadata:
        """Send one record and return where it is stored. A topic's partition is chosen by murmur2
        of the key as Java does, in turn without a key. Raises SendFailed or UnknownTopic.
        """
        tp = to if isinstance(to, TopicPartition) else await self._place(to, key)
        loop = asyncio.get_running_loop()
        stamp = wall_ms() if timestamp_ms is None else timestamp_ms
        sending = _Sending(key, value, stamp, headers, loop.create_future())
        queue = self._queues.get(tp)
        if queue is None:
            self._queues[tp] = [sending]
            task = loop.create_task(self._drain(tp))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            queue.append(sending)
        return await sending.done

    async def produce(
        self, batches: Mapping[TopicPartition, Sequence[PendingBatch]]
    ) -> dict[TopicPartition, int]:
        """Ship batches of a RecordBuffer that is not transactional; returns when every one is
        acknowledged, with the offset behind the last record of each partition (where it is
        known), else raises SendFailed: then some may be stored and some not.
        """
        outcomes = await asyncio.gather(
            *(self._produce_partition(tp, found) for tp, found in batches.items()),
            return_exceptions=True,
        )
        ends: dict[TopicPartition, int] = {}
        for tp, outcome in zip(batches, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                raise outcome
            if outcome is not None:
                ends[tp] = outcome
        return ends

    async def close(self, within_s: float | None = None) -> None:
        """Wait for what was sent. What is not acknowledged by then fails: SendFailed."""
        loop = asyncio.get_running_loop()
        deadline = None if within_s is None else loop.time() + within_s
        while self._tasks:
            left = None if deadline is None else max(0.0, deadline - loop.time())
            _, pending = await asyncio.wait(self._tasks, timeout=left)
            for task in pending:
                task.cancel()

    async def _produce_partition(
        self, tp: TopicPartition, found: Sequence[PendingBatch]
    ) -> int | None:
        end: int | None = None
        async with self._lock(tp):
            for batch in found:
                offset = await self._ship(batch)
                end = offset + batch.records if offset >= 0 else None
        return end

    async def _drain(self, tp: TopicPartition) -> None:
        """Send what is queued for a partition, batch after batch, until nothing is left."""
        queue: list[_Sending] = []
        try:
            # One turn of the loop lets everyone who sends now into the first batch.
            await asyncio.sleep(0)
            while queue := self._queues[tp]:
                self._queues[tp] = []
                await self._send_queue(tp, queue)
        finally:
            # Whatever ended this task, nobody may wait for it.
            ended = SendFailed(f"sending to {tp.topic}-{tp.partition} was cut short")
            _fail([*queue, *self._queues.pop(tp)], ended)

    async def _send_queue(self, tp: TopicPartition, queue: list[_Sending]) -> None:
        async with self._lock(tp):
            while queue:
                queue = await self._send_batches(tp, queue)

    async def _send_batches(self, tp: TopicPartition, queue: list[_Sending]) -> list[_Sending]:
        """Send them in batches as large as the topic is known to take. Returns those that are to be
        sent in smaller ones: what was refused and, for the order's sake, all behind it.
        """
        most = self._batch_bytes.get(tp.topic, self._max_batch_bytes)
        buffer = RecordBuffer(most, transactional=False)
        taken = [sending for sending in queue if _append(buffer, tp, sending)]
        first = 0
        for batch in buffer.take().get(tp, ()):
            waiting = taken[first : first + batch.records]
            try:
                offset = await self._ship(batch)
            except TransportError as error:
                if isinstance(error, _BatchTooLarge) and batch.records > 1:
                    self._batch_bytes[tp.topic] = min(most, error.size) // 2
                    return taken[first:]
                _fail(waiting, error)
            else:
                _answer(waiting, tp, offset)
            first += batch.records
        return []

    async def _ship(self, batch: PendingBatch) -> int:
        """Ship one batch of a partition whose lock is held; returns its first offset."""
        tp = batch.tp
        identity = await self._identify()
        sequence = self._sequences.get(tp, 0)
        sealed: SealedBatch = batch.seal(*identity, sequence)
        try:
            shipment = await ship(self._cluster, [sealed], self._route)
        except ConnectionLost as error:
            # Nobody knows whether the log took it, or will yet.
            self._next_epoch(identity)
            raise SendFailed(f"{error}; the records may or may not be stored") from error
        except BaseException:
            self._next_epoch(identity)
            raise
        if shipment.refused:
            (refusal,) = shipment.refused
            error_for_good = for_good(shipment.refused)
            if refusal.code in TOO_LARGE:
                # The log did not look at it: its sequence is the next batch's.
                raise _BatchTooLarge(str(error_for_good), len(sealed.data))
            if refusal.code in UNKNOWN_HERE:
                self._forget_identity(identity)
            else:
                self._next_epoch(identity)
            refused = SendFailed(f"refused: {refusal.reason}", code=refusal.code)
            raise error_for_good or refused
        if self._identity == identity:
            self._sequences[tp] = (sequence + batch.records) % SEQUENCE_END
        return shipment.offsets[tp]

    def _next_epoch(self, identity: tuple[int, int]) -> None:
        """A batch is lost or refused, so that its sequence cannot be used again: go on in the next
        epoch of the same producer (KIP-360). A log that has a batch of that refuses one of before,
        should it still come, late: it would lie behind what was sent in its place.
        """
        producer_id, epoch = identity
        if epoch == LAST_EPOCH:
            self._forget_identity(identity)
        elif self._identity == identity:
            self._identity = (producer_id, epoch + 1)
            self._sequences.clear()

    def _forget_identity(self, identity: tuple[int, int]) -> None:
        """The cluster knows another of this id, or none: go on as a new producer."""
        if self._identity == identity:
            self._identity = None

    async def _identify(self) -> tuple[int, int]:
        async with self._identity_lock:
            if self._identity is None:
                self._identity = await self._init_producer()
                self._sequences.clear()
            return self._identity

    async def _init_producer(self) -> tuple[int, int]:
        deadline = monotonic_ms() + self._timeout_ms
        pauses = backoffs()
        while True:
            try:
                answer = await self._cluster.request(
                    None,
                    ApiKey.INIT_PRODUCER_ID,
                    lambda _: InitProducerIdRequest(transactional_id=None),
                )
            except ConnectionLost:
                if monotonic_ms() >= deadline:
                    raise
            else:
                if not answer.error_code:
                    return answer.producer_id, answer.producer_epoch
                if not retriable(answer.error_code) or monotonic_ms() >= deadline:
                    raise RequestRefused("InitProducerId", answer.error_code)
            await asyncio.sleep(next(pauses))

    async def _place(self, topic: str, key: bytes | None) -> TopicPartition:
        count = await self._partitions(topic)
        if key is not None:
            return TopicPartition(topic, partition_for_key(key, count))
        self._turn += 1
        return TopicPartition(topic, self._turn % count)

    async def _partitions(self, topic: str) -> int:
        """Number of partitions of a topic; a cluster that is away is waited for."""
        deadline = monotonic_ms() + self._timeout_ms
        pauses = backoffs()
        while True:
            try:
                return await self._cluster.partitions(topic)
            except ConnectionLost as error:
                if monotonic_ms() >= deadline:
                    raise SendFailed(f"{error}; the record was not sent") from error
            await asyncio.sleep(next(pauses))

    def _lock(self, tp: TopicPartition) -> asyncio.Lock:
        return self._locks.setdefault(tp, asyncio.Lock())


def _append(buffer: RecordBuffer, tp: TopicPartition, sending: _Sending) -> bool:
    """Whether the record could be encoded; if not, its sender is told why, and no one else."""
    try:
        buffer.append(tp, sending.key, sending.value, sending.timestamp_ms, sending.headers)
    except (TypeError, ValueError, OverflowError) as error:
        if not sending.done.done():
            sending.done.set_exception(error)
        return False
    return True


def _answer(waiting: Sequence[_Sending], tp: TopicPartition, offset: int) -> None:
    for number, sending in enumerate(waiting):
        if not sending.done.done():
            place = offset + number if offset >= 0 else -1
            sending.done.set_result(RecordMetadata(tp.topic, tp.partition, place))


def _fail(waiting: Sequence[_Sending], error: TransportError) -> None:
    for sending in waiting:
        if not sending.done.done():
            sending.done.set_exception(error)
