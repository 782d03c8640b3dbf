"""AddPartitionsToTxn (24): partitions join a transaction; the first ones begin it.

All partitions of a transaction or none: an unknown one fails the others with
OPERATION_NOT_ATTEMPTED. 4 and 5 are for brokers, carry many transactions and may only verify
(KIP-890); clients on protocol v2 do not send this request. 0 and 1 know INVALID_PRODUCER_EPOCH
instead of PRODUCER_FENCED."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from flowstream.broker.coordination import commit_transaction, replies_when_durable
from flowstream.broker.cores import INTERNAL_TOPICS, Cores
from flowstream.broker.decision import Decision
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
from flowstream.broker.transactions.coordinator import Owner
from flowstream.broker.transactions.errors import told
from flowstream.broker.transactions.transitions import V2
from flowstream.broker.types import Instant, TopicPartition
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.add_partitions_to_txn import (
    AddPartitionsToTxnPartitionResult,
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    AddPartitionsToTxnResult,
    AddPartitionsToTxnTopic,
    AddPartitionsToTxnTopicResult,
    AddPartitionsToTxnTransaction,
)
from flowstream.wire.schema import replace

FENCED_SINCE = 2
BATCHED_SINCE = 4

Results = tuple[AddPartitionsToTxnTopicResult, ...]
_Asked = tuple[AddPartitionsToTxnTransaction, list[AddPartitionsToTxnTopic]]


def handle(request: Request[AddPartitionsToTxnRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer when the joining is durable."""
    body, version = request.body, request.to.version
    if version < BATCHED_SINCE:
        transaction = AddPartitionsToTxnTransaction(
            transactional_id=body.v3_and_below_transactional_id,
            producer_id=body.v3_and_below_producer_id,
            producer_epoch=body.v3_and_below_producer_epoch,
            topics=body.v3_and_below_topics,
        )
        results, effects = _add(transaction, cores, version, now)
        response = AddPartitionsToTxnResponse(results_by_topic_v3_and_below=results)
    else:
        effects = []
        each_result = []
        for transaction in _once(body.transactions):
            results, written = _add(transaction, cores, version, now)
            effects += written
            each_result.append(
                AddPartitionsToTxnResult(
                    transactional_id=transaction.transactional_id, topic_results=results
                )
            )
        response = AddPartitionsToTxnResponse(results_by_transaction=tuple(each_result))
    return effects + replies_when_durable([(request.to, response)])


def _once(
    transactions: Iterable[AddPartitionsToTxnTransaction],
) -> Iterable[AddPartitionsToTxnTransaction]:
    """What one owner asks of one transaction, together: each time would write all before it once
    more (X4).
    """
    together: dict[tuple[Hashable, ...], _Asked] = {}
    for each in transactions:
        key = each.transactional_id, each.producer_id, each.producer_epoch, each.verify_only
        together.setdefault(key, (each, []))[1].extend(each.topics)
    return [replace(each, topics=tuple(topics)) for each, topics in together.values()]


def _add(
    asked: AddPartitionsToTxnTransaction, cores: Cores, version: int, now: Instant
) -> tuple[Results, list[Effect]]:
    partitions = [
        TopicPartition(topic.name, number) for topic in asked.topics for number in topic.partitions
    ]
    owner = Owner(asked.producer_id, asked.producer_epoch)
    if asked.verify_only:
        errors = {
            each: cores.transactions.verify(asked.transactional_id, owner, each)
            for each in partitions
        }
        return _results(asked.topics, errors), []
    refused = {each: error for each in partitions if (error := _refusal(each, cores))}
    if refused:
        errors = {each: refused.get(each, ErrorCode.OPERATION_NOT_ATTEMPTED) for each in partitions}
        return _results(asked.topics, errors), []
    client_version = V2 if version >= BATCHED_SINCE else 0
    verdict = cores.transactions.add_partitions(
        asked.transactional_id, owner, partitions, client_version, now
    )
    error = told(verdict.error, version, FENCED_SINCE)
    results = _results(asked.topics, dict.fromkeys(partitions, error))
    if verdict.record is None:
        return results, []
    decision = Decision(records=(verdict.record,))
    return results, commit_transaction(cores, asked.transactional_id, decision, now)


def _refusal(partition: TopicPartition, cores: Cores) -> ErrorCode:
    """Why a partition may not join: the internal topics are the coordinators' alone."""
    if partition.topic in INTERNAL_TOPICS:
        return ErrorCode.TOPIC_AUTHORIZATION_FAILED
    known = partition in cores.logs.by_name
    return ErrorCode.NONE if known else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def _results(
    topics: Iterable[AddPartitionsToTxnTopic], errors: dict[TopicPartition, ErrorCode]
) -> Results:
    return tuple(
        AddPartitionsToTxnTopicResult(
            name=topic.name,
            results_by_partition=tuple(
                AddPartitionsToTxnPartitionResult(
                    partition_index=number,
                    partition_error_code=errors[TopicPartition(topic.name, number)],
                )
                for number in topic.partitions
            ),
        )
        for topic in topics
    )
