"""Requests of a group g about a topic t, and a broker that has that."""

from __future__ import annotations

from flowstream.broker.handlers import ROUTES
from flowstream.wire.messages import join_group as join
from flowstream.wire.messages import offset_commit as commit
from flowstream.wire.messages import offset_fetch as fetch
from flowstream.wire.messages import sync_group as sync
from flowstream.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from tests.broker.machine import Machine


def versions(key: int) -> range:
    """Those that a broker serves."""
    return range(ROUTES[key].oldest, ROUTES[key].newest + 1)


def committing(
    offset: int, member: str = "", generation: int = -1, partition: int = 0, topic: str = "t"
) -> commit.OffsetCommitRequest:
    one = commit.OffsetCommitRequestPartition(
        partition_index=partition, committed_offset=offset, committed_metadata="m"
    )
    return commit.OffsetCommitRequest(
        group_id="g",
        member_id=member,
        generation_id_or_member_epoch=generation,
        topics=(commit.OffsetCommitRequestTopic(name=topic, partitions=(one,)),),
    )


def fetched(broker: Machine, *partitions: int, stable: bool = False) -> list[tuple[int, int]]:
    """(offset, error) of partitions of `t`, by OffsetFetch 7."""
    asked = fetch.OffsetFetchRequestTopic(name="t", partition_indexes=partitions or (0,))
    body = fetch.OffsetFetchRequest(group_id="g", topics=(asked,), require_stable=stable)
    (topic,) = broker.ask(body, 7).topics
    return [(each.committed_offset, each.error_code) for each in topic.partitions]


def enter(broker: Machine) -> tuple[str, int]:
    """One member of a stable group: its id and generation."""
    member = broker.ask(joining(), 9).member_id
    joined = broker.ask(joining(member), 9)
    share = sync.SyncGroupRequestAssignment(member_id=member, assignment=b"share")
    body = sync.SyncGroupRequest(
        group_id="g",
        generation_id=joined.generation_id,
        member_id=member,
        protocol_type="consumer",
        protocol_name="range",
        assignments=(share,),
    )
    assert broker.ask(body, 5).assignment == b"share"
    return member, joined.generation_id


def joining(member: str = "", *, session_ms: int = 10_000) -> join.JoinGroupRequest:
    return join.JoinGroupRequest(
        group_id="g",
        session_timeout_ms=session_ms,
        rebalance_timeout_ms=20_000,
        member_id=member,
        protocol_type="consumer",
        protocols=(join.JoinGroupRequestProtocol(name="range", metadata=b"m"),),
    )


def with_topic() -> Machine:
    """A broker with the topic, of two partitions."""
    machine = Machine()
    topics = (CreatableTopic(name="t", num_partitions=2, replication_factor=1),)
    machine.ask(CreateTopicsRequest(topics=topics), 5)
    return machine
