"""Transactions through a whole node."""

from __future__ import annotations

from typing import Any

import pytest

from flowstream.broker.transactions.states import COMPLETE_COMMIT
from flowstream.broker.types import Instant, TopicPartition
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.add_partitions_to_txn import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnTopic,
)
from flowstream.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from flowstream.wire.messages.init_producer_id import InitProducerIdRequest
from tests.broker.machine import Machine, batch, end_txn

SEEDS = range(12)
A0 = TopicPartition("a", 0)


def machine(seed: int = 1, *, fsync: bool = True, **settings: str) -> Machine:
    made = Machine(seed, fsync=fsync, **settings)
    topics = tuple(
        CreatableTopic(name=name, num_partitions=2, replication_factor=1) for name in ("a", "b")
    )
    response = made.ask(CreateTopicsRequest(topics=topics), 7)
    assert [each.error_code for each in response.topics] == [0, 0]
    return made


def join(made: Machine, pid: int, epoch: int, *, version: int = 3, **topics: int) -> Any:
    request = AddPartitionsToTxnRequest(
        v3_and_below_transactional_id="t",
        v3_and_below_producer_id=pid,
        v3_and_below_producer_epoch=epoch,
        v3_and_below_topics=tuple(
            AddPartitionsToTxnTopic(name=name, partitions=(number,))
            for name, number in topics.items()
        ),
    )
    response = made.ask(request, version)
    return [
        partition.partition_error_code
        for topic in response.results_by_topic_v3_and_below
        for partition in topic.results_by_partition
    ]


def test_v2_commit_shows_all_partitions_at_once() -> None:
    made = machine()
    begun = made.init()
    pid, epoch = begun.producer_id, begun.producer_epoch
    for topic in ("a", "b"):
        sent = batch(b"1", pid=pid, epoch=epoch, sequence=0)
        assert made.produce(topic, 0, sent, name="t").error_code == 0
        assert made.read(topic) == []
        assert made.read(topic, committed=False) == [b"1"]
    ended = made.end(pid, epoch)
    assert (ended.error_code, ended.producer_id, ended.producer_epoch) == (0, pid, epoch + 1)
    assert made.read("a") == made.read("b") == [b"1"]


def test_T8_aborted_data_is_never_seen() -> None:
    made = machine()
    begun = made.init()
    pid, epoch = begun.producer_id, begun.producer_epoch
    made.produce("a", 0, batch(b"no", pid=pid, epoch=epoch, sequence=0), name="t")
    epoch = made.end(pid, epoch, commit=False).producer_epoch
    made.produce("a", 0, batch(b"yes", pid=pid, epoch=epoch, sequence=0), name="t")
    assert made.read("a") == []
    made.end(pid, epoch)
    assert made.read("a") == [b"yes"]
    made.crash()
    assert made.read("a") == [b"yes"]


def test_v1_joins_first_and_keeps_its_epoch() -> None:
    made = machine()
    begun = made.init(version=0)
    pid, epoch = begun.producer_id, begun.producer_epoch
    sent = batch(b"1", pid=pid, epoch=epoch, sequence=0)
    assert made.produce("a", 0, sent, name="t", version=7).error_code == ErrorCode.INVALID_TXN_STATE
    assert join(made, pid, epoch, version=0, a=0) == [0]
    assert made.produce("a", 0, sent, name="t", version=7).error_code == 0
    assert made.end(pid, epoch, version=1).error_code == 0
    assert made.read("a") == [b"1"]
    late = batch(b"late", pid=pid, epoch=epoch, sequence=1)
    assert made.produce("a", 0, late, name="t", version=7).error_code == ErrorCode.INVALID_TXN_STATE
    assert made.end(pid, epoch, version=1).error_code == 0


def test_a_transaction_joins_all_its_partitions_or_none() -> None:
    made = machine()
    begun = made.init()
    errors = join(made, begun.producer_id, begun.producer_epoch, a=0, nope=0)
    assert errors == [
        ErrorCode.OPERATION_NOT_ATTEMPTED,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ]
    assert made.cores.transactions.transactions["t"].partitions == {}


def test_old_versions_hear_of_an_invalid_epoch_instead_of_fencing() -> None:
    made = machine()
    begun = made.init()
    made.init()
    old = begun.producer_id, begun.producer_epoch
    assert made.end(*old, version=1).error_code == ErrorCode.INVALID_PRODUCER_EPOCH
    assert made.end(*old, version=2).error_code == ErrorCode.PRODUCER_FENCED
    assert join(made, *old, version=1, a=0) == [ErrorCode.INVALID_PRODUCER_EPOCH]
    assert join(made, *old, version=2, a=0) == [ErrorCode.PRODUCER_FENCED]
    sent = batch(b"x", pid=old[0], epoch=old[1], sequence=0)
    refused = made.produce("a", 0, sent, name="t")
    assert refused.error_code == ErrorCode.INVALID_PRODUCER_EPOCH
    expected = {"producer_id": old[0], "producer_epoch": old[1]}
    assert made.init(version=3, **expected).error_code == ErrorCode.INVALID_PRODUCER_EPOCH
    assert made.init(version=4, **expected).error_code == ErrorCode.PRODUCER_FENCED
    half = made.init(version=4, producer_id=3)
    assert half.error_code == ErrorCode.INVALID_REQUEST


