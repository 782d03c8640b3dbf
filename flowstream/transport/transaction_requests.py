"""The requests of a transactional producer, each repeated until it is answered for good.

One method per API, the verdict over its error codes beside it. Knows no order between them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from flowstream.clock import monotonic_ms
from flowstream.transport.cluster import Cluster, Coordinator, backoffs
from flowstream.transport.errors import (
    CommitRefused,
    ConnectionLost,
    GenerationPassed,
    InstanceFenced,
    ProducerFenced,
    RefusedForGood,
    RequestRefused,
    SharesAwaited,
    TransactionFailed,
    error_name,
)
from flowstream.transport.shipping import REMEDIES
from flowstream.transport.types import Generation, TopicPartition
from flowstream.wire.api import ApiKey
from flowstream.wire.error_codes import ErrorCode, retriable
from flowstream.wire.messages.add_offsets_to_txn import AddOffsetsToTxnRequest
from flowstream.wire.messages.add_partitions_to_txn import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnTopic,
)
from flowstream.wire.messages.end_txn import EndTxnRequest
from flowstream.wire.messages.init_producer_id import InitProducerIdRequest
from flowstream.wire.messages.txn_offset_commit import (
    TxnOffsetCommitRequest,
    TxnOffsetCommitRequestPartition,
    TxnOffsetCommitRequestTopic,
)

FENCED = frozenset(
    (
        ErrorCode.INVALID_PRODUCER_EPOCH,
        ErrorCode.PRODUCER_FENCED,
        ErrorCode.INVALID_PRODUCER_ID_MAPPING,
    )
)
ZOMBIE = frozenset(
    (
        ErrorCode.UNKNOWN_MEMBER_ID,
        ErrorCode.ILLEGAL_GENERATION,
        ErrorCode.FENCED_INSTANCE_ID,
        ErrorCode.REBALANCE_IN_PROGRESS,
        ErrorCode.STALE_MEMBER_EPOCH,
    )
)


REFUSALS: dict[int, type[CommitRefused]] = {
    ErrorCode.ILLEGAL_GENERATION: GenerationPassed,
    ErrorCode.REBALANCE_IN_PROGRESS: SharesAwaited,
}


def refuse_zombies(generation: Generation, codes: Iterable[int]) -> None:
    """CommitRefused, or one of its kinds, when a group did not take offsets from this member."""
    for code in codes:
        if code == ErrorCode.FENCED_INSTANCE_ID:
            raise InstanceFenced(
                f"another worker joined group {generation.group!r} as {generation.instance_id!r}:"
                " give each worker a group_instance_id of its own"
            )
        if code in ZOMBIE:
            raise REFUSALS.get(code, CommitRefused)(
                f"group {generation.group!r} refused the offsets of generation "
                f"{generation.generation_id}: {error_name(code)}"
            )


NO_NOTES: Mapping[TopicPartition, str] = {}


class Producer(NamedTuple):
    """Who writes: a transactional id, the producer id it was given, and its epoch."""

    transactional_id: str
    producer_id: int
    epoch: int


class Requests:
    """The transactional requests of one producer, on connections of their own.

    `uncertain` is set by every request that went unanswered once.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        lane: Hashable,
        timeout_ms: int,
        request_timeout_ms: int,
        init_timeout_ms: int,
    ) -> None:
        self.lane = lane
        self.timeout_ms = timeout_ms
        self.request_timeout_ms = request_timeout_ms
        self.uncertain = False
        self._cluster = cluster
        self._init_timeout_ms = init_timeout_ms

    def drop_connections(self) -> None:
        """Go on with fresh connections."""
        self._cluster.drop_lane(self.lane)

    async def init_producer(self, old: Producer) -> Producer:
        """InitProducerId; with an old producer id it bumps the epoch, if that is still the
        current one (KIP-360).
        """
        request = InitProducerIdRequest(
            transactional_id=old.transactional_id,
            transaction_timeout_ms=self.timeout_ms,
            producer_id=old.producer_id,
            producer_epoch=old.epoch,
        )
        answer = await self._until_settled(
            self._coordinator(old),
            ApiKey.INIT_PRODUCER_ID,
            request,
            lambda answer: (answer.error_code,),
            min_version=0 if old.producer_id < 0 else 3,
            timeout_ms=self._init_timeout_ms,
        )
        if answer.error_code in FENCED:
            raise ProducerFenced(f"InitProducerId: {error_name(answer.error_code)}")
        if answer.error_code:
            raise RequestRefused("InitProducerId", answer.error_code)
        return Producer(old.transactional_id, answer.producer_id, answer.producer_epoch)

    async def add_partitions(
        self, producer: Producer, partitions: Sequence[TopicPartition]
    ) -> None:
        """AddPartitionsToTxn, of protocol v1 only."""
        topics: dict[str, list[int]] = {}
        for tp in partitions:
            topics.setdefault(tp.topic, []).append(tp.partition)
        request = AddPartitionsToTxnRequest(
            v3_and_below_transactional_id=producer.transactional_id,
            v3_and_below_producer_id=producer.producer_id,
            v3_and_below_producer_epoch=producer.epoch,
            v3_and_below_topics=tuple(
                AddPartitionsToTxnTopic(name=name, partitions=tuple(found))
                for name, found in topics.items()
            ),
        )
        answer = await self._until_settled(
            self._coordinator(producer),
            ApiKey.ADD_PARTITIONS_TO_TXN,
            request,
            _partition_codes,
            max_version=3,
        )
        _raise_first("AddPartitionsToTxn", _partition_codes(answer))

    async def add_group(self, producer: Producer, group: str) -> None:
        """AddOffsetsToTxn, of protocol v1 only."""
        request = AddOffsetsToTxnRequest(
            transactional_id=producer.transactional_id,
            producer_id=producer.producer_id,
            producer_epoch=producer.epoch,
            group_id=group,
        )
        answer = await self._until_settled(
            self._coordinator(producer),
            ApiKey.ADD_OFFSETS_TO_TXN,
            request,
            lambda answer: (answer.error_code,),
        )
        _raise_first("AddOffsetsToTxn", (answer.error_code,))

    async def commit_offsets(
        self,
        producer: Producer,
        offsets: Mapping[TopicPartition, int],
        generation: Generation,
        notes: Mapping[TopicPartition, str] = NO_NOTES,
        *,
        v2: bool,
    ) -> None:
        """TxnOffsetCommit with member and generation (KIP-447)."""
        topics: dict[str, list[TxnOffsetCommitRequestPartition]] = {}
        for tp, offset in offsets.items():
            topics.setdefault(tp.topic, []).append(
                TxnOffsetCommitRequestPartition(
                    partition_index=tp.partition,
                    committed_offset=offset,
                    committed_metadata=notes.get(tp, ""),
                )
            )
        request = TxnOffsetCommitRequest(
            transactional_id=producer.transactional_id,
            group_id=generation.group,
            producer_id=producer.producer_id,
            producer_epoch=producer.epoch,
            generation_id=generation.generation_id,
            member_id=generation.member_id,
            group_instance_id=generation.instance_id,
            topics=tuple(
                TxnOffsetCommitRequestTopic(name=name, partitions=tuple(found))
                for name, found in topics.items()
            ),
        )
        answer = await self._until_settled(
            Coordinator("group", generation.group),
            ApiKey.TXN_OFFSET_COMMIT,
            request,
            _offset_codes,
            min_version=5 if v2 else 3,
            max_version=5 if v2 else 4,
        )
        refuse_zombies(generation, _offset_codes(answer))
        _raise_first("TxnOffsetCommit", _offset_codes(answer))

    async def end(self, producer: Producer, *, commit: bool, v2: bool) -> Producer:
        """EndTxn, the same one again until it is answered; returns the producer to go on with.

        There is no giving up: as long as nobody answers, nobody knows.
        """
        request = EndTxnRequest(
            transactional_id=producer.transactional_id,
            producer_id=producer.producer_id,
            producer_epoch=producer.epoch,
            committed=commit,
        )
        to = self._coordinator(producer)
        unanswered = False
        pauses = backoffs()
        while True:
            try:
                answer = await self._send(
                    to, ApiKey.END_TXN, request, 5 if v2 else 0, 5 if v2 else 4
                )
            except ConnectionLost:
                unanswered = self.uncertain = True
                self.drop_connections()
            else:
                code = answer.error_code
                if code == ErrorCode.NONE:
                    return _next_producer(producer, answer)
                if not retriable(code):
                    _judge_end(code, commit=commit, unanswered=unanswered)
                    return producer
                # The coordinator may have written the decision and failed after it.
                unanswered |= code != ErrorCode.CONCURRENT_TRANSACTIONS
                self._cluster.forget(to)
            await asyncio.sleep(next(pauses))

    async def _until_settled(
        self,
        to: Coordinator,
        key: ApiKey,
        request: object,
        codes: Callable[[Any], Sequence[int]],
        *,
        min_version: int = 0,
        max_version: int | None = None,
        timeout_ms: int | None = None,
    ) -> Any:
        """Repeat an idempotent request until its answer holds no retriable error."""
        deadline = monotonic_ms() + (timeout_ms or self.timeout_ms)
        pauses = backoffs()
        while True:
            try:
                answer = await self._send(to, key, request, min_version, max_version)
                code = next(filter(retriable, codes(answer)), None)
                if code is None:
                    return answer
                if code != ErrorCode.CONCURRENT_TRANSACTIONS:
                    self._cluster.forget(to)
                reason = error_name(code)
            except ConnectionLost as error:
                self.uncertain = True
                reason = str(error)
            if monotonic_ms() >= deadline:
                raise TransactionFailed(f"{key.name}: {reason} for too long")
            await asyncio.sleep(next(pauses))

    async def _send(
        self, to: Coordinator, key: ApiKey, request: object, lowest: int, highest: int | None
    ) -> Any:
        return await self._cluster.request(
            to,
            key,
            lambda _: request,
            min_version=lowest,
            max_version=highest,
            timeout_ms=self.request_timeout_ms,
            lane=self.lane,
        )

    def _coordinator(self, producer: Producer) -> Coordinator:
        return Coordinator("transaction", producer.transactional_id)


