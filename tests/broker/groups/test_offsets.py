"""Committed offsets: who may commit, what transactions do, when they expire. Invariants G1-G6."""

from __future__ import annotations

import pytest

from flowstream.broker.groups.offsets import Offsets, Transaction
from flowstream.broker.groups.records import OffsetCommitValue, OffsetRecord, offset_record
from flowstream.broker.groups.states import State
from flowstream.broker.types import Instant
from flowstream.wire.error_codes import ErrorCode
from tests.broker.groups.story import T0, T1, Groups, subscription

DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS


def test_nobody_may_commit_to_a_group_without_members() -> None:
    groups = Groups()
    assert groups.commit(5) == ErrorCode.NONE
    assert groups.offset() == 5
    assert groups.group().state is State.EMPTY
    assert groups.commit(6, "x") == ErrorCode.NONE, "without a generation nothing is checked"


@pytest.mark.parametrize(
    ("version", "error"),
    [(8, ErrorCode.ILLEGAL_GENERATION), (9, ErrorCode.GROUP_ID_NOT_FOUND)],
)
def test_a_member_of_an_unknown_group_is_refused(version: int, error: ErrorCode) -> None:
    groups = Groups()
    assert groups.commit(5, "x", 1, version=version) == error
    assert groups.commit_in_transaction(5, 7, "x", 1) == ErrorCode.ILLEGAL_GENERATION
    assert not groups.core.groups


def test_G1_a_commit_checks_member_and_generation() -> None:
    groups = Groups()
    first, second = groups.crew(2)
    generation = groups.group().generation
    for commit in (
        groups.commit,
        lambda *args: groups.commit_in_transaction(args[0], 7, *args[1:]),
    ):
        assert commit(1, first, generation) == ErrorCode.NONE
        assert commit(1, first, generation - 1) == ErrorCode.ILLEGAL_GENERATION
        assert commit(1, first, generation + 1) == ErrorCode.ILLEGAL_GENERATION
        assert commit(1, "x", generation) == ErrorCode.UNKNOWN_MEMBER_ID
        assert commit(1, first, -1) == ErrorCode.ILLEGAL_GENERATION
    assert groups.commit(1) == ErrorCode.UNKNOWN_MEMBER_ID
    assert groups.commit_in_transaction(1, 7) == ErrorCode.NONE, "producers before KIP-447"
    groups.leave((second, None))
    groups.join(first)
    assert groups.commit(1, second, generation) == ErrorCode.UNKNOWN_MEMBER_ID
    assert groups.commit(1, first, generation) == ErrorCode.ILLEGAL_GENERATION


def test_a_commit_while_members_are_called_is_accepted_and_after_they_joined_is_not() -> None:
    groups = Groups()
    first, second = groups.crew(2)
    generation = groups.group().generation
    groups.join(first)
    assert groups.group().state is State.PREPARING_REBALANCE
    assert groups.commit(1, second, generation) == ErrorCode.NONE
    groups.join(second)
    assert groups.group().state is State.COMPLETING_REBALANCE
    assert groups.commit(1, second, generation) == ErrorCode.ILLEGAL_GENERATION
    assert groups.commit(1, second, generation + 1) == ErrorCode.REBALANCE_IN_PROGRESS
    assert groups.commit_in_transaction(1, 7, second, generation + 1) == ErrorCode.NONE


def test_a_commit_is_a_sign_of_life() -> None:
    groups = Groups()
    (member,) = groups.crew(1)
    for _ in range(5):
        groups.wait(9_000)
        assert groups.commit(1, member, groups.group().generation) == ErrorCode.NONE


def test_G2_offsets_are_unstable_until_their_transaction_is_decided() -> None:
    groups = Groups()
    groups.commit(3)
    groups.commit_in_transaction(9, 7)
    assert (groups.is_unstable(), groups.offset()) == (True, 3)
    assert not groups.is_unstable(partition=T1)
    groups.restart()
    assert (groups.is_unstable(), groups.offset()) == (True, 3)
    groups.end(7, commit=True)
    assert (groups.is_unstable(), groups.offset()) == (False, 9)
    groups.commit_in_transaction(12, 7)
    groups.end(7, commit=False)
    assert (groups.is_unstable(), groups.offset()) == (False, 9)


