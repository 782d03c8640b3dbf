"""The assignment of tasks to workers: co-partitioned, balanced, sticky to where state is.

Pure and deterministic: equal inputs give equal assignments on every leader. A task is one
partition number of all topics that have the same partition count and the same subscribers.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    members: Mapping[str, Candidate], partitions: Mapping[str, int]
) -> dict[str, list[tuple[str, int]]]:
    """(topic, partition) pairs for every member; each partition goes to exactly one (G7).

    Topics with one partition count and one set of subscribers move together, so that a table
    and all its inputs meet in one worker. Loads differ by at most one task per such set.
    """
    result: dict[str, list[tuple[str, int]]] = {member: [] for member in sorted(members)}
    load = dict.fromkeys(result, 0)
    for (count, eligible), topics in sorted(_sets(members, partitions).items()):
        owners = _place(count, eligible, members, load)
        for partition in range(count):
            result[owners[partition]] += [(topic, partition) for topic in topics]
            load[owners[partition]] += 1
    return result


def _sets(
    members: Mapping[str, Candidate], partitions: Mapping[str, int]
) -> dict[tuple[int, tuple[str, ...]], list[str]]:
    """Co-partitioned topics by (partition count, the members that subscribe to them)."""
    sets: dict[tuple[int, tuple[str, ...]], list[str]] = {}
    for topic in sorted(partitions):
        eligible = tuple(m for m in sorted(members) if topic in members[m].topics)
        if eligible:
            sets.setdefault((partitions[topic], eligible), []).append(topic)
    return sets


def _place(
    count: int,
    eligible: tuple[str, ...],
    members: Mapping[str, Candidate],
    load: Mapping[str, int],
) -> list[str]:
    """The owner of each partition: first who has its state, then who has least to do."""
    floor, extra = divmod(count, len(eligible))
    taken = dict.fromkeys(eligible, 0)
    owners: dict[int, str] = {}
    for partition in sorted(
        range(count), key=lambda p: _weight(p, count, eligible, members), reverse=True
    ):
        best = _holder(partition, count, eligible, members, taken, floor, extra)
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


def _claim_of(member: Candidate, task: str) -> tuple[int, bool]:
    return member.claim.state.get(task, -1), task in member.claim.owned


def _weight(
    partition: int, count: int, eligible: tuple[str, ...], members: Mapping[str, Candidate]
) -> tuple[int, bool]:
    task = task_name(count, partition)
    state, owned = max(_claim_of(members[m], task) for m in eligible)
    return state, owned


def _holder(
    partition: int,
    count: int,
    eligible: tuple[str, ...],
    members: Mapping[str, Candidate],
    taken: Mapping[str, int],
    floor: int,
    extra: int,
) -> str | None:
    """The member with most of this task's state that still has room, if any has some."""
    task = task_name(count, partition)
    ranked = sorted(eligible, key=lambda m: (_claim_of(members[m], task), m), reverse=True)
    for member in ranked:
        if _claim_of(members[member], task) == (-1, False):
            return None
        if taken[member] < floor or (taken[member] == floor and extra > 0):
            return member
    return None
