"""Produce (0): append record batches.

0-2 are advertised and refused, so that older librdkafka does not send its batches uncompressed; 7
allows zstd; 8 reports errors per record; 10 can name another leader (one node: never needed); 12
joins partitions to the transaction implicitly (KIP-890); 13 names topics by id. acks=0 gets no
answer: an error closes the connection, as in Kafka, so that its client looks again.

`min.insync.replicas` above the number of replicas is satisfied by all of them, as since Kafka 4.0:
with one node acks=all never lacks a replica. NOT_ENOUGH_REPLICAS answers a batch whose records were
not read because those of the others in its request expand too far (`log.contents`): clients send it
again.
"""

from __future__ import annotations

from flowstream.broker.cores import INTERNAL_TOPICS, Cores
from flowstream.broker.effects import Close, Effect, Mute, ReplyWhenDurable, WhenDurable
from flowstream.broker.events import Request
from flowstream.broker.handlers.joining import join, join_together
from flowstream.broker.handlers.partition_data import unknown
from flowstream.broker.handlers.throttling import produce_throttle_ms
from flowstream.broker.log.contents import Allowance
from flowstream.broker.log.partition import Accepted, Duplicate, PartitionLog, Refused
from flowstream.broker.transactions.errors import IMPLICIT_SINCE
from flowstream.broker.types import Instant
from flowstream.wire.batch_header import CODEC_MASK, HEADER_SIZE, TRANSACTIONAL, read_header
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.produce import (
    BatchIndexAndErrorMessage,
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceResponse,
)

ATTRIBUTES_AT = 22
"""Where the low byte of a batch's attributes stands."""

OF_BATCH = (
    ErrorCode.CORRUPT_MESSAGE,
    ErrorCode.MESSAGE_TOO_LARGE,
    ErrorCode.RECORD_LIST_TOO_LARGE,
)
"""Errors whose answer does not tell the log start, in Kafka either; nor does INVALID_RECORD of no
record."""

TOPIC_ID_VERSION = 13
ZSTD = 4
ZSTD_VERSION = 7