def _next_producer(producer: Producer, answer: Any) -> Producer:
    if answer.producer_id < 0:
        return producer
    return Producer(producer.transactional_id, answer.producer_id, answer.producer_epoch)


def _judge_end(code: int, *, commit: bool, unanswered: bool) -> None:
    """What a final error of EndTxn means; returns when there was nothing to abort."""
    if not commit and code == ErrorCode.INVALID_TXN_STATE:
        return
    name = error_name(code)
    if code in FENCED or unanswered:
        unknown = commit and unanswered
        raise ProducerFenced(f"EndTxn: {name}", "unknown" if unknown else "aborted")
    if code in REMEDIES:
        raise RefusedForGood(f"EndTxn: {name}: {REMEDIES[code]}", abortable=False, code=code)
    is_abortable = code == ErrorCode.TRANSACTION_ABORTABLE
    raise TransactionFailed(f"EndTxn: {name}", abortable=is_abortable, code=code)


def _partition_codes(answer: Any) -> list[int]:
    return [
        result.partition_error_code
        for topic in answer.results_by_topic_v3_and_below
        for result in topic.results_by_partition
    ]


def _offset_codes(answer: Any) -> list[int]:
    return [result.error_code for topic in answer.topics for result in topic.partitions]


def _raise_first(what: str, codes: Sequence[int]) -> None:
    for code in codes:
        if code in FENCED:
            raise ProducerFenced(f"{what}: {error_name(code)}")
    for code in codes:
        if code in REMEDIES:
            raise RefusedForGood(f"{what}: {error_name(code)}: {REMEDIES[code]}", code=code)
    for code in codes:
        if code and code != ErrorCode.OPERATION_NOT_ATTEMPTED:
            raise TransactionFailed(f"{what}: {error_name(code)}", code=code)
