"""One classic group in memory: members, leader, generation, state. Soft state: after a restart it
is rebuilt from its record.

Lives here: what a group *is* and its smallest changes, each keeping it consistent. When a
rebalance starts and ends is in `rebalance`; what requests do is in `classic`.
"""

from __future__ import annotations

from dataclasses import dataclass

from flowstream.broker.groups.records import GroupMetadataValue, MemberMetadata
from flowstream.broker.groups.room import weigh_identity, weigh_protocols
from flowstream.broker.groups.states import MOVES, State
from flowstream.broker.groups.timers import Timers
from flowstream.broker.types import Instant, ReplyTo
from flowstream.errors import WireError
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.consumer_protocol import ConsumerProtocolSubscription
from flowstream.wire.schema import decoder

CONSUMER_PROTOCOL = "consumer"
NAMES = 1 << 19
"""Names of topics that are read when a generation begins, some 0.3 us each (X4): 32 MiB of metadata
could be three million."""
Protocols = tuple[tuple[str, bytes], ...]
"""Names and metadata of the assignment protocols that a member offers, the preferred one first."""


@dataclass(slots=True)
class Member:
    """One member. A member never waits for both a join and a sync."""

    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    rebalance_timeout_ms: int
    session_timeout_ms: int
    protocols: Protocols
    assignment: bytes = b""
    is_new: bool = False
    """In its first join: it cannot send heartbeats yet because it does not know its id."""
    awaiting_join: ReplyTo | None = None
    awaiting_sync: ReplyTo | None = None

    @property
    def weight(self) -> int:
        """What it costs to keep (X3)."""
        who = weigh_identity(self.member_id, self.instance_id, self.client_id)
        return who + weigh_protocols(self.protocols) + len(self.assignment)

    def metadata(self, protocol: str | None) -> bytes:
        """What the member said for `protocol`."""
        return next((data for name, data in self.protocols if name == protocol), b"")