def test_G2_two_transactions_must_both_be_decided() -> None:
    groups = Groups()
    groups.commit_in_transaction(5, 7)
    groups.commit_in_transaction(6, 8)
    groups.end(7, commit=True)
    assert groups.is_unstable()
    groups.end(8, commit=False)
    assert (groups.is_unstable(), groups.offset()) == (False, 5)


def test_G3_an_unknown_group_has_no_offset_and_a_known_one_keeps_it_over_a_restart() -> None:
    groups = Groups()
    assert groups.offset("unknown") is None
    groups.commit(0)
    groups.restart()
    assert groups.offset() == 0, "offset 0 is an offset"


def test_G6_the_last_commit_in_the_log_wins() -> None:
    groups = Groups()
    groups.commit_in_transaction(5, 7)
    groups.commit(8)
    groups.end(7, commit=True)
    assert groups.offset() == 8
    groups.commit_in_transaction(6, 7)
    groups.end(7, commit=True)
    assert groups.offset() == 6, "an explicit commit may go back"
    groups.restart()
    assert groups.offset() == 6


def test_a_marker_settles_only_its_own_partition_of_the_log() -> None:
    offsets = Offsets()
    record = offset_record("g", "t", 0, OffsetCommitValue(offset=4))
    other = offset_record("h", "t", 0, OffsetCommitValue(offset=5))
    offsets.apply_transactional(Transaction(0, 7), record)
    offsets.apply_transactional(Transaction(1, 7), other)
    offsets.apply_marker(Transaction(1, 7), commit=True)
    assert offsets.is_unstable("g", T0)
    assert offsets.find("h", T0) == other.value
    assert offsets.find("g", T0) is None
    assert sorted(offsets.groups()) == ["g", "h"]


def test_deleting_an_offset_deletes_it_from_open_transactions_too() -> None:
    groups = Groups()
    groups.commit(1)
    groups.commit_in_transaction(2, 7)
    groups.commit_in_transaction(3, 7, partition=T1)
    error, answers, decision = groups.core.delete_offsets("g", [T0])
    assert (error, answers) == (ErrorCode.NONE, [ErrorCode.NONE])
    groups.take(decision)
    groups.end(7, commit=True)
    assert groups.offset() is None
    assert groups.offset(partition=T1) == 3


def test_an_empty_group_is_deleted_with_its_offsets() -> None:
    groups = Groups()
    (member,) = groups.crew(1)
    groups.commit(1, member, 1)
    assert groups.core.delete("g")[0] == ErrorCode.NON_EMPTY_GROUP
    groups.leave((member, None))
    groups.commit_in_transaction(2, 7, partition=T1)
    error, decision = groups.core.delete("g")
    groups.take(decision)
    assert error == ErrorCode.NONE
    assert groups.core.delete("g")[0] == ErrorCode.GROUP_ID_NOT_FOUND
    groups.end(7, commit=True)
    groups.restart()
    assert not groups.core.groups
    assert groups.offset() is groups.offset(partition=T1) is None


def test_offsets_of_a_topic_that_is_read_are_not_deleted() -> None:
    groups = Groups()
    (member,) = groups.crew(1, protocols=(("range", subscription("t", "u")),))
    groups.commit(1, member, 1)
    error, answers, decision = groups.core.delete_offsets("g", [T0])
    assert (error, answers) == (ErrorCode.NONE, [ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC])
    assert not decision.records
    assert groups.core.delete_offsets("no", [T0])[0] == ErrorCode.GROUP_ID_NOT_FOUND
    groups.crew(1, group="c", protocol_type="connect")
    assert groups.core.delete_offsets("c", [T0])[0] == ErrorCode.NON_EMPTY_GROUP


