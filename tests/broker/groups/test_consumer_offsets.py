"""Offsets of consumer groups: who may commit and read (G1), when they are forgotten."""

from __future__ import annotations

from flowstream.broker.groups.commits import Claim, NewOffset
from flowstream.broker.groups.consumer_group import ConsumerState
from flowstream.broker.types import TopicPartition
from flowstream.wire.error_codes import ErrorCode
from tests.broker.groups.consumer_story import Consumers


def pair() -> Consumers:
    """Two members in epoch 3: m1 has t-0 and t-1 since epoch 2, m2 t-2 and t-3 since 3."""
    broker = Consumers()
    topic_id = broker.create("t", 4)
    broker.join_as("m1", "t")
    broker.wait(1_000)
    broker.join_as("m2", "t")
    broker.beat("m1", 2)
    broker.beat("m1", 2, owned={topic_id: range(2)})
    broker.beat("m2", 3)
    assert broker.consumer().state is ConsumerState.STABLE
    return broker


def test_G1_a_commit_names_the_members_epoch() -> None:
    broker = pair()
    assert broker.commit_as("m1", 3, "t", 0) == ErrorCode.NONE
    assert broker.commit_as("m1", 4, "t", 0) == ErrorCode.STALE_MEMBER_EPOCH
    assert broker.commit_as("m9", 3, "t", 0) == ErrorCode.UNKNOWN_MEMBER_ID
    assert broker.commit_as("", -1, "t", 0) == ErrorCode.UNKNOWN_MEMBER_ID
    assert broker.commit_as("m1", 3, "t", 0, version=8) == ErrorCode.UNSUPPORTED_VERSION


def test_G1_an_older_epoch_is_fine_for_what_the_member_has_had_since() -> None:
    broker = pair()
    assert broker.commit_as("m1", 2, "t", 0) == ErrorCode.NONE
    assert broker.commit_as("m1", 1, "t", 0) == ErrorCode.STALE_MEMBER_EPOCH
    assert broker.commit_as("m1", 2, "t", 2) == ErrorCode.STALE_MEMBER_EPOCH, "no longer its own"
    assert broker.commit_as("m2", 2, "t", 2) == ErrorCode.STALE_MEMBER_EPOCH, "not yet its own"


def test_G1_a_transactional_commit_likewise_in_the_words_that_producers_know() -> None:
    """STALE_MEMBER_EPOCH is fatal to Java's producer, ILLEGAL_GENERATION aborts its transaction."""
    broker = pair()

    def error(claim: Claim) -> ErrorCode:
        topic_id = broker.known.topics["t"].topic_id
        offset = NewOffset(TopicPartition("t", 0), 1, topic_id=topic_id)
        return broker.core.commit_transactional("g", claim, [offset], broker.now)[0]

    assert error(Claim("m1", None, 3)) == ErrorCode.NONE
    assert error(Claim("m1", None, 1)) == ErrorCode.ILLEGAL_GENERATION
    assert error(Claim("m1", None, 4)) == ErrorCode.ILLEGAL_GENERATION
    assert error(Claim("m9", None, 3)) == ErrorCode.UNKNOWN_MEMBER_ID
    assert error(Claim()) == ErrorCode.NONE, "fenced by its transactional id"


def test_G1_offsets_are_told_to_members_of_the_epoch_and_to_administrators() -> None:
    core = pair().core
    assert core.check_fetch("g", None, -1) == ErrorCode.NONE
    assert core.check_fetch("g", "m1", 3) == ErrorCode.NONE
    assert core.check_fetch("g", "m1", 2) == ErrorCode.STALE_MEMBER_EPOCH
    assert core.check_fetch("g", "m9", 3) == ErrorCode.UNKNOWN_MEMBER_ID
    assert core.check_fetch("unknown", "m1", 3) == ErrorCode.NONE


def test_anyone_commits_for_a_group_without_members() -> None:
    broker = pair()
    broker.beat("m1", -1)
    broker.beat("m2", -1)
    assert broker.commit_as("", -1, "t", 0) == ErrorCode.NONE


def test_a_group_is_deleted_only_without_members() -> None:
    broker = pair()
    broker.commit_as("m1", 3, "t", 0)
    assert broker.core.delete("g")[0] == ErrorCode.NON_EMPTY_GROUP
    broker.beat("m1", -1)
    broker.beat("m2", -1)
    error, decision = broker.core.delete("g")
    broker.take(decision)
    assert error == ErrorCode.NONE
    assert not broker.core.consumers
    assert broker.offset(partition=TopicPartition("t", 0)) is None
    assert broker.replayed().durable() == broker.core.durable()


def test_offsets_of_a_topic_that_is_read_are_not_deleted() -> None:
    broker = pair()
    broker.commit_as("m1", 3, "t", 0)
    error, answers, _ = broker.core.delete_offsets("g", [TopicPartition("t", 0)])
    assert (error, answers) == (ErrorCode.NONE, [ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC])


def test_an_empty_group_is_forgotten_with_its_offsets() -> None:
    broker = pair()
    broker.commit_as("m1", 3, "t", 0)
    broker.beat("m1", -1)
    broker.beat("m2", -1)
    week = 7 * 86_400_000
    broker.wait(week - 600_000)
    assert "g" in broker.core.consumers
    broker.wait(1_200_000)
    assert not broker.core.consumers
    assert broker.replayed().durable() == broker.core.durable()
