"""The transaction session against a scripted broker: every answer and every silence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from flowstream.transport.batches import PendingBatch, RecordBuffer
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import CommitRefused, ProducerFenced, TransactionFailed
from flowstream.transport.transaction import MOVES, State, TransactionSession
from flowstream.transport.types import Generation, TopicPartition
from flowstream.wire.api import ApiKey
from flowstream.wire.batch import read_header
from flowstream.wire.error_codes import ErrorCode
from tests.transport.fake_broker import DROP, SILENCE, FakeBroker

T0 = TopicPartition("t", 0)
T1 = TopicPartition("t", 1)
MEMBER = Generation("g", 3, "member-1")
BOTH = pytest.mark.parametrize("version", [1, 2], ids=["v1", "v2"])


def batches(
    *partitions: TopicPartition, records: int = 1
) -> dict[TopicPartition, list[PendingBatch]]:
    buffer = RecordBuffer()
    for tp in partitions:
        for n in range(records):
            buffer.append(tp, b"k", b"%d" % n, 1_000 + n)
    return buffer.take()


@asynccontextmanager
async def session_at(
    broker: FakeBroker, *, timeout_ms: int = 2_000, request_timeout_ms: int = 300
) -> AsyncIterator[TransactionSession]:
    cluster = Cluster(broker.address)
    await cluster.connect()
    try:
        session = TransactionSession(
            cluster,
            "app-1",
            timeout_ms=timeout_ms,
            request_timeout_ms=request_timeout_ms,
            init_timeout_ms=2_000,
        )
        await session.init()
        yield session
    finally:
        await cluster.close()


def broker_of(version: int) -> FakeBroker:
    return FakeBroker({"t": 2}, transaction_version=version)


@BOTH
async def test_a_transaction_in_the_order_of_the_protocol(version: int) -> None:
    async with broker_of(version) as broker, session_at(broker) as session:
        session.begin()
        await session.produce(batches(T0, T1))
        await session.add_offsets({T0: 5}, MEMBER)
        await session.commit()
        order = [ApiKey(request.key) for request in broker.requests]
        steps = [key for key in order if key not in LOOKUPS]
        added = [] if version == 2 else [ApiKey.ADD_PARTITIONS_TO_TXN]
        grouped = [] if version == 2 else [ApiKey.ADD_OFFSETS_TO_TXN]
        assert steps == [
            ApiKey.INIT_PRODUCER_ID,
            *added,
            ApiKey.PRODUCE,
            *grouped,
            ApiKey.TXN_OFFSET_COMMIT,
            ApiKey.END_TXN,
        ]
        assert broker.versions(ApiKey.PRODUCE) == ({12} if version == 2 else {11})
        assert broker.versions(ApiKey.TXN_OFFSET_COMMIT) == ({5} if version == 2 else {4})
        assert broker.versions(ApiKey.END_TXN) == ({5} if version == 2 else {4})
        assert session.state is State.READY


LOOKUPS = (ApiKey.API_VERSIONS, ApiKey.METADATA, ApiKey.FIND_COORDINATOR)


@BOTH
async def test_P1_sequences_follow_the_epoch(version: int) -> None:
    async with broker_of(version) as broker, session_at(broker) as session:
        for _ in range(2):
            session.begin()
            await session.produce(batches(T0, records=3))
            await session.commit()
        headers = [
            read_header(body.topic_data[0].partition_data[0].records)
            for body in broker.seen(ApiKey.PRODUCE)
        ]
        if version == 2:
            assert [h.base_sequence for h in headers] == [0, 0]
            assert headers[1].producer_epoch == headers[0].producer_epoch + 1
        else:
            assert [h.base_sequence for h in headers] == [0, 3]
            assert headers[1].producer_epoch == headers[0].producer_epoch
        assert all(h.is_transactional for h in headers)


async def test_batches_of_one_partition_go_one_after_the_other() -> None:
    async with broker_of(2) as broker, session_at(broker) as session:
        buffer = RecordBuffer(max_batch_bytes=200)
        for n in range(6):
            buffer.append(T0, b"k", b"v" * 100, n)
        session.begin()
        await session.produce(buffer.take())
        headers = [
            read_header(body.topic_data[0].partition_data[0].records)
            for body in broker.seen(ApiKey.PRODUCE)
        ]
        assert [h.base_sequence for h in headers] == list(range(6))


@BOTH
async def test_a_refused_batch_fails_the_transaction_and_abort_starts_a_new_epoch(
    version: int,
) -> None:
    async with broker_of(version) as broker, session_at(broker) as session:
        session.begin()
        broker.script(ApiKey.PRODUCE, int(ErrorCode.MESSAGE_TOO_LARGE))
        with pytest.raises(TransactionFailed, match="MESSAGE_TOO_LARGE"):
            await session.produce(batches(T0))
        with pytest.raises(TransactionFailed):
            await session.commit()
        epoch = session.producer.epoch
        await session.abort()
        assert [body.committed for body in broker.seen(ApiKey.END_TXN)] == [False]
        assert session.producer.epoch > epoch
        session.begin()
        await session.produce(batches(T0))
        last = broker.seen(ApiKey.PRODUCE)[-1].topic_data[0].partition_data[0].records
        assert read_header(last).base_sequence == 0


@BOTH
@pytest.mark.parametrize("loss", [DROP, SILENCE], ids=["closed", "silent"])
async def test_T3_an_unanswered_commit_is_asked_again(version: int, loss: object) -> None:
    async with broker_of(version) as broker, session_at(broker) as session:
        session.begin()
        await session.produce(batches(T0))
        epoch = session.producer.epoch
        broker.script(ApiKey.END_TXN, loss, loss)
        await session.commit()
        asked = broker.seen(ApiKey.END_TXN)
        assert len(asked) == 3
        assert len(set(map(repr, asked))) == 1, "the very same request"
        assert asked[0].committed
        assert session.producer.epoch > epoch, "v1 too takes a new epoch after a doubt"
        assert len(broker.seen(ApiKey.INIT_PRODUCER_ID)) == (2 if version == 1 else 1)
        assert session.state is State.READY


async def test_T3_fenced_after_silence_means_unknown() -> None:
    async with broker_of(2) as broker, session_at(broker) as session:
        session.begin()
        await session.produce(batches(T0))
        broker.script(ApiKey.END_TXN, DROP, int(ErrorCode.INVALID_PRODUCER_EPOCH))
        with pytest.raises(ProducerFenced) as raised:
            await session.commit()
        assert raised.value.outcome == "unknown"
        with pytest.raises(ProducerFenced):
            session.begin()
        await session.init()
        session.begin()


async def test_fenced_at_the_first_answer_means_aborted() -> None:
    async with broker_of(2) as broker, session_at(broker) as session:
        session.begin()
        await session.produce(batches(T0))
        broker.script(ApiKey.END_TXN, int(ErrorCode.PRODUCER_FENCED))
        with pytest.raises(ProducerFenced) as raised:
            await session.commit()
        assert raised.value.outcome == "aborted"


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (ErrorCode.ILLEGAL_GENERATION, "ILLEGAL_GENERATION"),
        (ErrorCode.UNKNOWN_MEMBER_ID, "UNKNOWN_MEMBER_ID"),
        (ErrorCode.FENCED_INSTANCE_ID, "give each worker a group_instance_id of its own"),
    ],
)
@BOTH
async def test_G1_offsets_of_a_zombie_are_refused(version: int, code: ErrorCode, says: str) -> None:
    async with broker_of(version) as broker, session_at(broker) as session:
        session.begin()
        await session.produce(batches(T0))
        broker.script(ApiKey.TXN_OFFSET_COMMIT, int(code))
        with pytest.raises(CommitRefused, match=says):
            await session.add_offsets({T0: 1}, MEMBER)
        await session.abort()
        assert [body.committed for body in broker.seen(ApiKey.END_TXN)] == [False]
        sent = broker.seen(ApiKey.TXN_OFFSET_COMMIT)[0]
        assert (sent.generation_id, sent.member_id) == (3, "member-1")


async def test_G1_offsets_without_a_generation_are_a_mistake() -> None:
    async with broker_of(2) as broker, session_at(broker) as session:
        session.begin()
        with pytest.raises(AssertionError):
            await session.add_offsets({T0: 1}, Generation("g", -1, ""))


@BOTH
async def test_a_lost_produce_is_repeated_with_its_sequence(version: int) -> None:
    async with broker_of(version) as broker, session_at(broker) as session:
        session.begin()
        broker.script(ApiKey.PRODUCE, DROP, int(ErrorCode.DUPLICATE_SEQUENCE_NUMBER))
        await session.produce(batches(T0))
        first, second = (
            bytes(body.topic_data[0].partition_data[0].records)
            for body in broker.seen(ApiKey.PRODUCE)
        )
        assert first == second
        epoch = session.producer.epoch
        await session.commit()
        assert session.producer.epoch > epoch, "a doubt under v1 ends the epoch too"


async def test_an_empty_transaction_asks_nothing() -> None:
    async with broker_of(2) as broker, session_at(broker) as session:
        session.begin()
        await session.produce({})
        await session.add_offsets({}, MEMBER)
        await session.commit()
        session.begin()
        await session.abort()
        assert broker.seen(ApiKey.END_TXN) == []


async def test_passing_errors_are_waited_out() -> None:
    async with broker_of(1) as broker, session_at(broker) as session:
        busy = int(ErrorCode.CONCURRENT_TRANSACTIONS)
        away = int(ErrorCode.NOT_COORDINATOR)
        broker.script(ApiKey.ADD_PARTITIONS_TO_TXN, busy, away)
        broker.script(ApiKey.TXN_OFFSET_COMMIT, int(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS))
        broker.script(ApiKey.END_TXN, busy)
        session.begin()
        await session.produce(batches(T0))
        await session.add_offsets({T0: 1}, MEMBER)
        await session.commit()
        assert session.state is State.READY


async def test_a_cancelled_commit_leaves_a_question_that_init_settles() -> None:
    async with broker_of(2) as broker, session_at(broker) as session:
        session.begin()
        await session.produce(batches(T0))
        broker.script(ApiKey.END_TXN, SILENCE)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await session.commit()
        assert session.state is State.ENDING
        with pytest.raises(TransactionFailed):
            session.begin()
        await session.init()
        assert session.state is State.READY


async def test_a_cancelled_produce_cannot_be_committed() -> None:
    async with broker_of(2) as broker, session_at(broker) as session:
        session.begin()
        broker.script(ApiKey.PRODUCE, SILENCE)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await session.produce(batches(T0))
        with pytest.raises(TransactionFailed):
            await session.commit()
        await session.abort()


@BOTH
async def test_fenced_while_producing(version: int) -> None:
    async with broker_of(version) as broker, session_at(broker) as session:
        session.begin()
        broker.script(ApiKey.PRODUCE, int(ErrorCode.INVALID_PRODUCER_EPOCH))
        with pytest.raises(ProducerFenced):
            await session.produce(batches(T0))
        with pytest.raises(ProducerFenced):
            await session.abort()
        await session.init()
        session.begin()


async def test_v1_nothing_to_abort_at_the_coordinator_is_fine() -> None:
    async with broker_of(1) as broker, session_at(broker) as session:
        session.begin()
        broker.script(ApiKey.ADD_PARTITIONS_TO_TXN, int(ErrorCode.TOPIC_AUTHORIZATION_FAILED))
        with pytest.raises(TransactionFailed):
            await session.produce(batches(T0))
        broker.script(ApiKey.END_TXN, int(ErrorCode.INVALID_TXN_STATE))
        await session.abort()
        assert session.state is State.READY


def test_every_state_has_its_moves() -> None:
    assert set(MOVES) == set(State)
    assert all(state in MOVES[State.FENCED] for state in (State.READY,))
