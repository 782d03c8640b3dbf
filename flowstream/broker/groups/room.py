"""How much members may say (X3): what a group keeps of it is weighed, and one group and all of them
together have a bound.

Weights are estimates in bytes, the same wherever they are made: what was sent, and what objects
cost besides. Pure arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Protocol

from flowstream.broker.groups.consumer_member import ConsumerMember
from flowstream.broker.types import Instant

GROUP_BYTES = 32 << 20
"""Of one group: ten thousand members that say little, or 150 that name a thousand topics each.
Kafka's groups end where their record is larger than a batch of 1 MiB."""
BROKER_BYTES = 128 << 20
"""Of all groups."""
PATTERNS = 64
"""Different regular expressions in one group: each is matched against every topic."""
MEMBER_BYTES = 1 << 10
"""Of a member besides what it says, and of an id that was given out."""
GROUPS_A_MS = 100
"""Of so many groups a refusal stands for a millisecond without another look, so that looking takes
some hundredths of the time (X4): there may be a hundred thousand.
"""
TEXT_BYTES = 200
"""Of a text or a protocol besides its characters: what a name costs in the sets that hold it."""


class Weighed(Protocol):
    """A group."""

    group_id: str
    weight: int
    """Kept whenever a member comes, changes or goes."""


class Room:
    """What all groups may hold. Growth is added up, what goes is only noticed when there seems to
    be no room: the groups are weighed then, so nothing that removes must think of it.
    """

    def __init__(self, groups: Callable[[], Iterable[Weighed]]) -> None:
        self._groups = groups
        self._most = BROKER_BYTES
        """What the groups weigh, or more; less only by growth that nobody asked for here."""
        self._refused = 0
        """The growth that there was no room for when the groups were weighed last."""
        self._refused_until = Instant(0)

    def admits(self, group: Weighed, growth: int, now: Instant) -> bool:
        """Whether `group` may become heavier by `growth`; it then counts as taken. Who says no more
        than before is always let in.
        """
        if growth <= 0:
            return True
        if group.weight + growth > GROUP_BYTES:
            return False
        if self._most + growth > BROKER_BYTES and not self._weighed(growth, now):
            return False
        self._most += growth
        return True

    def _weighed(self, growth: int, now: Instant) -> bool:
        """Whether there is room after all: much less than what was refused may fit."""
        if now < self._refused_until and growth > self._refused // 2:
            return False
        weights = [each.weight for each in self._groups()]
        self._most = sum(weights)
        if self._most + growth <= BROKER_BYTES:
            return True
        self._refused, self._refused_until = growth, Instant(now + len(weights) // GROUPS_A_MS)
        return False

    def weigh_anew(self) -> None:
        """Groups grew by what the broker found or made of them: look at them next time."""
        self._most = BROKER_BYTES


def full(group: Weighed) -> str:
    """Why a member was not let in, in words."""
    return (
        f"the members of group {group.group_id} may say no more: a group keeps"
        f" {GROUP_BYTES >> 20} MiB, all groups of the broker {BROKER_BYTES >> 20} MiB"
    )


def weigh_text(text: str) -> int:
    """One text. Where one character is not ASCII, each may take four bytes.

    >>> weigh_text("orders"), weigh_text("ördrar")
    (206, 224)
    """
    return TEXT_BYTES + (len(text) if text.isascii() else 4 * len(text))


def weigh_identity(*texts: str | None) -> int:
    """A member that has said nothing yet: who it is and where."""
    return MEMBER_BYTES + sum(weigh_text(each) for each in texts if each)


def weigh_protocols(protocols: Iterable[tuple[str, bytes]]) -> int:
    """The protocols that a classic member offers, and their metadata."""
    return sum(weigh_text(name) + len(data) for name, data in protocols)


def weigh_consumer(member: ConsumerMember | None) -> int:
    """A member of a consumer group, 0 for none; its partitions are no more than there are."""
    if member is None:
        return 0
    weight = weigh_identity(
        member.member_id, member.instance_id, member.rack_id, member.client_id, member.regex
    )
    weight += sum(map(weigh_text, member.names))
    if member.classic is not None:
        offered = member.classic.supported_protocols
        weight += weigh_protocols((each.name, each.metadata) for each in offered)
    return weight


def weigh_pattern(pattern: str, topics: Collection[str]) -> int:
    """A regular expression of a group, with the topics it matches."""
    return weigh_text(pattern) + TEXT_BYTES * len(topics)
