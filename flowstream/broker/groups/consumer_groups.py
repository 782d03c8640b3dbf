"""The consumer groups on this node (KIP-848): keeps what their records say, checks who a request
comes from, and lets the group decide.

Durable: the groups, changed only by `apply`. Soft: their timers. What a heartbeat does to a group
is in `consumer_heartbeat`; how classic members and groups fit in, in `consumer_classic` and
`migration`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import replace

from flowstream.broker.config import BrokerConfig
from flowstream.broker.doors import Random
from flowstream.broker.events import Request
from flowstream.broker.groups import consumer_records as schema
from flowstream.broker.groups.consumer_checks import check_epoch, check_owner, check_request
from flowstream.broker.groups.consumer_group import ConsumerGroup
from flowstream.broker.groups.consumer_heartbeat import Step, advance, check_room, replacing
from flowstream.broker.groups.consumer_member import (
    JOINING_EPOCH,
    STATIC_LEAVING_EPOCH,
    ConsumerMember,
)
from flowstream.broker.groups.consumer_target import preferred
from flowstream.broker.groups.consumer_topics import KnownTopics
from flowstream.broker.groups.consumer_turn import (
    ConsumerLimits,
    ConsumerTurn,
    Refused,
    own_configs,
)
from flowstream.broker.groups.records import ConsumerGroupRecord
from flowstream.broker.groups.room import Room
from flowstream.broker.groups.timers import Agenda
from flowstream.broker.types import Instant
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.consumer_group_heartbeat import (
    Assignment,
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
    TopicPartitions,
)

Heartbeat = Request[ConsumerGroupHeartbeatRequest]


class ConsumerGroups:
    """All consumer groups."""

    def __init__(
        self, config: BrokerConfig, rng: Random, agenda: Agenda, known: KnownTopics, room: Room
    ) -> None:
        self.groups: dict[str, ConsumerGroup] = {}
        self.known = known
        self.topics_version = 0
        """Where the metadata log was when topics last changed."""
        self._config = config
        self._rng = rng
        self._agenda = agenda
        self._room = room

    def apply(self, record: ConsumerGroupRecord) -> None:
        """Take a record of the log, live and on replay. A tombstone of a group that is not known
        says nothing new."""
        key = record.key
        if isinstance(key, schema.ConsumerGroupPartitionMetadataKey):
            return  # what groups knew of topics before Kafka 4.1; the metadata hash replaced it
        group_id: str = key.group_id  # type: ignore[attr-defined]
        if record.value is None and isinstance(key, schema.ConsumerGroupMetadataKey):
            self.groups.pop(group_id, None)
            return
        group = self.groups.get(group_id)
        if group is None:
            if record.value is None:
                return
            group = self.groups[group_id] = ConsumerGroup(group_id)
        group.apply(record)

    def durable(self) -> object:
        """What the records say, as one comparable value."""
        return {group_id: group.durable() for group_id, group in self.groups.items()}

    def start(self, now: Instant) -> None:
        """All records are replayed: every member has a whole session ahead."""
        for group in self.groups.values():
            turn = self.turn(group.group_id, now)
            for member in group.members.values():
                self.keep_alive(group, member, turn)
                if member.classic is None and member.pending_revocation:
                    patience = turn.after(member.rebalance_timeout_ms)
                    group.timers.set(("rebalance", member.member_id), patience)
            self.arm(group)

    def turn(
        self, group_id: str, now: Instant, allows: Callable[[str], bool] | None = None
    ) -> ConsumerTurn:
        """Where a decision about a group is collected, for a member that may be told of the topics
        that `allows` names."""
        return ConsumerTurn(
            now=now,
            known=self.known,
            topics_version=self.topics_version,
            limits=ConsumerLimits.of(self._config, own_configs(self.known, group_id)),
            room=self._room,
            rack=self._config.broker_rack,
            allows=allows,
        )

    def assignor_of(self, group: ConsumerGroup) -> str:
        """Who assigns the group's partitions."""
        return preferred(group.members, self._config.group_consumer_assignors)

    def check(self, request: Heartbeat) -> Refused | None:
        """What is wrong with a heartbeat whatever the group is like."""
        assignors = self._config.group_consumer_assignors
        return check_request(request.body, request.to.version, assignors)

    def heartbeat(
        self, group: ConsumerGroup, request: Heartbeat, turn: ConsumerTurn
    ) -> ConsumerGroupHeartbeatResponse | Refused:
        """A member joins, reports or acknowledges."""
        body = request.body
        step = self._step(group, request, turn)
        if isinstance(step, Refused):
            return step
        listed = body.topic_partitions
        owned = None if listed is None else {t.topic_id: frozenset(t.partitions) for t in listed}
        member = advance(group, step, owned, turn)
        self.keep_alive(group, member, turn)
        self.arm(group)
        tells_all = (
            body.rebalance_timeout_ms != -1
            and (body.subscribed_topic_names is not None or body.subscribed_topic_regex is not None)
            and owned is not None
        )
        # Who joins, tells all again or speaks from an older epoch may not know what it has.
        unsure = tells_all or body.member_epoch != step.before.epoch
        told = unsure or body.member_epoch == JOINING_EPOCH or _differs(step.before, member)
        return ConsumerGroupHeartbeatResponse(
            member_id=member.member_id,
            member_epoch=member.epoch,
            heartbeat_interval_ms=turn.limits.heartbeat_interval_ms,
            assignment=_assignment(member) if told else None,
        )

    def leaver(
        self, group: ConsumerGroup, body: ConsumerGroupHeartbeatRequest
    ) -> ConsumerMember | Refused:
        """Who wants to leave."""
        return check_owner(group, body.member_id, body.instance_id)

    def keep_alive(self, group: ConsumerGroup, member: ConsumerMember, turn: ConsumerTurn) -> None:
        """A sign of life: the session starts anew."""
        silence_ms = turn.limits.session_timeout_ms
        if member.classic is not None:
            silence_ms = member.classic.session_timeout_ms
        group.timers.set(("session", member.member_id), turn.after(silence_ms))

    def arm(self, group: ConsumerGroup) -> None:
        """Note when the group must be looked at next."""
        self._agenda.arm(group.group_id, group.timers.soonest)

    def new_id(self) -> str:
        """A member id that nobody had before: a UUID as Kafka writes it."""
        return base64.urlsafe_b64encode(self._rng.randbytes(16)).decode().rstrip("=")

    def _step(self, group: ConsumerGroup, request: Heartbeat, turn: ConsumerTurn) -> Step | Refused:
        """Who moves: a member, a new one, or one that takes a static member's place."""
        body = request.body
        member_id = body.member_id or self.new_id()
        joins = body.member_epoch == JOINING_EPOCH
        known = group.members.get(member_id)
        holder = _holder(group, body.instance_id) if joins else None
        if known is None and holder is None and len(group.members) >= turn.limits.size_max:
            most = turn.limits.size_max
            text = f"group {group.group_id} has {most} members, more are not allowed"
            return Refused(ErrorCode.GROUP_MAX_SIZE_REACHED, text)
        replaced: ConsumerMember | None = None
        if holder is not None and (holder.classic or holder.epoch == STATIC_LEAVING_EPOCH):
            before, replaced = replacing(holder, member_id), holder
        elif holder is not None and holder is not known:
            text = f"instance id {body.instance_id} belongs to member {holder.member_id}"
            return Refused(ErrorCode.UNRELEASED_INSTANCE_ID, text)
        elif joins:
            before = known or ConsumerMember(member_id=member_id)
        else:
            found = check_owner(group, member_id, body.instance_id)
            if isinstance(found, Refused):
                return found
            before = found
        step = Step(before, _updated(before, request), replaced)
        return check_epoch(before, body) or check_room(group, step, turn) or step


