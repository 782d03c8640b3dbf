"""The assignors of consumer groups, `uniform` and `range` (KIP-848): who subscribes to what, and
who had what before, in; who shall own what, out.

Both give every partition of every subscribed topic to exactly one subscriber. Their answer does not
depend on the order in which members or topics come.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flowstream.broker.groups.consumer_member import Target

BALANCING_PASSES = 16
"""How often uneven topics are looked at again; the passes end when one changes nothing."""

Topic = tuple[bytes, int]
"""A partition: topic id and number."""


@dataclass(frozen=True, slots=True)
class Subscriber:
    """One member as an assignor sees it."""

    topics: frozenset[bytes]
    """Ids of topics that exist."""
    had: Target
    """What the target assignment before this one gave it."""
    instance_id: str | None = None


Subscribers = Mapping[str, Subscriber]
Assignor = Callable[[Subscribers, Mapping[bytes, int]], dict[str, Target]]
"""Subscribers by member id and the number of partitions by topic id -> targets by member id."""


def assign_range(members: Subscribers, sizes: Mapping[bytes, int]) -> dict[str, Target]:
    """Each topic in consecutive ranges, static members first: partitions of the same number of
    topics of the same size come together."""
    order = sorted(members, key=lambda each: _range_order(each, members[each]))
    targets: dict[str, dict[bytes, frozenset[int]]] = {each: {} for each in order}
    for topic_id, readers in _readers(members, order).items():
        least, extra = divmod(sizes[topic_id], len(readers))
        start = 0
        for number, member_id in enumerate(readers):
            end = start + least + (number < extra)
            if end > start:
                targets[member_id][topic_id] = frozenset(range(start, end))
            start = end
    return dict(targets)


def assign_uniform(members: Subscribers, sizes: Mapping[bytes, int]) -> dict[str, Target]:
    """Evenly over all topics, moving as little as possible."""
    order = sorted(members)
    if len({members[each].topics for each in order}) <= 1:
        held = _kept(members, order, sizes)
        _share_alike(held, order, members, sizes)
    else:
        held = _kept(members, order, sizes)
        _share_by_topic(held, _readers(members, order), sizes)
    return {each: _target(held[each]) for each in order}


ASSIGNORS: Mapping[str, Assignor] = {"uniform": assign_uniform, "range": assign_range}
"""By the name that members and `group.consumer.assignors` use."""


def _range_order(member_id: str, member: Subscriber) -> tuple[bool, str]:
    return (member.instance_id is None, member.instance_id or member_id)


def _readers(members: Subscribers, order: list[str]) -> dict[bytes, list[str]]:
    """The subscribers of each topic, topics by id."""
    readers: dict[bytes, list[str]] = {}
    for member_id in order:
        for topic_id in members[member_id].topics:
            readers.setdefault(topic_id, []).append(member_id)
    return dict(sorted(readers.items()))


def _kept(
    members: Subscribers, order: list[str], sizes: Mapping[bytes, int]
) -> dict[str, list[Topic]]:
    """What each member had and may keep."""
    taken: set[Topic] = set()
    held: dict[str, list[Topic]] = {}
    for member_id in order:
        member = members[member_id]
        mine = [
            (topic_id, partition)
            for topic_id, partitions in sorted(member.had.items())
            if topic_id in member.topics
            for partition in sorted(partitions)
            if partition < sizes[topic_id] and (topic_id, partition) not in taken
        ]
        taken.update(mine)
        held[member_id] = mine
    return held


def _free(held: Mapping[str, list[Topic]], sizes: Mapping[bytes, int]) -> list[Topic]:
    taken = {each for mine in held.values() for each in mine}
    every = ((t, p) for t in sorted(sizes) for p in range(sizes[t]))
    return [each for each in every if each not in taken]


def _share_alike(
    held: dict[str, list[Topic]],
    order: list[str],
    members: Subscribers,
    sizes: Mapping[bytes, int],
) -> None:
    """All subscribe to the same: everyone gets the same number, or one more."""
    if not order:
        return
    mine = {t: sizes[t] for t in members[order[0]].topics}
    least, extra = divmod(sum(mine.values()), len(order))
    # Who has more keeps the odd one: less moves.
    richest = sorted(order, key=lambda each: (-len(held[each]), each))
    quota = {each: least + (number < extra) for number, each in enumerate(richest)}
    for each in order:
        del held[each][quota[each] :]
    free = iter(_free(held, mine))
    for each in order:
        held[each] += [next(free) for _ in range(quota[each] - len(held[each]))]


def _share_by_topic(
    held: dict[str, list[Topic]], readers: Mapping[bytes, list[str]], sizes: Mapping[bytes, int]
) -> None:
    """Subscriptions differ: give to who has least, then even out topic by topic."""
    for topic_id, partition in _free(held, {t: sizes[t] for t in readers}):
        poorest = min(readers[topic_id], key=lambda each: (len(held[each]), each))
        held[poorest].append((topic_id, partition))
    for _ in range(BALANCING_PASSES):
        if not sum(_even_out(held, topic_id, among) for topic_id, among in readers.items()):
            return


def _even_out(held: dict[str, list[Topic]], topic_id: bytes, among: list[str]) -> int:
    """Move partitions of one topic from who has most to who has least; how many moved."""
    moved = 0
    movable = {each: [t for t in held[each] if t[0] == topic_id] for each in among}
    rich = [(-len(held[each]), each) for each in among if movable[each]]
    poor = [(len(held[each]), each) for each in among]
    heapq.heapify(rich)
    heapq.heapify(poor)
    while rich:
        most, giver = rich[0]
        least, taker = poor[0]
        if -most != len(held[giver]):
            heapq.heapreplace(rich, (-len(held[giver]), giver))
        elif least != len(held[taker]):
            heapq.heapreplace(poor, (len(held[taker]), taker))
        elif -most - least < 2:
            return moved
        else:
            partition = movable[giver].pop()
            held[giver].remove(partition)
            held[taker].append(partition)
            moved += 1
            if not movable[giver]:
                heapq.heappop(rich)
    return moved


def _target(held: list[Topic]) -> Target:
    target: dict[bytes, set[int]] = {}
    for topic_id, partition in held:
        target.setdefault(topic_id, set()).add(partition)
    return {topic_id: frozenset(partitions) for topic_id, partitions in target.items()}
