"""Where tasks run, where copies of their state are kept, and what is copied before it moves.

Pure, by what the members say of themselves (KIP-441). A worker that is to get a task whose state it
has not gets a copy first, while the task goes on where it is; when the copy is there, it moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from flowstream.processing.group.assignor import (
    Candidate,
    Task,
    assign,
    part_of,
    sets_of,
    task_name,
)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a leader goes by: settings, and the partition counts of which there are tables."""

    standbys: int = 0
    lag: int = 10_000
    warmups: int = 2
    stateful: frozenset[int] = frozenset()


class Orders(msgspec.Struct, frozen=True):
    """What a leader tells a member beside its partitions: tasks whose state it is to copy, and
    which of these it copies in order to run them. What it runs itself by then is no copy. `topics`
    are those of the member that were shared, with their partitions; an older leader tells none.
    `waits` says what nobody reads while members of two versions read different topics.
    """

    standby: tuple[str, ...] = ()
    warming: tuple[str, ...] = ()
    topics: dict[str, int] | None = None
    waits: str = ""

    def cover(self, sources: Mapping[str, int]) -> bool:
        """Whether all of what a member reads was there to be shared."""
        if self.topics is None:
            return True
        return all(count <= self.topics.get(topic, 0) for topic, count in sources.items())


@dataclass(frozen=True, slots=True)
class Placement:
    """Partitions and orders of each member."""

    partitions: dict[str, list[tuple[str, int]]]
    orders: dict[str, Orders]


_decoder = msgspec.json.Decoder(Orders)


def encode_orders(orders: Orders) -> bytes:
    """The orders as the assignment's user data; none need no bytes."""
    return msgspec.json.encode(orders) if orders != Orders() else b""


def decode_orders(data: bytes) -> Orders:
    """The orders in an assignment; anything unreadable orders nothing."""
    try:
        return _decoder.decode(data) if data else Orders()
    except msgspec.MsgspecError:
        return Orders()


def place(
    members: Mapping[str, Candidate], partitions: Mapping[str, int], rules: Rules
) -> Placement:
    """Every partition has one owner (G7), who can go on with it at once where anybody can."""
    wanted = assign(members, partitions, rules.lag)
    target = {tp: member for member, owned in wanted.items() for tp in owned}
    placed: dict[str, list[tuple[str, int]]] = {member: [] for member in wanted}
    copies: dict[str, list[str]] = {member: [] for member in wanted}
    warming: dict[str, list[str]] = {member: [] for member in wanted}
    arriving: dict[str, list[str]] = {member: [] for member in wanted}
    for (count, eligible), topics in sorted(sets_of(members, partitions).items()):
        owners: dict[str, str] = {}
        for partition in range(count):
            task = Task(task_name(count, partition), eligible, members, rules.lag)
            to = next(target[t, partition] for t in topics if (t, partition) in target)
            owner = to
            if count in rules.stateful and not task.is_ready(to):
                owner = max(eligible, key=task.rank)
                if sum(map(len, warming.values())) < rules.warmups:
                    warming[to].append(task.name)
            if count in rules.stateful and not task.is_run_by(owner):
                # Until the one that runs it now has let it go, it keeps what it has of it.
                arriving[owner].append(task.name)
            owners[task.name] = owner
            placed[owner] += part_of(members[owner], topics, partition)
        if count in rules.stateful:
            _stand_by(owners, eligible, members, rules, copies)
    orders = {
        member: Orders(
            tuple(sorted({*copies[member], *warming[member], *arriving[member]})),
            tuple(warming[member]),
            {topic: n for topic, n in sorted(partitions.items()) if topic in candidate.topics},
        )
        for member, candidate in members.items()
    }
    return Placement(placed, orders)


def _stand_by(
    owners: Mapping[str, str],
    eligible: tuple[str, ...],
    members: Mapping[str, Candidate],
    rules: Rules,
    copies: dict[str, list[str]],
) -> None:
    """Copies of each task on other workers, as many as there may be: evenly, and where they are."""
    each = min(rules.standbys, len(eligible) - 1)
    if each <= 0:
        return
    load = {member: len(copies[member]) for member in eligible}
    most = -(-len(owners) * each // len(eligible)) + min(load.values())
    for name in sorted(owners):
        task = Task(name, eligible, members, rules.lag)
        others = [member for member in eligible if member != owners[name]]
        for _ in range(each):
            at_hand = [m for m in others if task.state_of(m) >= 0 and load[m] < most]
            if at_hand:
                chosen = max(at_hand, key=task.rank)
            else:
                chosen = min(others, key=lambda m: (load[m], m))
            others.remove(chosen)
            copies[chosen].append(name)
            load[chosen] += 1