def handle(request: Request[ProduceRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Append each partition's batch; answer when all of them are durable."""
    body = request.body
    effects: list[Effect] = []
    responses = []
    failed = False
    if body.transactional_id and request.to.version >= IMPLICIT_SINCE:
        effects += _joined(request, body.transactional_id, cores, now)
    allowance = Allowance(request.size)
    for topic in body.topic_data:
        answers = []
        for data in topic.partition_data:
            log = cores.logs.find(topic.name, topic.topic_id, data.index)
            if log is None:
                by_id = request.to.version >= TOPIC_ID_VERSION
                error = unknown(cores, topic.topic_id, by_id=by_id)
                answer = PartitionProduceResponse(
                    index=data.index, error_code=error, base_offset=-1
                )
            else:
                answer = _append(request, log, data, cores, now, effects, allowance)
            failed = failed or answer.error_code != 0
            answers.append(answer)
        responses.append(
            TopicProduceResponse(
                name=topic.name, topic_id=topic.topic_id, partition_responses=tuple(answers)
            )
        )
    throttle_ms = produce_throttle_ms(request, cores, now) if cores.quotas.limited else 0
    if body.acks == 0:
        if failed:
            effects.append(Close(request.to.connection, "a produce request with acks=0 failed"))
        if throttle_ms:
            effects.append(Mute(request.to.connection, throttle_ms))
        return effects
    response = ProduceResponse(responses=tuple(responses), throttle_time_ms=throttle_ms)
    effects.append(ReplyWhenDurable(request.to, response))
    if throttle_ms:
        mute = Mute(request.to.connection, throttle_ms)
        effects.append(WhenDurable(lambda now: [mute]))
    return effects


def _joined(
    request: Request[ProduceRequest], transactional_id: str, cores: Cores, now: Instant
) -> list[Effect]:
    """Let all partitions that the request may write to join its transaction."""
    batches = []
    for topic in request.body.topic_data:
        for data in topic.partition_data:
            log = cores.logs.find(topic.name, topic.topic_id, data.index)
            records = data.records
            if log is None or not isinstance(records, memoryview) or len(records) < HEADER_SIZE:
                continue
            attributes = records[ATTRIBUTES_AT]
            if attributes & TRANSACTIONAL and not _refused(request, log, attributes):
                batches.append((read_header(records), log.name))
    return join_together(cores, transactional_id, batches, now)


def _append(
    request: Request[ProduceRequest],
    log: PartitionLog,
    data: PartitionProduceData,
    cores: Cores,
    now: Instant,
    effects: list[Effect],
    allowance: Allowance,
) -> PartitionProduceResponse:
    records = data.records
    if not isinstance(records, memoryview) or len(records) < HEADER_SIZE:
        return _refusal(data.index, ErrorCode.INVALID_RECORD, "exactly one batch is expected")
    attributes = records[ATTRIBUTES_AT]
    error = _refused(request, log, attributes)
    if error:
        return _refusal(data.index, error)
    strict = False
    transactional_id = request.body.transactional_id
    if attributes & TRANSACTIONAL and transactional_id:
        version = request.to.version
        strict = version >= IMPLICIT_SINCE
        error, joined = join(cores, transactional_id, read_header(records), log.name, version, now)
        effects += joined
        if error:
            return _refusal(data.index, error)
    admitted = log.admit(records, now, strict_sequence=strict, allowance=allowance)
    if isinstance(admitted, Accepted):
        appended = log.append(admitted, now)
        log.bytes_in += len(records)
        effects += appended.effects
        base, timestamp = appended.base_offset, appended.timestamp
    elif isinstance(admitted, Duplicate):
        base, timestamp = admitted.base_offset, admitted.timestamp
    else:
        return _refused_by_log(data.index, admitted, log)
    return PartitionProduceResponse(
        index=data.index,
        base_offset=base,
        log_append_time_ms=timestamp,
        log_start_offset=log.log_start,
    )


def _refused(
    request: Request[ProduceRequest], log: PartitionLog, attributes: int
) -> ErrorCode | None:
    body = request.body
    if body.acks not in (-1, 0, 1):
        return ErrorCode.INVALID_REQUIRED_ACKS
    if log.name.topic in INTERNAL_TOPICS:
        # Kafka lets a client that calls itself `__admin_client` write here: what a coordinator did
        # not decide would be missing from its state, and the next start could fail on it (D7).
        return ErrorCode.INVALID_TOPIC_EXCEPTION
    if attributes & TRANSACTIONAL and not body.transactional_id:
        return ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    if attributes & CODEC_MASK == ZSTD and request.to.version < ZSTD_VERSION:
        return ErrorCode.UNSUPPORTED_COMPRESSION_TYPE
    return None


def _refused_by_log(index: int, refused: Refused, log: PartitionLog) -> PartitionProduceResponse:
    error = refused.error
    if error is ErrorCode.PRODUCER_FENCED:
        # What fences a producer in Produce has always been told as INVALID_PRODUCER_EPOCH
        # (KIP-588).
        error = ErrorCode.INVALID_PRODUCER_EPOCH
    errors = tuple(
        BatchIndexAndErrorMessage(batch_index=at, batch_index_error_message=message)
        for at, message in refused.record_errors
    )
    untold = error in OF_BATCH or (error is ErrorCode.INVALID_RECORD and not errors)
    return PartitionProduceResponse(
        index=index,
        error_code=error,
        base_offset=-1,
        log_start_offset=-1 if untold else log.log_start,
        record_errors=errors,
        error_message=refused.message or None,
    )


def _refusal(index: int, error: ErrorCode, message: str | None = None) -> PartitionProduceResponse:
    return PartitionProduceResponse(
        index=index, error_code=error, base_offset=-1, error_message=message
    )
