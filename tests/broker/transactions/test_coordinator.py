"""The transaction coordinator's decisions, told as stories; ids of INVARIANTS in the names."""

from __future__ import annotations

import pytest

from flowstream.broker.transactions.coordinator import (
    ABORT_WEIGHT,
    EXPIRED_AT_ONCE,
    MARKERS_AT_ONCE,
    Owner,
    Verdict,
)
from flowstream.broker.transactions.markers import Marker, markers_of
from flowstream.broker.transactions.producer_ids import ProducerIds
from flowstream.broker.transactions.records import Transaction, TransactionRecord
from flowstream.broker.transactions.states import (
    COMPLETE_ABORT,
    COMPLETE_COMMIT,
    EMPTY,
    ONGOING,
    PREPARE_ABORT,
    PREPARE_COMMIT,
    TransactionState,
)
from flowstream.broker.transactions.timeouts import SLACK
from flowstream.broker.transactions.transitions import V2
from flowstream.broker.types import Instant, TopicPartition
from flowstream.wire.error_codes import ErrorCode
from tests.broker.transactions.story import OFFSETS, V1, A, B, Story


def test_a_new_transactional_id_gets_a_new_producer_id_and_epoch_0() -> None:
    story = Story()
    assert story.init().owner == Owner(500, 0)
    assert story.transaction.state is EMPTY
    assert story.init().owner == Owner(500, 1)


@pytest.mark.parametrize("timeout_ms", [0, -1, 900_001])
def test_timeouts_out_of_bounds_are_refused(timeout_ms: int) -> None:
    assert Story().init(timeout_ms=timeout_ms).error is ErrorCode.INVALID_TRANSACTION_TIMEOUT


def test_an_empty_transactional_id_is_refused_everywhere() -> None:
    core, now = Story().core, Instant(0)
    owner = Owner(1, 1)
    assert core.init_producer_id("", 1, None, now).error is ErrorCode.INVALID_REQUEST
    assert core.add_partitions("", owner, (A,), V2, now).error is ErrorCode.INVALID_REQUEST
    verdict = core.end("", owner, commit=True, client_version=V2, now=now)
    assert verdict.error is ErrorCode.INVALID_REQUEST


@pytest.mark.parametrize("version", [V1, V2])
def test_T9_a_commit_names_every_partition_and_the_offsets_of_the_group(version: int) -> None:
    story = Story()
    owner = story.begun(version)
    story.add(owner, B, OFFSETS, version=version)
    story.end(owner, version=version)
    assert story.transaction.state is PREPARE_COMMIT
    epoch = owner.producer_epoch + (version == V2)
    assert markers_of(story.transaction) == (
        Marker(500, epoch, 0, True, A),
        Marker(500, epoch, 0, True, B),
        Marker(500, epoch, 0, True, OFFSETS),
    )
    story.complete()
    assert story.transaction.state is COMPLETE_COMMIT
    assert story.transaction.partitions == {}


def test_an_abort_writes_abort_markers() -> None:
    story = Story()
    story.end(story.begun(), commit=False)
    assert [marker.commit for marker in markers_of(story.transaction)] == [False]
    story.complete()
    assert story.transaction.state is COMPLETE_ABORT


def test_adding_known_partitions_again_writes_nothing() -> None:
    story = Story()
    owner = story.begun()
    assert story.core.add_partitions("t", owner, (A,), V2, story.now) == Verdict()


def test_T1_only_the_owner_of_an_open_transaction_writes_and_only_where_it_joined() -> None:
    story = Story()
    verify = story.core.verify
    assert verify("t", Owner(500, 0), A) is ErrorCode.INVALID_PRODUCER_ID_MAPPING
    owner = story.init().owner
    assert verify("t", owner, A) is ErrorCode.TRANSACTION_ABORTABLE
    story.add(owner, A)
    assert verify("t", owner, A) is ErrorCode.NONE
    assert verify("t", owner, B) is ErrorCode.TRANSACTION_ABORTABLE
    assert verify("t", Owner(501, 0), A) is ErrorCode.INVALID_PRODUCER_ID_MAPPING
    assert verify("t", Owner(500, 1), A) is ErrorCode.PRODUCER_FENCED
    story.end(owner)
    assert verify("t", story.owner, A) is ErrorCode.CONCURRENT_TRANSACTIONS
    story.complete()
    assert verify("t", owner, A) is ErrorCode.PRODUCER_FENCED
    assert verify("t", story.owner, A) is ErrorCode.TRANSACTION_ABORTABLE


