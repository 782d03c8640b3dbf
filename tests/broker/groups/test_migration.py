"""A group changes its protocol while it runs, and both kinds of members share it (KIP-848)."""

from __future__ import annotations

from typing import Any

import pytest

from flowstream.broker.groups.states import State
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.consumer_protocol import (
    ConsumerProtocolAssignment,
    ConsumerProtocolSubscription,
    TopicPartition,
)
from flowstream.wire.schema import decode, encode
from tests.broker.groups.consumer_story import Consumers


def subscribed(*topics: str, **owned: tuple[int, ...]) -> tuple[tuple[str, bytes], ...]:
    """What a cooperative classic consumer offers."""
    listed = tuple(TopicPartition(topic=t, partitions=p) for t, p in owned.items())
    said = ConsumerProtocolSubscription(topics=topics, owned_partitions=listed)
    return (("cooperative-sticky", (1).to_bytes(2) + encode(said, 1)),)


def share(**topics: tuple[int, ...]) -> bytes:
    listed = tuple(TopicPartition(topic=t, partitions=p) for t, p in topics.items())
    body = ConsumerProtocolAssignment(assigned_partitions=listed)
    return (1).to_bytes(2) + encode(body, 1)


def shared(answer: Any) -> dict[str, tuple[int, ...]]:
    assert answer.error_code == 0
    body = decode(ConsumerProtocolAssignment, answer.assignment[2:], 1)
    return {each.topic: each.partitions for each in body.assigned_partitions}