def test_T11_the_new_owner_gets_its_answer_when_the_old_transaction_is_aborted() -> None:
    made = machine()
    begun = made.init()
    sent = batch(b"old", pid=begun.producer_id, epoch=0, sequence=0)
    made.produce("a", 0, sent, name="t")
    taken = made.init()
    assert (taken.error_code, taken.producer_epoch) == (0, 2)
    assert made.cores.logs.by_name[A0].open_transactions == {}
    assert made.read("a") == []
    late = batch(b"late", pid=begun.producer_id, epoch=0, sequence=1)
    refused = made.produce("a", 0, late, name="t")
    assert refused.error_code == ErrorCode.INVALID_PRODUCER_EPOCH


@pytest.mark.parametrize("version", [7, 12])
def test_T4_T10_a_transaction_that_takes_too_long_is_aborted(version: int) -> None:
    made = machine()
    begun = made.init(transaction_timeout_ms=5_000)
    pid, epoch = begun.producer_id, begun.producer_epoch
    join(made, pid, epoch, a=0)
    made.produce("a", 0, batch(b"x", pid=pid, epoch=epoch, sequence=0), name="t", version=version)
    made.produce("a", 0, batch(b"plain"))
    made.wait(4_999)
    assert made.read("a") == []
    made.wait(1)
    assert made.read("a") == [b"plain"]
    ended = made.end(pid, epoch, version=2)
    assert ended.error_code == ErrorCode.PRODUCER_FENCED
    late = batch(b"y", pid=pid, epoch=epoch, sequence=1)
    assert made.produce("a", 0, late, name="t", version=version).error_code in (
        ErrorCode.INVALID_PRODUCER_EPOCH,
    )
    assert made.init().producer_epoch == epoch + 2


@pytest.mark.parametrize("seed", SEEDS)
def test_T10_a_timeout_works_across_a_restart(seed: int) -> None:
    made = machine(seed)
    begun = made.init(transaction_timeout_ms=5_000)
    pid, epoch = begun.producer_id, begun.producer_epoch
    made.produce("a", 0, batch(b"x", pid=pid, epoch=epoch, sequence=0), name="t")
    made.crash()
    assert pid in made.cores.logs.by_name[A0].open_transactions
    made.wait(5_000)
    assert made.cores.logs.by_name[A0].open_transactions == {}
    assert made.end(pid, epoch).error_code == ErrorCode.INVALID_TXN_STATE
    assert made.end(pid, epoch, commit=False).error_code == 0
    assert made.read("a") == []


def test_T10_a_clock_that_was_set_back_over_a_restart_keeps_no_transaction_open() -> None:
    made = machine()
    begun = made.init(transaction_timeout_ms=5_000)
    pid, epoch = begun.producer_id, begun.producer_epoch
    made.produce("a", 0, batch(b"x", pid=pid, epoch=epoch, sequence=0), name="t")
    made.now = Instant(made.now - 1800 * 1000)
    made.crash()
    made.wait(4_999)
    assert pid in made.cores.logs.by_name[A0].open_transactions
    made.wait(1)
    assert made.cores.logs.by_name[A0].open_transactions == {}
    # The next one has its own time.
    made.wait(60_000)
    begun = made.init(transaction_timeout_ms=5_000)
    pid, epoch = begun.producer_id, begun.producer_epoch
    made.produce("a", 0, batch(b"y", pid=pid, epoch=epoch, sequence=0), name="t")
    made.wait(4_999)
    assert pid in made.cores.logs.by_name[A0].open_transactions


@pytest.mark.parametrize("seed", SEEDS)
def test_T12_ids_are_never_given_twice_whatever_is_lost(seed: int) -> None:
    made = Machine(seed)
    seen: set[int] = set()
    for round in range(6):
        for _ in range(3):
            pid = made.init(None).producer_id
            assert pid not in seen
            seen.add(pid)
        if round % 2:
            made.post(end_txn(1, 1), 5)
        made.replies.clear()
        made.crash()


def test_T12_ids_are_not_handed_out_before_their_block_is_durable() -> None:
    made = Machine()
    request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=1)
    asked = [made.post(request, 4) for _ in range(3)]
    assert made.replies == {}
    made.settle()
    assert [made.answer(each).producer_id for each in asked] == [0, 1, 2]
    assert made.cores.image.next_producer_id == 1000


def test_under_os_one_turn_prepares_marks_and_completes() -> None:
    made = machine(fsync=False)
    begun = made.init()
    pid, epoch = begun.producer_id, begun.producer_epoch
    made.produce("a", 1, batch(b"1", pid=pid, epoch=epoch, sequence=0), name="t")
    asked = made.post(end_txn(pid, epoch), 5)
    assert made.replies == {}
    assert made.settle_once()
    assert made.answer(asked).error_code == 0
    assert not made.settle_once()
    assert made.cores.transactions.transactions["t"].state is COMPLETE_COMMIT
    assert made.read("a", 1) == [b"1"]