def _holder(group: ConsumerGroup, instance_id: str | None) -> ConsumerMember | None:
    if instance_id is None or instance_id not in group.static_members:
        return None
    return group.members.get(group.static_members[instance_id])


def _updated(member: ConsumerMember, request: Heartbeat) -> ConsumerMember:
    """The member with what its request says; null means unchanged."""
    body = request.body
    given: Mapping[str, object | None] = {
        "instance_id": body.instance_id,
        "rack_id": body.rack_id,
        "rebalance_timeout_ms": None
        if body.rebalance_timeout_ms == -1
        else body.rebalance_timeout_ms,
        "names": None
        if body.subscribed_topic_names is None
        else frozenset(body.subscribed_topic_names),
        "regex": body.subscribed_topic_regex,
        "assignor": body.server_assignor,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    return replace(
        member,
        client_id=request.client_id or "",
        client_host=f"/{request.client_host.removeprefix('/')}",
        classic=None,
        **changes,  # type: ignore[arg-type]
    )


def _differs(before: ConsumerMember, after: ConsumerMember) -> bool:
    """Whether the member has other partitions than it was told last."""
    if before.assigned.keys() != after.assigned.keys():
        return True
    return any(p.keys() != after.assigned[t].keys() for t, p in before.assigned.items())


def _assignment(member: ConsumerMember) -> Assignment:
    return Assignment(
        topic_partitions=tuple(
            TopicPartitions(topic_id=topic_id, partitions=tuple(sorted(partitions)))
            for topic_id, partitions in member.assigned.items()
        )
    )