class Mixed(Consumers):
    """A group `g` that reads `t`, four partitions."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        self.create("t", 4)

    def classic(self) -> str:
        """A stable classic group of one member that has all."""
        member_id, asked = self.enter(protocols=subscribed("t"))
        assert self.answers.pop(asked).generation_id == 1
        told = self.sync_as(member_id, 1, {member_id: share(t=(0, 1, 2, 3))})
        assert shared(told) == {"t": (0, 1, 2, 3)}
        return member_id

    def join_again(self, member_id: str, **owned: tuple[int, ...]) -> Any:
        return self.answers.pop(self.join(member_id, protocols=subscribed("t", **owned)))

    def sync_as(
        self, member_id: str, generation: int, shares: dict[str, bytes] | None = None
    ) -> Any:
        from flowstream.wire.messages.sync_group import (
            SyncGroupRequest,
            SyncGroupRequestAssignment,
        )

        body = SyncGroupRequest(
            group_id="g",
            generation_id=generation,
            member_id=member_id,
            protocol_type="consumer",
            protocol_name="cooperative-sticky",
            assignments=tuple(
                SyncGroupRequestAssignment(member_id=each, assignment=data)
                for each, data in (shares or {}).items()
            ),
        )
        self.take(self.core.sync(self._request(body, 14, 5), self.now))
        return self.answers.pop(self.asked)


def test_G4_up_and_down_again_with_a_classic_member_all_the_way() -> None:
    broker = Mixed()
    old = broker.classic()
    joined = broker.join_as("new", "t")
    assert (joined.error_code, joined.member_epoch, broker.assigned(joined)) == (0, 2, {})
    assert not broker.core.groups
    assert broker.replayed().durable() == broker.core.durable()
    # The classic member learns that it must join, gives up half, and joins again.
    assert broker.heartbeat(old, 1) == ErrorCode.REBALANCE_IN_PROGRESS
    first = broker.join_again(old, t=(0, 1, 2, 3))
    assert (first.error_code, first.generation_id, first.leader) == (0, 1, "")
    kept = shared(broker.sync_as(old, 1))
    assert len(kept["t"]) == 2
    assert broker.heartbeat(old, 1) == ErrorCode.REBALANCE_IN_PROGRESS
    second = broker.join_again(old, **kept)
    assert second.generation_id == 2
    assert shared(broker.sync_as(old, 2)) == kept
    assert broker.heartbeat(old, 2) == ErrorCode.NONE
    got = broker.assigned(broker.beat("new", 2))
    assert got is not None
    assert sorted((*got["t"], *kept["t"])) == [0, 1, 2, 3]
    assert broker.commit_as(old, 2, "t", kept["t"][0]) == ErrorCode.NONE
    assert broker.commit_as(old, 1, "t", kept["t"][0]) == ErrorCode.ILLEGAL_GENERATION
    # The last member of the consumer protocol goes: a classic group again, and it rebalances.
    broker.beat("new", -1)
    assert not broker.core.consumers
    assert broker.group().state is State.PREPARING_REBALANCE
    assert broker.heartbeat(old, 2) == ErrorCode.REBALANCE_IN_PROGRESS
    assert broker.replayed().durable() == broker.core.durable()
    third = broker.join_again(old, **kept)
    assert (third.leader, third.generation_id > 2) == (old, True)


def test_G5_a_downgraded_group_survives_a_restart() -> None:
    broker = Mixed()
    old = broker.classic()
    broker.join_as("new", "t")
    broker.beat("new", -1)
    generation = broker.group().generation
    broker.restart()
    assert set(broker.group().members) == {old}
    assert broker.group().generation == generation


def test_a_classic_member_joins_a_consumer_group() -> None:
    broker = Mixed()
    broker.join_as("new", "t")
    broker.wait(1_000)
    member_id, asked = broker.enter(protocols=subscribed("t"))
    answer = broker.answers.pop(asked)
    assert (answer.error_code, answer.generation_id) == (0, 3)
    assert shared(broker.sync_as(member_id, 3)) == {}
    assert broker.heartbeat(member_id, 3) == ErrorCode.NONE, "the other has not given up yet"
    topic_id = broker.known.topics["t"].topic_id
    given = broker.assigned(broker.beat("new", 2))
    assert given is not None
    broker.beat("new", 2, owned={topic_id: given["t"]})
    assert broker.heartbeat(member_id, 3) == ErrorCode.REBALANCE_IN_PROGRESS
    broker.join_again(member_id)
    assert len(shared(broker.sync_as(member_id, 3))["t"]) == 2
    assert broker.sync_as(member_id, 9).error_code == ErrorCode.ILLEGAL_GENERATION
    assert broker.sync_as("new", 3).error_code == ErrorCode.UNKNOWN_MEMBER_ID
    wrong = broker.answers.pop(broker.join(member_id, protocols=[("x", b"")]))
    assert wrong.error_code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL


def test_X4_a_classic_member_is_not_called_to_join_before_there_is_a_new_target() -> None:
    """Within the assignment interval (KIP-1263) it joined in vain, and again at once."""
    broker = Mixed()
    broker.join_as("new", "t")
    member_id, asked = broker.enter(protocols=subscribed("t"))
    assert broker.answers.pop(asked).generation_id == 2
    assert (broker.consumer().epoch, broker.consumer().assignment_epoch) == (3, 2)
    assert shared(broker.sync_as(member_id, 2)) == {}
    assert broker.heartbeat(member_id, 2) == ErrorCode.NONE
    broker.wait(1_000)
    assert broker.heartbeat(member_id, 2) == ErrorCode.REBALANCE_IN_PROGRESS
    assert broker.join_again(member_id).generation_id == 3
    assert broker.consumer().assignment_epoch == 3
    assert broker.heartbeat(member_id, 3) == ErrorCode.NONE


def test_G7_classic_members_alone_in_a_consumer_group_are_called_when_it_is_time() -> None:
    """Kafka calls them when there is a new target, which nobody is left to ask for: what the last
    consumer had is nobody's for ever."""
    broker = Mixed(group_consumer_migration_policy="upgrade")
    broker.join_as("new", "t")
    member_id, _ = broker.enter(protocols=subscribed("t"))
    assert shared(broker.sync_as(member_id, 2)) == {}
    broker.beat("new", -1)
    broker.wait(1_000)
    assert broker.heartbeat(member_id, 2) == ErrorCode.REBALANCE_IN_PROGRESS
    generation = broker.join_again(member_id).generation_id
    assert shared(broker.sync_as(member_id, generation)) == {"t": (0, 1, 2, 3)}


def test_a_classic_member_that_does_not_join_or_sync_in_time_is_out() -> None:
    broker = Mixed()
    old = broker.classic()
    broker.join_as("new", "t")
    for _ in range(7):
        broker.heartbeat(old, 1)
        broker.wait(5_000)
        broker.beat("new", 2)
    assert old not in broker.consumer().members


def test_classic_members_leave_by_their_own_request() -> None:
    broker = Mixed()
    old = broker.classic()
    broker.join_as("new", "t")
    assert broker.leave((old, None), ("nobody", None)) == [0, ErrorCode.UNKNOWN_MEMBER_ID]
    assert set(broker.consumer().members) == {"new"}


def test_an_empty_group_is_whatever_its_next_member_is() -> None:
    broker = Mixed()
    broker.join_as("new", "t")
    broker.beat("new", -1)
    member_id, _ = broker.enter(protocols=subscribed("t"))
    assert not broker.core.consumers
    broker.leave((member_id, None))
    assert broker.join_as("new", "t").error_code == ErrorCode.NONE
    assert not broker.core.groups
    assert broker.replayed().durable() == broker.core.durable()


