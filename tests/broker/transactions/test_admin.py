"""What tools may ask about transactions, and the marker they may write."""

from __future__ import annotations

from typing import Any

import pytest

from flowstream.broker.coordination import transaction_partition
from flowstream.broker.effects import Reply
from flowstream.broker.events import Request
from flowstream.broker.handlers import add_partitions_to_txn
from flowstream.broker.log.partition import Accepted
from flowstream.broker.types import ReplyTo, TopicPartition
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.add_offsets_to_txn import AddOffsetsToTxnRequest
from flowstream.wire.messages.add_partitions_to_txn import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnTopic,
    AddPartitionsToTxnTransaction,
)
from flowstream.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from flowstream.wire.messages.describe_transactions import DescribeTransactionsRequest
from flowstream.wire.messages.list_transactions import ListTransactionsRequest
from flowstream.wire.messages.write_txn_markers import (
    WritableTxnMarker,
    WritableTxnMarkerTopic,
    WriteTxnMarkersRequest,
)
from flowstream.wire.schema import replace
from tests.broker.machine import Machine, batch


def machine() -> Machine:
    made = Machine()
    topic = CreatableTopic(name="a", num_partitions=2, replication_factor=1)
    made.ask(CreateTopicsRequest(topics=(topic,)), 7)
    return made


def begun(made: Machine, name: str = "t") -> Any:
    got = made.init(name)
    sent = batch(b"x", pid=got.producer_id, epoch=got.producer_epoch, sequence=0)
    assert made.produce("a", 0, sent, name=name).error_code == 0
    return got


def test_transactions_are_described() -> None:
    made = machine()
    got = begun(made)
    states = made.ask(DescribeTransactionsRequest(transactional_ids=("t", "x", "")), 0)
    known, unknown, empty = states.transaction_states
    assert known.transaction_state == "Ongoing"
    assert known.producer_id == got.producer_id
    assert known.transaction_start_time_ms == made.now
    assert [(each.topic, each.partitions) for each in known.topics] == [("a", (0,))]
    assert unknown.error_code == ErrorCode.TRANSACTIONAL_ID_NOT_FOUND
    assert empty.error_code == ErrorCode.INVALID_REQUEST


def test_transactions_are_listed_by_state_producer_and_duration() -> None:
    made = machine()
    got = begun(made)
    made.init("idle")

    def names(**filters: Any) -> list[str]:
        response = made.ask(ListTransactionsRequest(**filters), 1)
        return [each.transactional_id for each in response.transaction_states]

    assert names() == ["t", "idle"]
    assert names(state_filters=("Ongoing",)) == ["t"]
    assert names(producer_id_filters=(got.producer_id,)) == ["t"]
    made.wait(5_000)
    assert "t" in names(duration_filter=4_999)
    assert "t" not in names(duration_filter=5_000)
    response = made.ask(ListTransactionsRequest(state_filters=("Nonsense",)), 1)
    assert response.unknown_state_filters == ("Nonsense",)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        (None, ["ab", "abc", "b"]),
        ("", ["ab", "abc", "b"]),
        ("ab", ["ab"]),
        ("a.*", ["ab", "abc"]),
        ("ab|b", ["ab", "b"]),
        ("(?i)ABC", ["abc"]),
        ("x*", []),
    ],
)
def test_transactions_are_listed_by_a_pattern(pattern: str | None, found: list[str]) -> None:
    made = machine()
    for name in ("ab", "abc", "b"):
        made.init(name)
    response = made.ask(ListTransactionsRequest(transactional_id_pattern=pattern), 2)
    assert response.error_code == 0
    assert sorted(each.transactional_id for each in response.transaction_states) == found


@pytest.mark.parametrize("pattern", ["(", "(?=a)", "a{1001}", "((a{100}){100}){100}", "a" * 5000])
def test_X3_a_pattern_that_is_none_or_too_large_is_refused(pattern: str) -> None:
    made = machine()
    made.init("aa")
    response = made.ask(ListTransactionsRequest(transactional_id_pattern=pattern), 2)
    assert response.error_code == ErrorCode.INVALID_REGULAR_EXPRESSION
    assert response.transaction_states == ()