def test_T1_a_late_write_of_an_ended_v1_transaction_is_refused_too() -> None:
    story = Story()
    owner = story.begun(V1)
    story.end(owner, version=V1)
    story.complete()
    assert story.core.verify("t", owner, A) is ErrorCode.TRANSACTION_ABORTABLE


def test_T2_v2_a_repeated_end_gets_the_same_answer() -> None:
    story = Story()
    owner = story.begun()
    first = story.end(owner)
    assert first.owner == Owner(500, 1)
    assert story.end(owner).error is ErrorCode.CONCURRENT_TRANSACTIONS
    story.complete()
    again = story.end(owner)
    assert (again.error, again.record, again.owner) == (ErrorCode.NONE, None, first.owner)


def test_T2_v2_a_delayed_end_cannot_touch_the_next_transaction() -> None:
    story = Story()
    old = story.begun()
    new = story.end(old).owner
    story.complete()
    story.add(new, B)
    for commit in (True, False):
        assert story.end(old, commit=commit).error is ErrorCode.PRODUCER_FENCED
    assert story.transaction.state is ONGOING


def test_T2_v2_a_repeat_with_the_other_outcome_is_refused() -> None:
    story = Story()
    owner = story.begun()
    story.end(owner)
    assert story.end(owner, commit=False).error is ErrorCode.INVALID_TXN_STATE
    story.complete()
    assert story.end(owner, commit=False).error is ErrorCode.INVALID_TXN_STATE
    assert story.transaction.state is COMPLETE_COMMIT


def test_T2_v1_a_repeated_end_gets_the_same_answer() -> None:
    story = Story()
    owner = story.begun(V1)
    story.end(owner, version=V1)
    assert story.end(owner, version=V1).error is ErrorCode.CONCURRENT_TRANSACTIONS
    story.complete()
    again = story.end(owner, version=V1)
    assert (again.error, again.record) == (ErrorCode.NONE, None)
    refused = story.end(owner, commit=False, version=V1)
    assert refused.error is ErrorCode.INVALID_TXN_STATE


def test_v1_keeps_the_epoch_and_cannot_end_nothing() -> None:
    story = Story()
    owner = story.init().owner
    for commit in (True, False):
        verdict = story.end(owner, commit=commit, version=V1)
        assert verdict.error is ErrorCode.INVALID_TXN_STATE
    story.add(owner, A, version=V1)
    story.end(owner, version=V1)
    story.complete()
    assert story.owner == owner


@pytest.mark.parametrize("before", [EMPTY, COMPLETE_COMMIT, COMPLETE_ABORT])
def test_v2_may_abort_nothing_but_not_commit_nothing(before: TransactionState) -> None:
    story = Story()
    owner = story.init().owner
    if before is not EMPTY:
        story.add(owner, A)
        story.end(owner, commit=before is COMPLETE_COMMIT)
        story.complete()
    owner = story.owner
    assert story.end(owner).error is ErrorCode.INVALID_TXN_STATE
    aborted = story.end(owner, commit=False)
    assert story.transaction.state is PREPARE_ABORT
    assert markers_of(story.transaction) == ()
    assert story.transaction.start == story.now
    story.complete()
    assert story.owner == aborted.owner == Owner(500, owner.producer_epoch + 1)


