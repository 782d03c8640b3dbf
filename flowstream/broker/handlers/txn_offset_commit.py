"""TxnOffsetCommit (28): store a group's positions as part of a transaction.

From 3 on member and generation are checked (KIP-447); from 5 on the group's partition joins the
transaction by itself (KIP-890), before that AddOffsetsToTxn must have let it.
"""

from __future__ import annotations

from flowstream.broker.coordination import (
    Producer,
    commit_group_offsets,
    commit_transaction,
    ensure_internal_topic,
    group_partition,
    replies_when_durable,
)
from flowstream.broker.cores import OFFSETS_TOPIC, Cores
from flowstream.broker.decision import Decision
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
from flowstream.broker.groups.commits import Claim, NewOffset
from flowstream.broker.transactions.coordinator import Owner, Verdict
from flowstream.broker.transactions.transitions import V2
from flowstream.broker.types import Instant, TopicPartition
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.txn_offset_commit import (
    TxnOffsetCommitRequest,
    TxnOffsetCommitRequestPartition,
    TxnOffsetCommitResponse,
    TxnOffsetCommitResponsePartition,
    TxnOffsetCommitResponseTopic,
)

ABORTABLE_SINCE = 4
IMPLICIT_SINCE = 5


def handle(request: Request[TxnOffsetCommitRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer when the offsets are durable; they count once the transaction is committed."""
    offsets = [
        NewOffset(
            TopicPartition(topic.name, each.partition_index),
            each.committed_offset,
            each.committed_leader_epoch,
            each.committed_metadata,
            cores.image.topics[topic.name].topic_id,
        )
        for topic in request.body.topics
        for each in topic.partitions
        if not _error(cores, topic.name, each)
    ]
    error, effects = ErrorCode.NONE, list[Effect]()
    if offsets:
        error, effects = _commit(request, offsets, cores, now)
    topics = tuple(
        TxnOffsetCommitResponseTopic(
            name=topic.name,
            partitions=tuple(
                TxnOffsetCommitResponsePartition(
                    partition_index=each.partition_index,
                    error_code=_error(cores, topic.name, each) or error,
                )
                for each in topic.partitions
            ),
        )
        for topic in request.body.topics
    )
    return effects + replies_when_durable([(request.to, TxnOffsetCommitResponse(topics=topics))])


def _commit(
    request: Request[TxnOffsetCommitRequest], offsets: list[NewOffset], cores: Cores, now: Instant
) -> tuple[ErrorCode, list[Effect]]:
    """The transaction first (T1), then member and generation (G1); nothing is written unless both
    agree."""
    body = request.body
    effects = ensure_internal_topic(cores, OFFSETS_TOPIC, now)
    verdict = _join(request, cores, now)
    if verdict.error:
        return _told(verdict.error, request.to.version), effects
    claim = Claim(body.member_id, body.group_instance_id, body.generation_id)
    error, decision = cores.groups.commit_transactional(body.group_id, claim, offsets, now)
    if error:
        return error, effects
    if verdict.record is not None:
        joined = Decision(records=(verdict.record,))
        effects += commit_transaction(cores, body.transactional_id, joined, now)
    producer = Producer(body.producer_id, body.producer_epoch)
    return error, effects + commit_group_offsets(cores, body.group_id, decision, producer, now)


def _join(request: Request[TxnOffsetCommitRequest], cores: Cores, now: Instant) -> Verdict:
    body = request.body
    owner = Owner(body.producer_id, body.producer_epoch)
    partition = group_partition(cores, body.group_id)
    transactions = cores.transactions
    if request.to.version >= IMPLICIT_SINCE:
        return transactions.add_partitions(body.transactional_id, owner, (partition,), V2, now)
    return Verdict(transactions.verify(body.transactional_id, owner, partition))


def _error(cores: Cores, topic: str, each: TxnOffsetCommitRequestPartition) -> ErrorCode:
    known = cores.image.topics.get(topic)
    if known is None or each.partition_index not in known.partitions:
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    if len(each.committed_metadata or "") > cores.config.offset_metadata_max_bytes:
        return ErrorCode.OFFSET_METADATA_TOO_LARGE
    return ErrorCode.NONE


def _told(error: ErrorCode, version: int) -> ErrorCode:
    """A refusal by the transaction coordinator in the words that this version's clients know."""
    if error is ErrorCode.PRODUCER_FENCED:
        return ErrorCode.INVALID_PRODUCER_EPOCH
    if error is ErrorCode.TRANSACTION_ABORTABLE and version < ABORTABLE_SINCE:
        return ErrorCode.INVALID_TXN_STATE
    if error is ErrorCode.CONCURRENT_TRANSACTIONS and version < IMPLICIT_SINCE:
        return ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
    return error