def test_X4_a_pattern_that_makes_others_backtrack_for_ever_is_answered() -> None:
    made = machine()
    made.init("a" * 30_000 + "!")
    response = made.ask(ListTransactionsRequest(transactional_id_pattern="(a|a)*(a+)+$"), 2)
    assert (response.error_code, response.transaction_states) == (0, ())


def marker(epoch: int, *, version: int = 0, coordinator_epoch: int = 0) -> WriteTxnMarkersRequest:
    topic = WritableTxnMarkerTopic(name="a", partition_indexes=(0, 9))
    return WriteTxnMarkersRequest(
        markers=(
            WritableTxnMarker(
                producer_id=77,
                producer_epoch=epoch,
                transaction_result=False,
                topics=(topic,),
                coordinator_epoch=coordinator_epoch,
                transaction_version=version,
            ),
        )
    )


def hanging(made: Machine) -> None:
    """Data of a producer that no coordinator knows."""
    log = made.cores.logs.by_name[TopicPartition("a", 0)]
    sent = batch(b"1", pid=77, epoch=3, sequence=0)
    admitted = log.admit(memoryview(bytearray(sent)), made.now)
    assert isinstance(admitted, Accepted)
    made.carry_out(log.append(admitted, made.now).effects)
    made.settle()


def written(made: Machine, request: WriteTxnMarkersRequest, version: int = 1) -> list[int]:
    (result,) = made.ask(request, version).markers
    return [each.error_code for each in result.topics[0].partitions]


def test_a_tool_aborts_a_hanging_transaction() -> None:
    made = machine()
    hanging(made)
    made.produce("a", 0, batch(b"plain"))
    assert made.read("a") == []
    unknown = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert written(made, marker(2)) == [ErrorCode.INVALID_PRODUCER_EPOCH, unknown]
    assert written(made, marker(3)) == [0, unknown]
    assert made.read("a") == [b"plain"]


def test_a_v2_marker_needs_a_higher_epoch_than_the_data() -> None:
    made = machine()
    hanging(made)
    assert written(made, marker(3, version=2), 2)[0] == ErrorCode.INVALID_PRODUCER_EPOCH
    assert written(made, marker(4, version=2), 2)[0] == 0


def test_a_marker_of_an_older_coordinator_is_refused() -> None:
    made = machine()
    hanging(made)
    assert written(made, marker(3, coordinator_epoch=5))[0] == 0
    fenced = ErrorCode.TRANSACTION_COORDINATOR_FENCED
    assert written(made, marker(3, coordinator_epoch=4))[0] == fenced


def test_brokers_add_and_verify_partitions_of_many_transactions() -> None:
    made = machine()
    got = begun(made)

    def asked(number: int, *, verify_only: bool) -> int:
        topic = AddPartitionsToTxnTopic(name="a", partitions=(number,))
        transaction = AddPartitionsToTxnTransaction(
            transactional_id="t",
            producer_id=got.producer_id,
            producer_epoch=got.producer_epoch,
            verify_only=verify_only,
            topics=(topic,),
        )
        response = made.ask(AddPartitionsToTxnRequest(transactions=(transaction,)), 5)
        (result,) = response.results_by_transaction
        code = result.topic_results[0].results_by_partition[0].partition_error_code
        return int(code)

    assert asked(0, verify_only=True) == 0
    assert asked(1, verify_only=True) == ErrorCode.TRANSACTION_ABORTABLE
    assert asked(1, verify_only=False) == 0
    assert asked(1, verify_only=True) == 0