def test_a_deleted_topic_takes_its_offsets_along() -> None:
    groups = Groups()
    groups.commit(1)
    groups.commit(2, partition=T1)
    groups.commit(3, group="h")
    for _, decision in groups.core.partitions_deleted([T0]):
        groups.take(decision)
    assert groups.offset() is groups.offset("h") is None
    assert groups.offset(partition=T1) == 2


def test_offsets_without_members_expire_a_week_after_the_last_commit() -> None:
    groups = Groups()
    groups.commit(1)
    groups.wait(6 * DAY_MS)
    groups.commit(2, partition=T1)
    groups.wait(DAY_MS + 600_000)
    assert groups.offset() is None
    assert groups.offset(partition=T1) == 2
    groups.wait(WEEK_MS)
    assert not groups.core.groups, "a group without offsets goes too"
    groups.restart()
    assert not groups.core.groups


def test_offsets_of_a_group_that_had_members_expire_a_week_after_it_became_empty() -> None:
    groups = Groups()
    (member,) = groups.crew(1, session_ms=1_800_000)
    groups.commit(1, member, 1)
    for _ in range(9 * 48):
        groups.heartbeat(member)
        groups.wait(1_799_000)
    assert groups.offset() == 1
    groups.leave((member, None))
    groups.wait(WEEK_MS - 600_001)
    assert groups.offset() == 1
    groups.wait(1_200_001)
    assert groups.offset() is None


def test_offsets_of_topics_that_a_stable_group_reads_no_more_expire() -> None:
    groups = Groups()
    protocols = (("range", subscription("t")),)
    (member,) = groups.crew(1, session_ms=1_800_000, protocols=protocols)
    other = T0._replace(topic="other")
    groups.commit(1, member, 1)
    groups.commit(1, member, 1, partition=other)
    for _ in range(9 * 48):
        groups.heartbeat(member)
        groups.wait(1_799_000)
    assert groups.offset() == 1
    assert groups.offset(partition=other) is None


def test_undecided_offsets_do_not_expire() -> None:
    groups = Groups()
    groups.commit(1)
    groups.commit_in_transaction(2, 7)
    groups.wait(2 * WEEK_MS)
    assert groups.offset() == 1
    groups.end(7, commit=False)
    groups.wait(600_000)
    assert groups.offset() is None


def test_an_offset_with_a_retention_of_its_own_expires_by_it() -> None:
    groups = Groups()
    groups.commit(1, retention_ms=DAY_MS, version=4)
    groups.commit(1, partition=T1)
    groups.wait(DAY_MS + 600_000)
    assert groups.offset() is None
    assert groups.offset(partition=T1) == 1


def test_X3_a_clock_that_was_set_back_over_a_restart_does_not_keep_offsets_for_as_long() -> None:
    groups = Groups()
    groups.commit(1)
    groups.commit(1, partition=T1, retention_ms=DAY_MS, version=4)
    (member,) = groups.crew(1, group="h")
    groups.commit(1, member, 1, group="h")
    groups.leave((member, None), group="h")
    groups.now = Instant(groups.now - 1000 * WEEK_MS)
    groups.restart()
    groups.wait(DAY_MS - 600_000)
    assert groups.offset(partition=T1) == 1
    groups.wait(1_200_000)
    assert groups.offset(partition=T1) is None
    groups.wait(6 * DAY_MS - 1_800_000)
    assert groups.offset() == 1
    groups.wait(2_400_000)
    assert not groups.core.groups


def test_a_retention_of_almost_for_ever_does_not_overflow() -> None:
    groups = Groups()
    groups.commit(1, retention_ms=(1 << 63) - 1, version=4)
    groups.wait(2 * WEEK_MS)
    assert groups.offset() == 1


def test_tombstones_have_no_value() -> None:
    groups = Groups()
    groups.commit(1)
    _, decision = groups.core.delete("g")
    assert [record.value for record in decision.records] == [None, None]
    assert isinstance(decision.records[0], OffsetRecord)
