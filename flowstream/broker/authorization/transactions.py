"""Rules of requests about producers and transactions, as Kafka answers them."""

from __future__ import annotations

from typing import Any

from flowstream.broker.authorization.admission import (
    PASS,
    Admission,
    and_then,
    only,
    partition,
    refuse,
)
from flowstream.broker.authorization.groups import FAILED as GROUP_FAILED
from flowstream.broker.authorization.topics import FAILED as TOPIC_FAILED
from flowstream.broker.cores import Cores
from flowstream.broker.events import Request
from flowstream.broker.security.authorizer import Access
from flowstream.broker.types import TopicPartition
from flowstream.wire.acl_codes import Operation
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.add_offsets_to_txn import AddOffsetsToTxnResponse
from flowstream.wire.messages.add_partitions_to_txn import (
    AddPartitionsToTxnPartitionResult,
    AddPartitionsToTxnResponse,
    AddPartitionsToTxnTopicResult,
)
from flowstream.wire.messages.describe_transactions import (
    DescribeTransactionsResponse,
    TransactionState,
)
from flowstream.wire.messages.end_txn import EndTxnResponse
from flowstream.wire.messages.init_producer_id import InitProducerIdResponse
from flowstream.wire.messages.txn_offset_commit import (
    TxnOffsetCommitResponse,
    TxnOffsetCommitResponsePartition,
    TxnOffsetCommitResponseTopic,
)
from flowstream.wire.messages.write_txn_markers import (
    WritableTxnMarkerPartitionResult,
    WritableTxnMarkerResult,
    WritableTxnMarkerTopicResult,
    WriteTxnMarkersResponse,
)
from flowstream.wire.schema import replace

FAILED = ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
CLUSTER_FAILED = ErrorCode.CLUSTER_AUTHORIZATION_FAILED
BETWEEN_BROKERS_SINCE = 4


def init_producer_id(request: Request[Any], access: Access, cores: Cores) -> Admission:
    """Write on the transactional id; without one IdempotentWrite on the cluster, or Write on some
    topic (KIP-679).
    """
    id = request.body.transactional_id
    if id is not None:
        if access.transactional_id(Operation.WRITE, id):
            return PASS
        return refuse(InitProducerIdResponse(error_code=FAILED, producer_id=-1, producer_epoch=-1))
    if access.cluster(Operation.IDEMPOTENT_WRITE) or access.some_topic(Operation.WRITE):
        return PASS
    return refuse(
        InitProducerIdResponse(error_code=CLUSTER_FAILED, producer_id=-1, producer_epoch=-1)
    )


def add_partitions_to_txn(request: Request[Any], access: Access, cores: Cores) -> Admission:
    """Write on the transactional id and on each topic, all or none; from 4 on for brokers."""
    body = request.body
    if request.to.version >= BETWEEN_BROKERS_SINCE:
        if access.cluster(Operation.CLUSTER_ACTION):
            return PASS
        return refuse(AddPartitionsToTxnResponse(error_code=CLUSTER_FAILED))
    topics = body.v3_and_below_topics
    mine = access.transactional_id(Operation.WRITE, body.v3_and_below_transactional_id)
    denied = {t.name for t in topics if not (mine and access.topic(Operation.WRITE, t.name))}
    if not denied:
        return PASS

    def error(topic: str, number: int) -> ErrorCode:
        if topic in denied:
            return TOPIC_FAILED if mine else FAILED
        if TopicPartition(topic, number) not in cores.logs.by_name:
            return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        return ErrorCode.OPERATION_NOT_ATTEMPTED

    results = tuple(
        AddPartitionsToTxnTopicResult(
            name=topic.name,
            results_by_partition=tuple(
                AddPartitionsToTxnPartitionResult(
                    partition_index=number, partition_error_code=error(topic.name, number)
                )
                for number in topic.partitions
            ),
        )
        for topic in topics
    )
    return refuse(AddPartitionsToTxnResponse(results_by_topic_v3_and_below=results))


def add_offsets_to_txn(request: Request[Any], access: Access, cores: Cores) -> Admission:
    """Write on the transactional id, Read on the group."""
    body = request.body
    if not access.transactional_id(Operation.WRITE, body.transactional_id):
        return refuse(AddOffsetsToTxnResponse(error_code=FAILED))
    if not access.group(Operation.READ, body.group_id):
        return refuse(AddOffsetsToTxnResponse(error_code=GROUP_FAILED))
    return PASS


def end_txn(request: Request[Any], access: Access, cores: Cores) -> Admission:
    """Write on the transactional id."""
    if access.transactional_id(Operation.WRITE, request.body.transactional_id):
        return PASS
    return refuse(EndTxnResponse(error_code=FAILED))


def write_txn_markers(request: Request[Any], access: Access, cores: Cores) -> Admission:
    """Alter or ClusterAction on the cluster."""
    if access.cluster(Operation.ALTER) or access.cluster(Operation.CLUSTER_ACTION):
        return PASS
    markers = tuple(
        WritableTxnMarkerResult(
            producer_id=marker.producer_id,
            topics=tuple(
                WritableTxnMarkerTopicResult(
                    name=topic.name,
                    partitions=tuple(
                        WritableTxnMarkerPartitionResult(
                            partition_index=number, error_code=CLUSTER_FAILED
                        )
                        for number in topic.partition_indexes
                    ),
                )
                for topic in marker.topics
            ),
        )
        for marker in request.body.markers
    )
    return refuse(WriteTxnMarkersResponse(markers=markers))


def txn_offset_commit(request: Request[Any], access: Access, cores: Cores) -> Admission:
    """Write on the transactional id, Read on the group, Read on each topic."""
    body = request.body
    error = ErrorCode.NONE
    if not access.transactional_id(Operation.WRITE, body.transactional_id):
        error = FAILED
    elif not access.group(Operation.READ, body.group_id):
        error = GROUP_FAILED

    def refusal(topic: Any) -> Any:
        return TxnOffsetCommitResponseTopic(
            name=topic.name,
            partitions=tuple(
                TxnOffsetCommitResponsePartition(
                    partition_index=each.partition_index, error_code=error or TOPIC_FAILED
                )
                for each in topic.partitions
            ),
        )

    return partition(
        body,
        "topics",
        lambda topic: not error and access.topic(Operation.READ, topic.name),
        TxnOffsetCommitResponse,
        "topics",
        refusal,
    )


def describe_transactions(request: Request[Any], access: Access, cores: Cores) -> Admission:
    """Describe on each transactional id; topics are told where Describe on them is allowed."""
    admission = partition(
        request.body,
        "transactional_ids",
        lambda id: access.transactional_id(Operation.DESCRIBE, id),
        DescribeTransactionsResponse,
        "transaction_states",
        lambda id: TransactionState(error_code=FAILED, transactional_id=id),
    )

    def seen(state: Any) -> Any:
        topics = (t for t in state.topics if access.topic(Operation.DESCRIBE, t.topic))
        return replace(state, topics=tuple(topics))

    return and_then(
        admission,
        lambda answer: replace(
            answer, transaction_states=tuple(seen(each) for each in answer.transaction_states)
        ),
    )


def list_transactions(request: Request[Any], access: Access, cores: Cores) -> Admission:
    """Describe on each transactional id that is told."""
    return only(
        "transaction_states",
        lambda state: access.transactional_id(Operation.DESCRIBE, state.transactional_id),
    )