def test_X4_what_is_asked_of_one_transaction_is_written_once() -> None:
    """Each time would write all before it once more: 2,000 times took nine seconds."""
    made = machine()
    got = made.init("t")
    log = made.cores.logs.by_name[transaction_partition(made.cores, "t")]
    before = log.log_end
    transactions = tuple(
        AddPartitionsToTxnTransaction(
            transactional_id="t",
            producer_id=got.producer_id,
            producer_epoch=epoch,
            topics=(AddPartitionsToTxnTopic(name="a", partitions=(number,)),),
        )
        for number in (0, 1)
        for epoch in (got.producer_epoch, got.producer_epoch - 1)
    )
    asked = AddPartitionsToTxnRequest(transactions=transactions)
    mine, stale = made.ask(asked, 4).results_by_transaction
    for told, error in ((mine, 0), (stale, ErrorCode.PRODUCER_FENCED)):
        parts = [part for topic in told.topic_results for part in topic.results_by_partition]
        assert [part.partition_index for part in parts] == [0, 1]
        assert {part.partition_error_code for part in parts} == {error}
    assert log.log_end == before + 1


def test_X4_what_is_asked_of_one_transaction_is_put_together_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each time copied all before it once more: 43,000 times took two seconds."""
    made = machine()
    got = made.init("t")
    copied: list[int] = []

    def copy(asked: AddPartitionsToTxnTransaction, **changed: Any) -> AddPartitionsToTxnTransaction:
        copied.append(len(changed["topics"]))
        return replace(asked, **changed)

    monkeypatch.setattr(add_partitions_to_txn, "replace", copy)
    one = AddPartitionsToTxnTransaction(
        transactional_id="t",
        producer_id=got.producer_id,
        producer_epoch=got.producer_epoch,
        topics=(AddPartitionsToTxnTopic(name="a", partitions=(0,)),),
    )
    made.ask(AddPartitionsToTxnRequest(transactions=(one,) * 500), 4)
    assert copied == [500]


def test_X4_filters_cost_the_transactions_and_not_one_time_the_other() -> None:
    """Thousands of both may be there."""
    made = machine()
    got = begun(made)
    compared: list[int] = []

    class Id(int):
        def __eq__(self, other: object) -> bool:
            compared.append(self)
            return int(self) == other

        __hash__ = int.__hash__

    others = tuple(Id(number) for number in range(1_000_000, 1_000_500))
    body = ListTransactionsRequest(producer_id_filters=(*others, Id(got.producer_id)))
    to = ReplyTo(made.connection, 1, 66, 1)
    (reply,) = made.node.handle(Request(to, "c", "h", body), made.now)
    assert isinstance(reply, Reply)
    assert [each.transactional_id for each in reply.body.transaction_states] == ["t"]  # type: ignore[attr-defined]
    assert len(compared) < 10


def test_the_offsets_partition_of_a_group_joins() -> None:
    made = machine()
    got = made.init("t")
    request = AddOffsetsToTxnRequest(
        transactional_id="t",
        producer_id=got.producer_id,
        producer_epoch=got.producer_epoch,
        group_id="g",
    )
    assert made.ask(request, 3).error_code == 0
    (joined,) = made.cores.transactions.transactions["t"].partitions
    assert joined.topic == "__consumer_offsets"
    assert made.ask(request, 3).error_code == 0
    wrong = AddOffsetsToTxnRequest(
        transactional_id="t", producer_id=got.producer_id, producer_epoch=9, group_id="g"
    )
    assert made.ask(wrong, 1).error_code == ErrorCode.INVALID_PRODUCER_EPOCH
    assert made.ask(wrong, 2).error_code == ErrorCode.PRODUCER_FENCED


def test_an_idempotent_producer_gets_an_id_of_its_own_each_time() -> None:
    made = Machine()
    first, second = made.init(None), made.init(None)
    assert first.producer_id != second.producer_id
    assert (first.producer_epoch, first.error_code) == (0, 0)
    assert made.init("").error_code == ErrorCode.INVALID_REQUEST
    assert made.init("", version=0).error_code == ErrorCode.INVALID_REQUEST