def test_waiting_classic_members_are_told_to_join_again() -> None:
    broker = Mixed()
    first = broker.classic()
    second, asked = broker.enter(protocols=subscribed("t"))
    assert broker.group().state is State.PREPARING_REBALANCE
    assert asked not in broker.answers
    broker.join_as("new", "t")
    assert broker.answers.pop(asked).error_code == ErrorCode.REBALANCE_IN_PROGRESS
    assert set(broker.consumer().members) == {first, second, "new"}


def test_the_policy_can_forbid_either_way() -> None:
    broker = Mixed(group_consumer_migration_policy="downgrade")
    broker.classic()
    assert broker.join_as("new", "t").error_code == ErrorCode.GROUP_ID_NOT_FOUND
    assert broker.core.groups
    broker = Mixed(group_consumer_migration_policy="upgrade")
    old = broker.classic()
    broker.join_as("new", "t")
    broker.beat("new", -1)
    assert set(broker.consumer().members) == {old}


def test_without_migration_each_protocol_keeps_to_itself() -> None:
    broker = Mixed(group_consumer_migration_policy="disabled")
    broker.join_as("new", "t")
    refused = broker.answers.pop(broker.join("", protocols=subscribed("t")))
    assert refused.error_code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    assert set(broker.consumer().members) == {"new"}


def test_a_group_of_another_protocol_type_stays_what_it_is() -> None:
    broker = Mixed()
    broker.enter(protocol_type="connect", protocols=[("x", b"")])
    assert broker.join_as("new", "t").error_code == ErrorCode.GROUP_ID_NOT_FOUND


def test_malformed_subscriptions_stop_the_upgrade_only() -> None:
    broker = Mixed()
    broker.enter(protocols=[("range", b"\0\0\0")])
    answer = broker.join_as("new", "t")
    assert answer.error_code == ErrorCode.GROUP_ID_NOT_FOUND
    assert broker.core.groups


def test_X4_a_group_that_could_not_become_a_classic_one_again_becomes_no_consumer_group() -> None:
    """A member is answered in the version of its first protocol, whichever the group has. Where
    that says none, the session of the last consumer would stop the broker when it ends."""
    broker = Mixed()
    odd = (("odd", b""), *subscribed("t"))
    first, _ = broker.enter(protocols=odd)
    broker.enter(protocols=subscribed("t"))
    broker.join(first, protocols=odd)
    assert broker.group().protocol == "cooperative-sticky"
    assert broker.join_as("new", "t").error_code == ErrorCode.GROUP_ID_NOT_FOUND
    assert len(broker.group().members) == 2


def test_a_static_member_changes_its_protocol_without_a_rebalance() -> None:
    broker = Mixed()
    member = broker.answers.pop(broker.join(instance="i", protocols=subscribed("t"))).member_id
    all_of_it = {member: share(t=(0, 1, 2, 3))}
    broker.sync(member, 1, all_of_it, instance="i", protocol="cooperative-sticky")
    answer = broker.join_as("new", "t", instance_id="i")
    assert (answer.member_epoch, broker.assigned(answer)) == (1, {"t": [0, 1, 2, 3]})
    assert broker.heartbeat(member, 1, instance="i") == ErrorCode.FENCED_INSTANCE_ID


def test_who_is_named_twice_leaves_once() -> None:
    broker = Mixed()
    broker.join_as("stays", "t")
    broker.join_as("goes", "t", instance_id="i")
    assert broker.leave(("goes", None), ("", "i")) == [ErrorCode.NONE, ErrorCode.NONE]
    assert set(broker.consumer().members) == {"stays"}


@pytest.mark.parametrize(("there", "shared"), [(6, (0, 1, 2, 3)), (4, (0, 1, 2))])
def test_G7_what_no_classic_member_has_is_shared_out_with_the_change_of_protocol(
    there: int, shared: tuple[int, ...]
) -> None:
    """Partitions that came since the last rebalance of a classic group, or that its leader left
    out, were nobody's in the consumer group: it took them for known.
    """
    broker = Mixed()
    member = broker.answers.pop(broker.join(instance="i", protocols=subscribed("t"))).member_id
    broker.sync(member, 1, {member: share(t=shared)}, instance="i", protocol="cooperative-sticky")
    broker.known.create("t", there)
    answer = broker.join_as("new", "t", instance_id="i")
    assert broker.assigned(answer) == {"t": list(range(there))}


def test_a_classic_static_member_takes_the_place_of_the_last_consumer_one() -> None:
    broker = Mixed()
    broker.join_as("new", "t", instance_id="i")
    asked = broker.join("", instance="i", protocols=subscribed("t"))
    answer = broker.answers.pop(asked)
    assert answer.error_code == ErrorCode.NONE
    assert answer.leader == answer.member_id
    assert not broker.core.consumers
    assert set(broker.group().static_members) == {"i"}
    assert broker.replayed().durable() == broker.core.durable()
