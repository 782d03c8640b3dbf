"""Questions about groups and their offsets, asked of their coordinators."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from flowstream.clock import monotonic_ms
from flowstream.transport.cluster import Cluster, Coordinator, backoffs
from flowstream.transport.described import classic_member, consumer_member
from flowstream.transport.errors import (
    ConnectionLost,
    OffsetsUnstable,
    RequestRefused,
    UnsupportedByBroker,
)
from flowstream.transport.transaction_requests import refuse_zombies
from flowstream.transport.types import (
    Generation,
    GroupDescription,
    GroupListing,
    Position,
    TopicPartition,
)
from flowstream.wire.api import ApiKey
from flowstream.wire.error_codes import ErrorCode, retriable
from flowstream.wire.messages.consumer_group_describe import ConsumerGroupDescribeRequest
from flowstream.wire.messages.delete_groups import DeleteGroupsRequest
from flowstream.wire.messages.describe_groups import DescribedGroup, DescribeGroupsRequest
from flowstream.wire.messages.leave_group import LeaveGroupRequest, MemberIdentity
from flowstream.wire.messages.list_groups import ListGroupsRequest
from flowstream.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from flowstream.wire.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteRequestPartition,
    OffsetDeleteRequestTopic,
)
from flowstream.wire.messages.offset_fetch import OffsetFetchRequest, OffsetFetchRequestTopic

DEAD = "Dead"
Codes = Callable[[Any], Sequence[int]]


class Groups:
    """Groups of one cluster."""

    def __init__(self, cluster: Cluster, *, timeout_ms: int = 30_000) -> None:
        self._cluster = cluster
        self._timeout_ms = timeout_ms

    async def committed(
        self,
        group: str,
        partitions: Iterable[TopicPartition],
        *,
        require_stable: bool = True,
        timeout_ms: int | None = None,
    ) -> dict[TopicPartition, int | None]:
        """The group's committed positions, None where there is none. With `require_stable` waits
        for open transactions that hold offsets (G2); OffsetsUnstable when they do not end.
        """
        wanted = list(partitions)
        found = await self.positions(
            group, wanted, require_stable=require_stable, timeout_ms=timeout_ms
        )
        return {tp: found[tp].offset if tp in found else None for tp in wanted}

    async def positions(
        self,
        group: str,
        partitions: Iterable[TopicPartition],
        *,
        require_stable: bool = True,
        timeout_ms: int | None = None,
    ) -> dict[TopicPartition, Position]:
        """See `committed`, with the notes beside the positions; nothing where there is none."""
        wanted = set(partitions)
        if not wanted:
            return {}
        topics: dict[str, list[int]] = {}
        for tp in sorted(wanted):
            topics.setdefault(tp.topic, []).append(tp.partition)
        request = OffsetFetchRequest(
            group_id=group,
            topics=tuple(
                OffsetFetchRequestTopic(name=name, partition_indexes=tuple(found))
                for name, found in topics.items()
            ),
            require_stable=require_stable,
        )
        answer = await self._until_settled(
            group,
            ApiKey.OFFSET_FETCH,
            request,
            _fetch_codes,
            (7 if require_stable else 3, 7),
            timeout_ms or self._timeout_ms,
        )
        _raise_first(f"offsets of group {group!r}", _fetch_codes(answer))
        found = {
            TopicPartition(topic.name, p.partition_index): Position(
                p.committed_offset, p.metadata or ""
            )
            for topic in answer.topics
            for p in topic.partitions
        }
        return {tp: at for tp, at in found.items() if tp in wanted and at.offset >= 0}

    async def commit_offsets(
        self, offsets: Mapping[TopicPartition, int], generation: Generation
    ) -> None:
        """Commit positions outside of a transaction, as a member of the group. CommitRefused when
        member or generation is not the current one (G1).
        """
        topics: dict[str, list[OffsetCommitRequestPartition]] = {}
        for tp, offset in offsets.items():
            topics.setdefault(tp.topic, []).append(
                OffsetCommitRequestPartition(
                    partition_index=tp.partition, committed_offset=offset, committed_metadata=""
                )
            )
        request = OffsetCommitRequest(
            group_id=generation.group,
            generation_id_or_member_epoch=generation.generation_id,
            member_id=generation.member_id,
            group_instance_id=generation.instance_id,
            topics=tuple(
                OffsetCommitRequestTopic(name=name, partitions=tuple(found))
                for name, found in topics.items()
            ),
        )
        answer = await self._until_settled(
            generation.group,
            ApiKey.OFFSET_COMMIT,
            request,
            _commit_codes,
            (5 if generation.instance_id is None else 7, 8),
            self._timeout_ms,
        )
        refuse_zombies(generation, _commit_codes(answer))
        _raise_first(f"committing offsets of group {generation.group!r}", _commit_codes(answer))

    async def groups(
        self, states: Sequence[str] = (), types: Sequence[str] = ()
    ) -> list[GroupListing]:
        """The groups of the cluster, by name: all, or those in one of these states (KIP-518) and of
        one of these types (KIP-848). UnsupportedByBroker when it cannot be asked that.
        """
        request = ListGroupsRequest(states_filter=tuple(states), types_filter=tuple(types))
        found: dict[str, GroupListing] = {}
        for node in self._cluster.nodes():
            answer = await self._cluster.request(
                node,
                ApiKey.LIST_GROUPS,
                lambda _: request,
                min_version=5 if types else 4 if states else 0,
            )
            if answer.error_code:
                raise RequestRefused("listing groups", answer.error_code)
            for group in answer.groups:
                found[group.group_id] = GroupListing(
                    group.group_id, group.group_state, group.protocol_type, group.group_type
                )
        return [found[name] for name in sorted(found)]

    async def group(self, group: str) -> GroupDescription:
        """A group of either protocol with its members; an unknown group is Dead, as in Kafka."""
        answer = await self._until_settled(
            group,
            ApiKey.DESCRIBE_GROUPS,
            DescribeGroupsRequest(groups=(group,)),
            lambda answer: [found.error_code for found in answer.groups],
            (0, 5),
            self._timeout_ms,
        )
        described: DescribedGroup = answer.groups[0]
        if described.error_code:
            raise RequestRefused(f"describing group {group!r}", described.error_code)
        if described.group_state == DEAD:
            return await self._consumer_group(group) or GroupDescription(group, DEAD, "")
        members = (classic_member(member) for member in described.members)
        return GroupDescription(
            group,
            described.group_state,
            described.protocol_data,
            tuple(sorted(members, key=lambda member: member.member_id)),
        )

    async def _consumer_group(self, group: str) -> GroupDescription | None:
        """A group of the consumer protocol (KIP-848); None when there is none of that name."""
        try:
            answer = await self._until_settled(
                group,
                ApiKey.CONSUMER_GROUP_DESCRIBE,
                ConsumerGroupDescribeRequest(group_ids=(group,)),
                lambda answer: [found.error_code for found in answer.groups],
                (0, 1),
                self._timeout_ms,
            )
        except UnsupportedByBroker:
            return None
        found = answer.groups[0]
        if found.error_code:
            return None
        members = (consumer_member(each) for each in found.members)
        return GroupDescription(
            group,
            found.group_state,
            found.assignor_name,
            tuple(sorted(members, key=lambda member: member.member_id)),
        )

    async def group_offsets(self, group: str) -> dict[TopicPartition, int]:
        """Every committed position of a group."""
        answer = await self._until_settled(
            group,
            ApiKey.OFFSET_FETCH,
            OffsetFetchRequest(group_id=group, topics=None),
            _fetch_codes,
            (3, 7),
            self._timeout_ms,
        )
        _raise_first(f"offsets of group {group!r}", _fetch_codes(answer))
        return {
            TopicPartition(topic.name, found.partition_index): found.committed_offset
            for topic in answer.topics
            for found in topic.partitions
            if found.committed_offset >= 0
        }

    async def delete_offsets(self, group: str, partitions: Iterable[TopicPartition]) -> None:
        """Forget the group's positions in partitions that no member reads (KIP-496)."""
        topics: dict[str, list[OffsetDeleteRequestPartition]] = {}
        for tp in partitions:
            partition = OffsetDeleteRequestPartition(partition_index=tp.partition)
            topics.setdefault(tp.topic, []).append(partition)
        request = OffsetDeleteRequest(
            group_id=group,
            topics=tuple(
                OffsetDeleteRequestTopic(name=name, partitions=tuple(found))
                for name, found in topics.items()
            ),
        )
        answer = await self._until_settled(
            group, ApiKey.OFFSET_DELETE, request, _fetch_codes, (0, 0), self._timeout_ms
        )
        _raise_first(f"deleting offsets of group {group!r}", _fetch_codes(answer))

    async def remove_member(self, group: str, member_id: str, reason: str) -> bool:
        """Leave a group in the name of a member (KIP-800 has the reason); whether there was one."""
        member = MemberIdentity(member_id=member_id, reason=reason)
        answer = await self._until_settled(
            group,
            ApiKey.LEAVE_GROUP,
            LeaveGroupRequest(group_id=group, members=(member,)),
            _leave_codes,
            (3, 5),
            self._timeout_ms,
        )
        codes = _leave_codes(answer)
        if ErrorCode.UNKNOWN_MEMBER_ID in codes:
            return False
        _raise_first(f"removing a member of group {group!r}", codes)
        return True

    async def delete_group(self, group: str) -> None:
        """Delete a group without members, and its offsets."""
        answer = await self._until_settled(
            group,
            ApiKey.DELETE_GROUPS,
            DeleteGroupsRequest(groups_names=(group,)),
            lambda answer: [result.error_code for result in answer.results],
            (0, 2),
            self._timeout_ms,
        )
        _raise_first(f"deleting group {group!r}", [result.error_code for result in answer.results])

    async def _until_settled(
        self,
        group: str,
        key: ApiKey,
        request: object,
        codes: Codes,
        versions: tuple[int, int],
        timeout_ms: int,
    ) -> Any:
        """Ask the coordinator again until its answer holds no retriable error."""
        to = Coordinator("group", group)
        deadline = monotonic_ms() + timeout_ms
        pauses = backoffs()
        while True:
            try:
                answer = await self._cluster.request(
                    to, key, lambda _: request, min_version=versions[0], max_version=versions[1]
                )
            except ConnectionLost:
                if monotonic_ms() >= deadline:
                    raise
            else:
                code = next(filter(retriable, codes(answer)), None)
                if code is None:
                    return answer
                if monotonic_ms() >= deadline:
                    _give_up(group, key, code)
                if code != ErrorCode.UNSTABLE_OFFSET_COMMIT:
                    self._cluster.forget(to)
            await asyncio.sleep(next(pauses))


def _give_up(group: str, key: ApiKey, code: int) -> None:
    if code == ErrorCode.UNSTABLE_OFFSET_COMMIT:
        raise OffsetsUnstable(
            f"an open transaction holds offsets of group {group!r}; it ends by itself when its "
            "transaction timeout is over"
        )
    raise RequestRefused(f"{key.name} of group {group!r}", code)


def _fetch_codes(answer: Any) -> list[int]:
    return [answer.error_code] + [p.error_code for t in answer.topics for p in t.partitions]


def _commit_codes(answer: Any) -> list[int]:
    return [p.error_code for topic in answer.topics for p in topic.partitions]


def _leave_codes(answer: Any) -> list[int]:
    return [answer.error_code] + [member.error_code for member in answer.members]


def _raise_first(what: str, codes: Sequence[int]) -> None:
    for code in codes:
        if code:
            raise RequestRefused(what, code)