def test_ending_what_nobody_knows() -> None:
    story = Story()
    assert story.end(Owner(1, 0)).error is ErrorCode.INVALID_PRODUCER_ID_MAPPING
    owner = story.begun()
    assert story.end(Owner(77, 0)).error is ErrorCode.INVALID_PRODUCER_ID_MAPPING
    higher = Owner(owner.producer_id, owner.producer_epoch + 1)
    assert story.end(higher).error is ErrorCode.PRODUCER_FENCED


def test_T7_while_the_outcome_is_carried_out_nothing_else_happens() -> None:
    story = Story()
    owner = story.begun()
    story.end(owner)
    assert story.core.prepared() == ["t"]
    assert story.init().error is ErrorCode.CONCURRENT_TRANSACTIONS
    assert story.add(story.owner, B) is ErrorCode.CONCURRENT_TRANSACTIONS
    story.now = Instant(story.now + 10**9)
    assert story.core.overdue(story.now) == []
    assert story.core.expired(story.now) == []


def test_T11_a_new_owner_fences_the_old_one_and_aborts_its_transaction() -> None:
    story = Story()
    old = story.begun()
    verdict = story.init()
    assert verdict.record is not None
    assert story.transaction.state is PREPARE_ABORT
    assert story.add(old, B) is ErrorCode.PRODUCER_FENCED
    story.complete()
    new = story.init().owner
    assert new == Owner(500, 2)
    assert story.end(old).error is ErrorCode.PRODUCER_FENCED
    assert story.add(new, B) is ErrorCode.NONE


def test_T4_T10_a_transaction_that_takes_too_long_is_aborted_with_a_new_epoch() -> None:
    story = Story(transaction_remove_expired_transaction_cleanup_interval_ms="900000000")
    owner = story.begun(V1)
    story.core.expired(story.now)
    assert story.core.deadline() == story.now + 60_000
    story.now = Instant(story.now + 59_999)
    assert story.core.overdue(story.now) == []
    story.now = Instant(story.now + 1)
    assert story.core.overdue(story.now) == ["t"]
    assert story.core.overdue(story.now) == []
    record = story.core.abort_overdue("t", story.now)
    assert record is not None
    story.core.apply(record)
    assert story.transaction.state is PREPARE_ABORT
    assert story.end(owner, version=V1).error is ErrorCode.PRODUCER_FENCED
    story.complete()
    for version in (V1, V2):
        assert story.end(owner, version=version).error is not ErrorCode.NONE or version == V2
    assert story.add(owner, B, version=V1) is ErrorCode.PRODUCER_FENCED
    assert story.owner == Owner(500, 1)
    assert story.core.abort_overdue("t", story.now) is None


def test_T10_each_transaction_has_its_own_time() -> None:
    story = Story()
    owner = story.begun()
    story.now = Instant(story.now + 50_000)
    owner = story.end(owner).owner
    story.complete()
    story.add(owner, A)
    story.now = Instant(story.now + 20_000)
    assert story.core.overdue(story.now) == []
    story.now = Instant(story.now + 40_000)
    assert story.core.overdue(story.now) == ["t"]


def test_X3_T10_ended_transactions_leave_nothing_behind_one_that_stays_open() -> None:
    story = Story()
    open_one = Transaction(499, 0, 60_000, ONGOING, story.now, story.now)
    story.core.apply(TransactionRecord("stays", open_one))
    owner = story.init().owner
    for _ in range(500):
        story.now = Instant(story.now + 1)
        story.add(owner, A)
        owner = story.end(owner).owner
        story.complete()
        story.core.deadline()
    assert len(story.core._timeouts) <= 2 * 2 + SLACK
    story.now = Instant(1_000 + 60_000)
    assert story.core.overdue(story.now) == ["stays"]


def test_idle_transactional_ids_are_forgotten_after_a_week() -> None:
    story = Story()
    story.init()
    assert story.core.expired(story.now) == []
    story.now = Instant(story.now + 7 * 86_400_000 - 1)
    assert story.core.expired(story.now) == []
    story.now = Instant(story.now + 3_600_000)
    (record,) = story.core.expired(story.now)
    story.core.apply(record)
    assert story.core.transactions == {}
    assert story.core.by_producer_id == {}
    assert story.core.deadline() is None