class ClassicGroup:
    """A group of the classic protocol. `members` is in the order of joining, so every decision is
    deterministic."""

    def __init__(self, group_id: str, now: Instant) -> None:
        self.group_id = group_id
        self.state = State.EMPTY
        self.state_since = now
        self.generation = 0
        self.protocol_type: str | None = None
        self.protocol: str | None = None
        self.leader: str | None = None
        self.members: dict[str, Member] = {}
        self.static_members: dict[str, str] = {}
        """Group instance id -> member id (KIP-345)."""
        self.pending_joins: set[str] = set()
        """Ids given out with MEMBER_ID_REQUIRED that have not come back yet (KIP-394)."""
        self.pending_syncs: set[str] = set()
        """Members of this generation that have not sent SyncGroup."""
        self.weight = 0
        """Of `members` and `pending_joins`: kept, because every join asks."""
        self.offered: dict[str, int] = {}
        """How many members offer each protocol: kept, because every join asks."""
        self.joins_waiting = 0
        """How many members wait for the answer to a join: kept, because every join asks."""
        self.initial = InitialDelay()
        self.timers: Timers[TimerKey] = Timers()
        self.subscribed: frozenset[str] | None = None
        """The topics of all members, when all speak the consumer protocol; None when that is not
        known."""

    @classmethod
    def restored(cls, group_id: str, value: GroupMetadataValue, now: Instant) -> ClassicGroup:
        """The group that a record describes: its members are taken to be alive and have a
        session's time to say so."""
        group = cls(group_id, now)
        group.generation = value.generation
        group.protocol_type = value.protocol_type or None
        group.protocol = value.protocol
        group.leader = value.leader
        group.state = State.STABLE if value.members else State.EMPTY
        group.state_since = Instant(value.current_state_timestamp)
        for each in value.members:
            group.add(_member(each, value.protocol))
        group.leader = value.leader
        group.subscribed = group.subscriptions()
        return group

    def move(self, state: State, now: Instant) -> None:
        """Change state along the table."""
        assert state in MOVES[self.state], f"{self.group_id}: {self.state} -> {state}"
        self.state = state
        self.state_since = now

    def add(self, member: Member) -> None:
        """Take a member in; the first one leads."""
        assert member.member_id not in self.members, f"{member.member_id} is already a member"
        if self.leader is None:
            self.leader = member.member_id
        self.members[member.member_id] = member
        self.weight += member.weight
        self._count(member.protocols, 1)
        if member.instance_id is not None:
            assert member.instance_id not in self.static_members, "one member per instance id"
            self.static_members[member.instance_id] = member.member_id
        self._unexpect(member.member_id)
        self.joins_waiting += member.awaiting_join is not None

    def remove(self, member_id: str) -> None:
        """Let a member or a pending id go, with its timer; another member leads when it was the
        leader."""
        self.timers.cancel(session(member_id))
        self._unexpect(member_id)
        self.pending_syncs.discard(member_id)
        member = self.members.pop(member_id, None)
        if member is None:
            return
        self.weight -= member.weight
        assert self.weight >= 0, f"{self.group_id} weighs {self.weight}"
        self._count(member.protocols, -1)
        self.joins_waiting -= member.awaiting_join is not None
        if member.instance_id is not None and (
            self.static_members.get(member.instance_id) == member_id
        ):
            del self.static_members[member.instance_id]
        if self.leader == member_id:
            self.leader = next(iter(self.members), None)

    def expect(self, member_id: str) -> None:
        """An id is given out whose owner shall join with it (KIP-394)."""
        self.pending_joins.add(member_id)
        self.weight += weigh_identity(member_id)

    def _unexpect(self, member_id: str) -> None:
        if member_id in self.pending_joins:
            self.pending_joins.remove(member_id)
            self.weight -= weigh_identity(member_id)

    def offer(self, member: Member, protocols: Protocols) -> None:
        """A member offers these protocols from now on."""
        self.weight += weigh_protocols(protocols) - weigh_protocols(member.protocols)
        self._count(member.protocols, -1)
        self._count(protocols, 1)
        member.protocols = protocols

    def _count(self, protocols: Protocols, by: int) -> None:
        for name in dict.fromkeys(name for name, _ in protocols):
            self.offered[name] = self.offered.get(name, 0) + by
            if not self.offered[name]:
                del self.offered[name]

    def assign(self, member: Member, assignment: bytes) -> None:
        """A member's share is this from now on."""
        self.weight += len(assignment) - len(member.assignment)
        member.assignment = assignment

    def behind(self, member_id: str, instance_id: str | None) -> Member | None:
        """The member that a join is of, be it only by its instance id."""
        return self.members.get(member_id or self.static_members.get(instance_id or "", ""))

    def replace_static(self, instance_id: str, member_id: str) -> Member:
        """Give the member behind an instance id a new member id; the old id is nobody's from now
        on. The new one is no new member: its session does not end while its join waits."""
        old_id = self.static_members[instance_id]
        member = self.members[old_id]
        assert member.awaiting_join is None, "answer the old one first"
        assert member.awaiting_sync is None, "answer the old one first"
        leads = self.leader == old_id
        self.remove(old_id)
        member.member_id = member_id
        member.is_new = False
        self.add(member)
        self.leader = member_id if leads else self.leader
        return member

    def await_join(self, member: Member, to: ReplyTo) -> None:
        """Keep where the answer to a member's join goes."""
        assert member.awaiting_join is None, "answer the earlier join first"
        self.joins_waiting += 1
        member.awaiting_join = to

    def answered_join(self, member: Member) -> None:
        """The member's join no longer waits."""
        self.joins_waiting -= member.awaiting_join is not None
        member.awaiting_join = None

    def all_joined(self) -> bool:
        """Whether nobody is left to wait for before the next generation."""
        return self.joins_waiting == len(self.members) and not self.pending_joins

    def rebalance_timeout_ms(self) -> int:
        """The most patient member's."""
        return max((each.rebalance_timeout_ms for each in self.members.values()), default=0)

    def check_member(self, member_id: str, instance_id: str | None) -> ErrorCode:
        """Whether this is a member, and still the one behind its instance id (fencing of static
        members)."""
        if instance_id is not None:
            present = self.static_members.get(instance_id)
            if present is None:
                return ErrorCode.UNKNOWN_MEMBER_ID
            if present != member_id:
                return ErrorCode.FENCED_INSTANCE_ID
        return ErrorCode.NONE if member_id in self.members else ErrorCode.UNKNOWN_MEMBER_ID

    def check_generation(
        self, member_id: str, instance_id: str | None, generation: int
    ) -> ErrorCode:
        """`check_member`, and that it speaks for the current generation (G1)."""
        error = self.check_member(member_id, instance_id)
        if error:
            return error
        return ErrorCode.NONE if generation == self.generation else ErrorCode.ILLEGAL_GENERATION

    def supports(self, protocol_type: str, protocols: Protocols) -> bool:
        """Whether a member that offers these can be in this group: one protocol must be common to
        all."""
        if self.state is State.EMPTY:
            return bool(protocol_type) and bool(protocols)
        if self.protocol_type != protocol_type:
            return False
        if not self.members:
            return bool(protocols)
        return any(self.is_common(name) for name, _ in protocols)

    def is_common(self, protocol: str) -> bool:
        """Whether every member offers `protocol`."""
        return self.offered.get(protocol, 0) == len(self.members)

    def choose_protocol(self) -> str:
        """Each member votes for the first common protocol in its list; the earliest voted for wins
        a tie."""
        votes: dict[str, int] = {}
        for member in self.members.values():
            vote = next(name for name, _ in member.protocols if self.is_common(name))
            votes[vote] = votes.get(vote, 0) + 1
        return max(votes, key=votes.__getitem__)

    def elect_joined_leader(self) -> bool:
        """Make sure that the leader is in the join that completes. False when no member is."""
        if self.leader is None:
            return False
        if self.members[self.leader].awaiting_join is not None:
            return True
        joined = (m.member_id for m in self.members.values() if m.awaiting_join is not None)
        first = next(joined, None)
        self.leader = first if first is not None else self.leader
        return first is not None

    def next_generation(self, now: Instant) -> None:
        """Begin the next generation with the present members. Generations only grow (G5)."""
        self.generation += 1
        self.pending_syncs.clear()
        if self.members:
            self.protocol = self.choose_protocol()
            self.subscribed = self.subscriptions()
            self.move(State.COMPLETING_REBALANCE, now)
        else:
            self.protocol = None
            self.subscribed = self.subscriptions()
            self.move(State.EMPTY, now)

    def subscriptions(self) -> frozenset[str] | None:
        """The topics that members subscribe to, as far as the consumer protocol tells; None when
        it does not."""
        if self.protocol_type != CONSUMER_PROTOCOL:
            return None
        if not self.members or self.protocol is None:
            return frozenset()
        read = decoder(ConsumerProtocolSubscription, 0)
        topics: set[str] = set()
        left = NAMES
        for data in dict.fromkeys(each.metadata(self.protocol) for each in self.members.values()):
            try:
                # Later versions only append fields (KIP-429, KIP-792, KIP-848): version 0 reads
                # the topics of all.
                named = read(memoryview(data), 2)[0].topics
            except WireError:
                return None
            left -= len(named)
            if left < 0:
                return None
            topics.update(named)
        return frozenset(topics)

    def is_subscribed(self, topic: str) -> bool:
        """Whether a member reads `topic`, as far as it is known."""
        return self.subscribed is not None and topic in self.subscribed

    def value(self) -> GroupMetadataValue:
        """The group as its record keeps it."""
        members = (self._record_of(each) for each in self.members.values())
        return GroupMetadataValue(
            protocol_type=self.protocol_type or "",
            generation=self.generation,
            protocol=self.protocol,
            leader=self.leader,
            current_state_timestamp=self.state_since,
            members=tuple(members),
        )

    def _record_of(self, member: Member) -> MemberMetadata:
        return MemberMetadata(
            member_id=member.member_id,
            group_instance_id=member.instance_id,
            client_id=member.client_id,
            client_host=member.client_host,
            rebalance_timeout=member.rebalance_timeout_ms,
            session_timeout=member.session_timeout_ms,
            subscription=member.metadata(self.protocol),
            assignment=member.assignment,
        )


@dataclass(slots=True)
class InitialDelay:
    """How long an empty group still waits for more members (`group.initial.rebalance.delay.ms`)."""

    running: bool = False
    delay_ms: int = 0
    remaining_ms: int = 0
    member_added: bool = False


TimerKey = tuple[str, str]
"""What a group's deadline is for, and of which member."""

JOIN: TimerKey = ("join", "")
"""The rebalance timeout: who has not joined by then is out."""
SYNC: TimerKey = ("sync", "")
"""Who has not sent SyncGroup by then is out."""


def session(member_id: str) -> TimerKey:
    """A member's session, or the patience with an id that was given out (KIP-394)."""
    return ("session", member_id)


def _member(each: MemberMetadata, protocol: str | None) -> Member:
    patience = each.rebalance_timeout
    return Member(
        member_id=each.member_id,
        instance_id=each.group_instance_id,
        client_id=each.client_id,
        client_host=each.client_host,
        rebalance_timeout_ms=patience if patience >= 0 else each.session_timeout,
        session_timeout_ms=each.session_timeout,
        protocols=((protocol or "", bytes(each.subscription)),),
        assignment=bytes(each.assignment),
    )
