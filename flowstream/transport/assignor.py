"""What the members of a group tell their leader, and what it gives them: incremental cooperative
rebalancing (KIP-429) on the classic protocol.

Pure. Knows no policy: a function given by processing says who is to have what. Here it is seen to
that a partition has left its owner before another gets it (G4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from flowstream.errors import WireError
from flowstream.transport.types import TopicPartition
from flowstream.wire.messages.consumer_protocol import (
    ConsumerProtocolAssignment,
    ConsumerProtocolSubscription,
)
from flowstream.wire.messages.consumer_protocol import TopicPartition as Partitions
from flowstream.wire.schema import byte_view, decode, decoder, encode

T = TypeVar("T")

SUBSCRIPTION_VERSION = 2
ASSIGNMENT_VERSION = 1
NOTHING: frozenset[TopicPartition] = frozenset()


class Member(NamedTuple):
    """A group member as the leader sees it. What it owns, it owned in `generation`."""

    topics: frozenset[str]
    user_data: bytes
    owned: frozenset[TopicPartition] = NOTHING
    generation: int = -1


class Part(NamedTuple):
    """What a member is to have, and what processing wants to tell it."""

    partitions: Sequence[tuple[str, int]] = ()
    user_data: bytes = b""


class Share(NamedTuple):
    """What a member has got. `unfinished`: another round follows as soon as partitions that move
    have left their owners.
    """

    partitions: frozenset[TopicPartition] = NOTHING
    user_data: bytes = b""
    unfinished: bool = False


SubscriptionData = Callable[[], bytes]
"""What this member tells the leader each time it joins."""

Assign = Callable[[Mapping[str, Member], Mapping[str, int]], Mapping[str, Part]]
"""Members by id and partition counts by topic -> what each member is to have."""


class GroupAssignor(NamedTuple):
    """How a group shares its partitions. All members of a group must use the same name."""

    name: str
    subscription_data: SubscriptionData
    assign: Assign

    def decide(self, members: Mapping[str, Member], counts: Mapping[str, int]) -> dict[str, Share]:
        """Shares for this round, as the leader of the group."""
        return hold_back(members, self.assign(members, counts))


def hold_back(members: Mapping[str, Member], wanted: Mapping[str, Part]) -> dict[str, Share]:
    """What of the wanted parts can be given in this round: a partition that another member owns
    stays out until that one has let it go, and with it what would arrive of the same number: topics
    may belong together, and who has one of them without the others would share with the other.
    """
    owners = _owners(members)
    given: dict[str, frozenset[TopicPartition]] = {}
    unfinished = False
    for member in members:
        part = frozenset(TopicPartition(*tp) for tp in wanted.get(member, Part()).partitions)
        taken = frozenset(tp for tp in part if owners.get(tp, (member,)) != (member,))
        numbers = {tp.partition for tp in taken}
        owned = members[member].owned
        free = frozenset(tp for tp in part - taken if tp in owned or tp.partition not in numbers)
        unfinished = unfinished or free != part
        given[member] = free
    return {
        member: Share(given[member], wanted.get(member, Part()).user_data, unfinished)
        for member in members
    }


def _owners(members: Mapping[str, Member]) -> dict[TopicPartition, tuple[str, ...]]:
    """Who owns each partition: of several that say so, those that heard last from the leader."""
    owners: dict[TopicPartition, tuple[int, tuple[str, ...]]] = {}
    for name in sorted(members):
        member = members[name]
        for tp in member.owned:
            newest, known = owners.get(tp, (member.generation, ()))
            if member.generation > newest:
                owners[tp] = member.generation, (name,)
            elif member.generation == newest:
                owners[tp] = newest, (*known, name)
    return {tp: known for tp, (_, known) in owners.items()}


def encode_subscription(
    topics: Iterable[str], user_data: bytes, owned: Iterable[TopicPartition], generation: int
) -> bytes:
    """A member's subscription, with what it owns and since when."""
    message = ConsumerProtocolSubscription(
        topics=tuple(sorted(topics)),
        user_data=user_data,
        owned_partitions=_by_topic(owned),
        generation_id=generation,
    )
    return _versioned(SUBSCRIPTION_VERSION, message)


def decode_subscription(data: bytes) -> Member:
    """The member behind a subscription; one that cannot be read subscribes to nothing."""
    found = _read(ConsumerProtocolSubscription, data, SUBSCRIPTION_VERSION)
    if found is None:
        return Member(frozenset(), b"")
    return Member(
        frozenset(found.topics),
        bytes(found.user_data or b""),
        _flat(found.owned_partitions),
        found.generation_id,
    )


def encode_share(share: Share) -> bytes:
    """A share as an assignment of the consumer protocol."""
    message = ConsumerProtocolAssignment(
        assigned_partitions=_by_topic(share.partitions),
        user_data=bytes((share.unfinished,)) + share.user_data,
    )
    return _versioned(ASSIGNMENT_VERSION, message)


def decode_share(data: bytes) -> Share:
    """The share in an assignment; no bytes are no partitions. WireError for what is none."""
    if not data:
        return Share()
    found = _read(ConsumerProtocolAssignment, data, ASSIGNMENT_VERSION)
    if found is None:
        raise WireError(f"an assignment of {len(data)} bytes cannot be read")
    told = bytes(found.user_data or b"\0")
    return Share(_flat(found.assigned_partitions), told_in(told), told[:1] == b"\1")


def told_in(assigned_data: bytes) -> bytes:
    """What a decision had for a member beside its partitions, in the user data of its share."""
    return assigned_data[1:]


def _versioned(version: int, message: object) -> bytes:
    return version.to_bytes(2, "big") + encode(message, version)


def _read(cls: type[T], data: bytes, highest: int) -> T | None:
    if len(data) < 2:
        return None
    version = int.from_bytes(data[:2], "big", signed=True)
    if version < 0:
        return None
    try:
        if version <= highest:
            return decode(cls, data[2:], version)
        # Later versions begin as the ones that are known (KIP-429): what they add is left unread.
        return decoder(cls, highest)(byte_view(data), 2)[0]
    except WireError:
        return None


def _by_topic(partitions: Iterable[tuple[str, int]]) -> tuple[Partitions, ...]:
    by_topic: dict[str, list[int]] = {}
    for topic, partition in sorted(partitions):
        by_topic.setdefault(topic, []).append(partition)
    return tuple(
        Partitions(topic=topic, partitions=tuple(found)) for topic, found in by_topic.items()
    )


def _flat(found: Iterable[Partitions]) -> frozenset[TopicPartition]:
    return frozenset(TopicPartition(each.topic, n) for each in found for n in each.partitions)