def test_X3_a_clock_that_was_set_back_over_a_restart_does_not_keep_idle_ids_for_as_long() -> None:
    story = Story()
    story.init()
    story.now = Instant(story.now - 1_000 * 7 * 86_400_000)
    story.core.recall(story.now)
    story.now = Instant(story.now + 7 * 86_400_000 - 1)
    assert story.core.expired(story.now) == []
    story.now = Instant(story.now + 3_600_000)
    assert [each.transactional_id for each in story.core.expired(story.now)] == ["t"]


def test_X4_some_of_many_transactions_are_aborted_in_one_tick_and_none_is_left() -> None:
    """After a restart the time of all may be up: a thousand held the loop for a quarter second."""
    story = Story()
    wide = tuple(TopicPartition("a", number) for number in range(2 * MARKERS_AT_ONCE))
    names = [f"t{number}" for number in range(100)]
    for number, name in enumerate(names):
        story.take(story.core.init_producer_id(name, 60_000, None, story.now))
        owner = Owner(story.core.transactions[name].producer_id, 0)
        joined = wide if number == 70 else (A,)
        story.take(story.core.add_partitions(name, owner, joined, V2, story.now))
        story.now = Instant(story.now + 1)
    story.now = Instant(story.now + 60_000)
    found: list[str] = []
    while (due := story.core.deadline()) is not None and due <= story.now and len(found) < 100:
        some = story.core.overdue(story.now)
        weight = sum(
            ABORT_WEIGHT + len(story.core.transactions[name].partitions) for name in some[:-1]
        )
        assert some
        assert weight < MARKERS_AT_ONCE
        found += some
    assert found == names


def test_X4_some_of_many_ids_are_forgotten_in_one_tick_and_none_is_left() -> None:
    story = Story()
    story.core.producer_ids.add(range(1_000, 2_000))
    for number in range(3 * EXPIRED_AT_ONCE):
        story.take(story.core.init_producer_id(f"t{number}", 60_000, None, story.now))
    story.now = Instant(story.now + 7 * 86_400_000)
    for _ in range(3):
        assert story.core.deadline() == 0
        some = story.core.expired(story.now)
        assert len(some) == EXPIRED_AT_ONCE
        for record in some:
            story.core.apply(record)
    assert not story.core.transactions


def test_an_open_transaction_never_expires() -> None:
    story = Story(transaction_max_timeout_ms=str(2**31 - 1))
    owner = story.init(timeout_ms=2**31 - 1).owner
    story.add(owner, A)
    story.now = Instant(story.now + 8 * 86_400_000)
    assert story.core.expired(story.now) == []


def test_T12_ids_come_from_durable_blocks_and_none_comes_twice() -> None:
    ids = ProducerIds()
    assert ids.empty
    ids.add(range(3, 5))
    ids.add(range(7, 8))
    assert [ids.take(), ids.take(), ids.take()] == [3, 4, 7]
    assert ids.empty
    with pytest.raises(AssertionError):
        ids.add(range(7, 9))


def test_T12_a_decision_that_needs_an_id_says_so() -> None:
    story = Story(epoch=3)
    assert not story.core.lacks_producer_id("new")
    while not story.core.producer_ids.empty:
        story.core.producer_ids.take()
    assert story.core.lacks_producer_id("new")
    assert not story.core.lacks_producer_id("t")


def test_unknown_data_joins_the_transaction_it_can_still_belong_to() -> None:
    story = Story()
    owner = story.init().owner
    record = story.core.adopt(owner, A, story.now)
    assert record is not None
    story.core.apply(record)
    assert story.core.verify("t", owner, A) is ErrorCode.NONE
    assert story.core.adopt(Owner(77, 0), A, story.now) is None
    assert story.core.adopt(Owner(500, 9), A, story.now) is None
    story.end(owner)
    assert story.core.adopt(story.owner, B, story.now) is None
