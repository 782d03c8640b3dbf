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
    held = _kept(members, order, sizes)
    if len({members[each].topics for each in order}) > 1:
        return _share_by_topic(held, _readers(members, order), sizes)
    _share_alike(held, order, members, sizes)
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
) -> dict[str, Target]:
    """Subscriptions differ: give to who has least, then even out topic by topic. What it costs
    grows with the readers of each topic, not with all that they have: it holds up the loop (X4)."""
    counts = {each: len(mine) for each, mine in held.items()}
    shares: dict[bytes, dict[str, list[int]]] = {topic_id: {} for topic_id in readers}
    for member_id, mine in held.items():
        for topic_id, partition in mine:
            shares[topic_id].setdefault(member_id, []).append(partition)
    for topic_id, among in readers.items():
        _give(shares[topic_id], among, sizes[topic_id], counts)
    for _ in range(BALANCING_PASSES):
        if not sum(_even_out(shares[topic_id], each, counts) for topic_id, each in readers.items()):
            break
    targets: dict[str, dict[bytes, frozenset[int]]] = {each: {} for each in held}
    for topic_id, given in shares.items():
        for member_id, partitions in given.items():
            if partitions:
                targets[member_id][topic_id] = frozenset(partitions)
    return dict(targets)


def _give(
    shares: dict[str, list[int]], among: list[str], size: int, counts: dict[str, int]
) -> None:
    """Give the partitions of one topic that nobody has to who has least."""
    taken = {each for mine in shares.values() for each in mine}
    poor = [(counts[each], each) for each in among]
    heapq.heapify(poor)
    for partition in range(size):
        if partition not in taken:
            least, taker = poor[0]
            shares.setdefault(taker, []).append(partition)
            counts[taker] = least + 1
            heapq.heapreplace(poor, (least + 1, taker))


def _even_out(shares: dict[str, list[int]], among: list[str], counts: dict[str, int]) -> int:
    """Move partitions of one topic from who has most to who has least; how many moved."""
    rich = [(-counts[each], each) for each in among if shares.get(each)]
    poor = [(counts[each], each) for each in among]
    if not rich or -min(rich)[0] - min(poor)[0] < 2:
        return 0
    heapq.heapify(rich)
    heapq.heapify(poor)
    moved: list[tuple[str, int]] = []  # nobody gives what it has just got
    while rich:
        most, giver = rich[0]
        least, taker = poor[0]
        if -most != counts[giver]:
            heapq.heapreplace(rich, (-counts[giver], giver))
        elif least != counts[taker]:
            heapq.heapreplace(poor, (counts[taker], taker))
        elif -most - least < 2:
            break
        else:
            moved.append((taker, shares[giver].pop()))
            counts[giver] -= 1
            counts[taker] += 1
            if not shares[giver]:
                heapq.heappop(rich)
    for taker, partition in moved:
        shares.setdefault(taker, []).append(partition)
    return len(moved)


def _target(held: list[Topic]) -> Target:
    target: dict[bytes, set[int]] = {}
    for topic_id, partition in held:
        target.setdefault(topic_id, set()).add(partition)
    return {topic_id: frozenset(partitions) for topic_id, partitions in target.items()}
