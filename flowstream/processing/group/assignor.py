"""The assignment of tasks to workers: co-partitioned, balanced, sticky to where state is.

Pure and deterministic: equal inputs give equal assignments on every leader. A task is one
partition number of all topics that have the same partition count and that anybody reads together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

NAME = "flowstream-2"
"""The first was eager: its members let everything go in a rebalance."""


class Claim(msgspec.Struct, frozen=True):
    """What a worker tells the leader: the tasks it runs and how much state its slot holds.

    Keys of `state` are `<partition count>/<partition>`, values the sum of changelog offsets.
    `web` is HOST:PORT of its web server, for everyone who reads the group. An older version does
    not know the field and passes over it.
    """

    owned: tuple[str, ...] = ()
    state: dict[str, int] = msgspec.field(default_factory=dict)
    web: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One member of the group as the leader sees it."""

    topics: frozenset[str]
    claim: Claim = field(default_factory=Claim)


_decoder = msgspec.json.Decoder(Claim)


def encode_claim(claim: Claim) -> bytes:
    """The claim as the subscription's user data."""
    return msgspec.json.encode(claim)


def decode_claim(data: bytes) -> Claim:
    """The claim in a subscription; anything unreadable claims nothing."""
    try:
        return _decoder.decode(data)
    except msgspec.MsgspecError:
        return Claim()


def task_name(partitions: int, partition: int) -> str:
    """The name of a task in claims."""
    return f"{partitions}/{partition}"


def assign(
    members: Mapping[str, Candidate], partitions: Mapping[str, int], lag: int = 0
) -> dict[str, list[tuple[str, int]]]:
    """(topic, partition) pairs for every member; each partition goes to exactly one (G7).

    Topics with one partition count that any member reads together move together, so that a table
    and all its inputs meet in one worker. Loads differ by at most one task per such set. Whose
    state is no more than `lag` records behind the most is as good as whoever has the most.
    """
    result: dict[str, list[tuple[str, int]]] = {member: [] for member in sorted(members)}
    load = dict.fromkeys(result, 0)
    for (count, eligible), topics in sorted(sets_of(members, partitions).items()):
        owners = _place(count, eligible, members, load, lag)
        for partition, owner in enumerate(owners):
            result[owner] += part_of(members[owner], topics, partition)
            load[owner] += 1
    return result


def waiting(
    members: Mapping[str, Candidate],
    partitions: Mapping[str, int],
    placed: Mapping[str, Sequence[tuple[str, int]]],
) -> str:
    """What waits while members of two versions read different topics, in a line; "" if nothing."""
    idle: dict[str, None] = {}
    for (_, eligible), topics in sorted(sets_of(members, partitions).items()):
        out = [m for m in sorted(members) if m not in eligible and members[m].topics & {*topics}]
        if out:
            idle[f"{len(out)} of {len(members)} workers get nothing of {', '.join(topics)}"] = None
    read = {tp for owned in placed.values() for tp in owned}
    for topic in sorted({t for m in members.values() for t in m.topics} & partitions.keys()):
        unread = sum((topic, number) not in read for number in range(partitions[topic]))
        if unread:
            idle[f"nobody reads {unread} of the {partitions[topic]} partitions of {topic}"] = None
    return "; ".join(idle)


def sets_of(
    members: Mapping[str, Candidate], partitions: Mapping[str, int]
) -> dict[tuple[int, tuple[str, ...]], list[str]]:
    """Co-partitioned topics by (partition count, the members that may have tasks of them).

    A task is nobody's in part: two workers would write one table. So while members of two versions
    of an app read different topics, those wait that read less of a set than another. What one of
    two versions reads alone beside what both read is read where that one has the task.
    """
    sets: dict[tuple[int, tuple[str, ...]], list[str]] = {}
    for topics in _read_together(members, partitions):
        reads = {name: topics & member.topics for name, member in sorted(members.items())}
        eligible = tuple(
            name for name, mine in reads.items()
            if mine and not any(mine < others for others in reads.values())
        )  # fmt: skip
        sets[partitions[min(topics)], eligible] = sorted(topics)
    return sets


