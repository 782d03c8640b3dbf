"""How a member of a consumer group gets from what it owns to what it shall own (KIP-848).

Two steps: first it gives up what is no longer its own and says so, then it takes over what others
have given up. So no partition has two owners (G4). Pure: a member and the target in, a member out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace

from flowstream.broker.groups.consumer_member import (
    Assigned,
    ConsumerMember,
    MemberState,
    Target,
)


@dataclass(frozen=True, slots=True)
class Goal:
    """What a member is to be reconciled to."""

    epoch: int
    """Of the target assignment."""
    target: Target
    subscribed: Set[bytes]
    """Ids of the topics it subscribes to now: the target may be older than its subscription."""
    is_owned: Callable[[bytes, int], bool]
    """Whether any member has this partition."""


Owned = Mapping[bytes, Set[int]] | None
"""What a member says it owns; None when it says nothing of it."""


def reconcile(
    member: ConsumerMember, goal: Goal, owned: Owned, *, resubscribed: bool = False
) -> ConsumerMember:
    """The member's next step, or the member itself when it must wait."""
    if member.state is MemberState.STABLE and member.epoch == goal.epoch:
        return _unsubscribe(member, goal, owned) if resubscribed else member
    if member.state is MemberState.UNREVOKED_PARTITIONS and _still_owns(
        owned, member.pending_revocation
    ):
        return _unsubscribe(member, goal, owned) if resubscribed else member
    return _advance(member, goal, owned)


def _advance(member: ConsumerMember, goal: Goal, owned: Owned) -> ConsumerMember:
    kept: dict[bytes, dict[int, int]] = {}
    revoked: dict[bytes, dict[int, int]] = {}
    gained: dict[bytes, list[int]] = {}
    unreleased = False
    for topic_id in dict.fromkeys((*goal.target, *member.assigned)):
        has = member.assigned.get(topic_id, {})
        target = goal.target.get(topic_id, frozenset())
        if topic_id not in goal.subscribed:
            target = frozenset()
        leaving = member.pending_revocation.get(topic_id, {})
        _put(kept, topic_id, {p: e for p, e in has.items() if p in target})
        _put(revoked, topic_id, {p: e for p, e in has.items() if p not in target})
        missing = [each for each in sorted(target) if each not in has]
        # What it gives up itself right now is free for it, were it to get it back.
        free = [p for p in missing if p in leaving or not goal.is_owned(topic_id, p)]
        unreleased = unreleased or len(free) < len(missing)
        if free:
            gained[topic_id] = free
    if revoked and _still_owns(owned, revoked):
        return replace(
            member,
            state=MemberState.UNREVOKED_PARTITIONS,
            previous_epoch=member.epoch,
            assigned=kept,
            pending_revocation=revoked,
        )
    for topic_id, partitions in gained.items():
        kept.setdefault(topic_id, {}).update(dict.fromkeys(partitions, goal.epoch))
    return replace(
        member,
        state=MemberState.UNRELEASED_PARTITIONS if unreleased else MemberState.STABLE,
        previous_epoch=member.epoch,
        epoch=goal.epoch,
        assigned=kept,
        pending_revocation={},
    )


def _unsubscribe(member: ConsumerMember, goal: Goal, owned: Owned) -> ConsumerMember:
    """Take away at once what the member no longer subscribes to: the next target may be a while
    (KIP-1263)."""
    gone = {t: p for t, p in member.assigned.items() if t not in goal.subscribed}
    if not gone:
        return member
    kept = {t: p for t, p in member.assigned.items() if t in goal.subscribed}
    leaving = {t: dict(p) for t, p in member.pending_revocation.items()}
    for topic_id, partitions in gone.items():
        leaving.setdefault(topic_id, {}).update(partitions)
    if _still_owns(owned, leaving):
        return replace(
            member,
            state=MemberState.UNREVOKED_PARTITIONS,
            previous_epoch=member.epoch,
            assigned=kept,
            pending_revocation=leaving,
        )
    return replace(member, previous_epoch=member.epoch, assigned=kept)


def _still_owns(owned: Owned, partitions: Assigned) -> bool:
    """Whether the member has one of `partitions`, for all that it says."""
    if owned is None:
        return True
    return any(not owned.get(t, frozenset()).isdisjoint(p) for t, p in partitions.items())


def _put(into: dict[bytes, dict[int, int]], topic_id: bytes, partitions: dict[int, int]) -> None:
    if partitions:
        into[topic_id] = partitions
