"""Who owns which task and who has copies, by what the group says of its members. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flowstream.processing.group.assignor import decode_claim
from flowstream.processing.group.placing import decode_orders
from flowstream.processing.units.task import TaskId, task_of
from flowstream.transport.assignor import told_in
from flowstream.transport.types import GroupMember


@dataclass(frozen=True, slots=True)
class Owner:
    """A member, where its machine is, and HOST:PORT of its web server if it has one."""

    member: str
    host: str
    address: str | None


def owner_of(member: GroupMember) -> Owner:
    """A member of the group as one that can be visited."""
    address = decode_claim(member.user_data).web
    return Owner(member.instance_id or member.member_id, member.client_host, address or None)


def owners_of(members: Iterable[GroupMember], counts: Mapping[str, int]) -> dict[TaskId, Owner]:
    """The owner of each task; `counts` are the partitions of the topics that members read."""
    found: dict[TaskId, Owner] = {}
    for member in members:
        owner = owner_of(member)
        for topic, number in member.partitions:
            if topic in counts:
                found[TaskId(counts[topic], number)] = owner
    return found


def copies_of(members: Iterable[GroupMember]) -> dict[TaskId, list[Owner]]:
    """Who was told to keep a copy of each task, and can be visited."""
    found: dict[TaskId, list[Owner]] = {}
    for member in members:
        keeper = owner_of(member)
        if keeper.address is not None:
            for name in decode_orders(told_in(member.assigned_data)).standby:
                found.setdefault(task_of(name), []).append(keeper)
    return found