def _read_together(
    members: Mapping[str, Candidate], partitions: Mapping[str, int]
) -> list[frozenset[str]]:
    """Topics of one partition count that members read together, directly or by way of others."""
    found: list[frozenset[str]] = []
    for member in members.values():
        by_count: dict[int, set[str]] = {}
        for topic in member.topics & partitions.keys():
            by_count.setdefault(partitions[topic], set()).add(topic)
        for topics in by_count.values():
            joined = [each for each in found if each & topics]
            found = [each for each in found if not each & topics]
            found.append(frozenset(topics).union(*joined))
    return found


def part_of(member: Candidate, topics: Sequence[str], partition: int) -> list[tuple[str, int]]:
    """What a member has of a task that is its own."""
    return [(topic, partition) for topic in topics if topic in member.topics]


def _place(
    count: int,
    eligible: tuple[str, ...],
    members: Mapping[str, Candidate],
    load: Mapping[str, int],
    lag: int,
) -> list[str]:
    """The owner of each partition: first who runs it or has its state, then who has least to do."""
    floor, extra = divmod(count, len(eligible))
    taken = dict.fromkeys(eligible, 0)
    owners: dict[int, str] = {}
    tasks = [Task(task_name(count, p), eligible, members, lag) for p in range(count)]
    # What only one worker can go on with is placed first: where room runs out, those tasks have to
    # move that another worker has got ready for. And before all that is on its way between two
    # rounds, what runs: else it would go round in circles.
    order = sorted(range(count), key=lambda p: tasks[p].urgency, reverse=True)
    for find in (Task.runners, Task.holders):
        for partition in order:
            if partition in owners:
                continue
            best = _with_room(find(tasks[partition]), taken, floor, extra)
            if best is not None:
                owners[partition] = best
                extra -= taken[best] >= floor
                taken[best] += 1
    for partition in range(count):
        if partition not in owners:
            least = min(eligible, key=lambda m: (taken[m], load[m], m))
            owners[partition] = least
            taken[least] += 1
    return [owners[partition] for partition in range(count)]


class Task:
    """What the members say of one task."""

    def __init__(
        self, name: str, eligible: Sequence[str], members: Mapping[str, Candidate], lag: int
    ) -> None:
        self.name = name
        self.eligible = eligible
        self._lag = lag
        self._claims = {member: members[member].claim for member in eligible}
        self.most = max(self.state_of(member) for member in eligible)

    def state_of(self, member: str) -> int:
        """How much of the task's state a member has; -1 when it has none."""
        return self._claims[member].state.get(self.name, -1)

    def is_ready(self, member: str) -> bool:
        """Whether a member could take over at once, or nearly so."""
        return max(self.most, 0) - max(self.state_of(member), 0) <= self._lag

    def rank(self, member: str) -> tuple[bool, bool, int, str]:
        """The higher, the better placed with this member."""
        is_owner = self.is_run_by(member)
        is_ready = self.is_ready(member)
        return is_owner and is_ready, is_ready, self.state_of(member) + is_owner, member

    def runners(self) -> list[str]:
        """Who runs the task and has its state, the best placed first."""
        return [member for member in self.holders() if self.rank(member)[0]]

    def holders(self) -> list[str]:
        """Who runs the task or has state of it, the best placed first."""
        holders = [m for m in self.eligible if self.state_of(m) >= 0 or self.is_run_by(m)]
        return sorted(holders, key=self.rank, reverse=True)

    def is_run_by(self, member: str) -> bool:
        """Whether a member says that it runs the task."""
        return self.name in self._claims[member].owned

    @property
    def urgency(self) -> tuple[int, int, int, bool]:
        """The fewer can go on with a task, and the more they would lose, the higher."""
        holders = self.holders()
        ready = sum(self.is_ready(member) for member in holders)
        return -ready, -len(holders), self.most, any(map(self.is_run_by, holders))


def _with_room(
    members: Sequence[str], taken: Mapping[str, int], floor: int, extra: int
) -> str | None:
    """The first that still has room, if any."""
    for member in members:
        if taken[member] < floor or (taken[member] == floor and extra > 0):
            return member
    return None
