"""The target assignment of a consumer group: when a new one is due and what it says (KIP-848,
KIP-1263)."""

from __future__ import annotations

from collections.abc import Mapping

from flowstream.broker.groups import consumer_changes as changes
from flowstream.broker.groups.consumer_assignors import ASSIGNORS, Subscriber
from flowstream.broker.groups.consumer_group import ConsumerGroup, Resolved, names_of
from flowstream.broker.groups.consumer_member import ConsumerMember, Target
from flowstream.broker.groups.consumer_topics import KnownTopics
from flowstream.broker.groups.consumer_turn import ConsumerTurn

Members = Mapping[str, ConsumerMember]
Regexes = Mapping[str, Resolved]


def ids_of(member: ConsumerMember, regexes: Regexes, known: KnownTopics) -> frozenset[bytes]:
    """The ids of those that exist."""
    found = (known.topics.get(each) for each in names_of(member, regexes))
    return frozenset(each.topic_id for each in found if each is not None)


def is_due(group: ConsumerGroup, epoch: int, turn: ConsumerTurn) -> bool:
    """Whether the group needs a new target: not more often than its assignment interval, so that
    many who join together cause one rebalance."""
    if epoch <= group.assignment_epoch:
        return False
    last, interval_ms = group.assignment_timestamp, turn.limits.assignment_interval_ms
    # A clock that was set back while the broker was down: the last one may seem years ahead.
    return last == 0 or not last <= turn.now < last + interval_ms


def compute(
    group: ConsumerGroup,
    members: Members,
    had: Mapping[str, Target],
    regexes: Regexes,
    turn: ConsumerTurn,
) -> dict[str, Target]:
    """What the group's assignor gives each of `members`, who `had` this before."""
    subscribers = {
        each.member_id: Subscriber(
            topics=ids_of(each, regexes, turn.known),
            had=had.get(each.member_id, {}),
            instance_id=each.instance_id,
        )
        for each in members.values()
    }
    read = {topic_id for each in subscribers.values() for topic_id in each.topics}
    sizes = {each: len(turn.known.topics_by_id[each].partitions) for each in read}
    name = preferred(members, turn.limits.assignors)
    return ASSIGNORS[name](subscribers, sizes)


def preferred(members: Members, offered: tuple[str, ...]) -> str:
    """The assignor most members ask for, the earliest asked for when there is a tie; the broker's
    first when nobody asks."""
    votes: dict[str, int] = {}
    for each in members.values():
        if each.assignor in offered:
            votes[each.assignor] = votes.get(each.assignor, 0) + 1
    return max(votes, key=votes.__getitem__) if votes else offered[0]


def update(
    group: ConsumerGroup,
    epoch: int,
    members: Members,
    had: Mapping[str, Target],
    regexes: Regexes,
    turn: ConsumerTurn,
) -> dict[str, Target]:
    """Compute the target of `epoch` and record how it differs from the last."""
    targets = compute(group, members, had, regexes, turn)
    for member_id, target in targets.items():
        if had.get(member_id) != target:
            turn.records.append(changes.target(group.group_id, member_id, target))
    turn.records.append(changes.target_epoch(group.group_id, epoch, turn.now))
    return targets
